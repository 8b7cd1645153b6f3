"""How much exploration, as a multiple of the preset's steps of it; and no supervised fine-tuning at the end.

    python -m bljust_jax.compare --config=configs/ablations/exploration.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/exploration.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {
    'whole': {},
    'none': {'strategy.explore_steps': 0},
    'half': {'strategy.explore_steps': lambda config: config.strategy.explore_steps // 2},
    'double': {'strategy.explore_steps': lambda config: config.strategy.explore_steps * 2},
    'no_finetuning': {'strategy.finetune_steps': 0},
}
get_config = config_getter(conformer.PRESETS, VARIANTS)
