"""What the lower level learns from untranscribed speech.

    python -m bljust_jax.compare --config=configs/ablations/objective.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/objective.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py.
"""

from configs import conformer
from configs.ablations.variants import Variants, config_getter

VARIANTS: Variants = {
    'best_rq': {'levels.unsup.objective': 'best_rq'},
    'cpc': {'levels.unsup.objective': 'cpc', 'cpc.context_seconds': 1.0, 'cpc.future_seconds': 0.5},
    'wav2vec2': {'levels.unsup.objective': 'wav2vec2'},
}
get_config = config_getter(conformer.PRESETS, VARIANTS)
