"""Hours of transcribed speech.

    python -m bljust_jax.compare --config=configs/ablations/labelled_hours.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/labelled_hours.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py; without one, amazon_queen, whose corpus has as many hours.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {f'labelled_{hours:g}h': {'data.labelled_hours': hours} for hours in (1.0, 0.5, 0.25)}
get_config = config_getter(conformer.PRESETS, VARIANTS, default='amazon_queen')
