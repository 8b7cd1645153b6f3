"""What makes one direction of the levels' gradients: the penalty, or a multi-objective alternative to it.

    python -m bljust_jax.compare --config=configs/ablations/combine.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/combine.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {name: {'optimizer.combine': name} for name in ('penalty', 'pcgrad', 'mgda')}
get_config = config_getter(conformer.PRESETS, VARIANTS)
