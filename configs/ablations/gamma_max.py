"""The largest γ, over decades.

    python -m bljust_jax.compare --config=configs/ablations/gamma_max.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/gamma_max.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {f'gamma_max_{value:g}': {'levels.unsup.gamma_max': value} for value in (1.0, 0.01, 0.1, 10.0)}
get_config = config_getter(conformer.PRESETS, VARIANTS)
