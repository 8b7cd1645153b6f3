"""Hours of untranscribed speech.

    python -m bljust_jax.compare --config=configs/ablations/unlabelled_hours.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/unlabelled_hours.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py; without one, amazon_queen, whose corpus has as many hours.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {f'unlabelled_{hours:g}h': {'data.unlabelled_hours': hours} for hours in (2.4, 1.2, 0.6)}
get_config = config_getter(conformer.PRESETS, VARIANTS, default='amazon_queen')
