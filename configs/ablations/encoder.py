"""Conformer or LSTM, each with the sizes and the step size of its own file of configs/.

    python -m bljust_jax.compare --config=configs/ablations/encoder.py[:PRESET] --seeds=0,1,2 --workdir=DIR
    python -m bljust_jax.main --config=configs/ablations/encoder.py:PRESET,VARIANT --workdir=DIR

Presets are those of configs/conformer.py.
"""

import dataclasses
import functools

from bljust_jax.config import Config
from configs import conformer, lstm
from configs.ablations.variants import Variants, config_getter


def _with_lstm(preset: str) -> Config:
    return dataclasses.replace(conformer.PRESETS[preset](), lstm=lstm.PRESETS[preset]().lstm)


PRESETS = {preset: functools.partial(_with_lstm, preset) for preset in conformer.PRESETS}
VARIANTS: Variants = {
    'conformer': {'encoder': 'conformer'},
    # The step size of configs/lstm.py is half of the Conformer's for mini, and the Conformer's for others.
    'lstm': {'encoder': 'lstm', 'optimizer.learning_rate': lambda config: min(config.optimizer.learning_rate, 1e-3)},
}
get_config = config_getter(PRESETS, VARIANTS)
