"""How γ comes to its maximum: at once, by a schedule of the joint steps, or as the value gap asks for.

    python -m bljust_jax.compare --config=configs/ablations/gamma_schedule.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/gamma_schedule.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py. The reference is the linear schedule.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {
    name: {'levels.unsup.gamma': name} for name in ('linear', 'constant', 'exponential', 'dual_ascent')
}
get_config = config_getter(conformer.PRESETS, VARIANTS)
