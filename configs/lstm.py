"""LSTM-CTC trained with BL-JUST: the presets of configs/conformer.py with a bidirectional LSTM.

    python -m bljust_jax.main --config=configs/lstm.py[:PRESET] --workdir=DIR

mini (default)   telephone prompts, 5 minutes on two cores: test WER 75%, CER 36%
smoke            a made-up language, 48 steps: for tests and for trying a change
amazon_queen     1.0 h labelled + 2.4 h unlabelled game dialogue; a result is still to be measured
synthetic_voices 0.3 h labelled + 10 h unlabelled synthetic speech; a result is still to be measured
librispeech      the size of Switchboard systems, 100 h labelled + 860 h unlabelled; has been compiled, not trained
librispeech_500  the same with 500 h unlabelled, of train-other-500
librispeech_360  the same with 360 h unlabelled, of train-clean-360
tedlium2         the same model on TED-LIUM 2, 207 h labelled, the same unlabelled
switchboard      the same model on Switchboard, 260 h labelled, the same unlabelled
"""

import dataclasses

from bljust_jax import config as c
from bljust_jax.config.presets import papers, preset_getter
from configs import conformer


def mini() -> c.Config:
    """The telephone prompts, 0.2 h labelled and 1.6 h unlabelled."""
    config = _lstm(conformer.mini(), c.LstmConfig(layers=4, width=352, channels=176, dropout=0.15))
    # Half of the Conformer's; at four times it, the loss falls later and more slowly.
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3))


def smoke() -> c.Config:
    """A tiny model on whistled letters."""
    return _lstm(conformer.smoke(), c.LstmConfig(layers=2, width=48, channels=32))


def amazon_queen() -> c.Config:
    """The game dialogue, 43 voices, 1.0 h labelled and 2.4 h unlabelled."""
    return _lstm(conformer.amazon_queen(), c.LstmConfig(layers=4, width=448, dropout=0.15))


def synthetic_voices() -> c.Config:
    """Synthetic speech of eSpeak NG, 0.3 h of 8 voices labelled and 10 h of 80 voices unlabelled."""
    config = _lstm(conformer.synthetic_voices(), c.LstmConfig(layers=4, width=352, channels=176, dropout=0.15))
    # As in `mini`.
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=1e-3))


def librispeech() -> c.Config:
    """6 layers of 640 cells in each direction, with CPC as in the papers."""
    return _lstm(conformer.librispeech(), c.LstmConfig(layers=6, width=1280, channels=512))


def _lstm(config: c.Config, lstm: c.LstmConfig) -> c.Config:
    return dataclasses.replace(config, encoder='lstm', lstm=lstm)


PRESETS = {
    'mini': mini,
    'smoke': smoke,
    'amazon_queen': amazon_queen,
    'synthetic_voices': synthetic_voices,
    **papers(librispeech),
}
get_config = preset_getter('configs/lstm.py', PRESETS)
