"""Transformer-CTC trained with BL-JUST: the presets of configs/conformer.py with the encoder of wav2vec 2.0.

    python -m bljust_jax.main --config=configs/transformer.py[:PRESET] --workdir=DIR

mini (default)   telephone prompts, 7 minutes on two cores: test WER 83%, CER 38%
smoke            a made-up language, 48 steps: for tests and for trying a change
amazon_queen     1.0 h labelled + 2.4 h unlabelled game dialogue; a result is still to be measured
synthetic_voices 0.3 h labelled + 10 h unlabelled synthetic speech; a result is still to be measured
librispeech      wav2vec 2.0 Base above log-mels, 100 h labelled + 860 h unlabelled; has been compiled, not trained
librispeech_500  the same with 500 h unlabelled, of train-other-500
librispeech_360  the same with 360 h unlabelled, of train-clean-360
tedlium2         the same model on TED-LIUM 2, 207 h labelled, the same unlabelled
switchboard      the same model on Switchboard, 260 h labelled, the same unlabelled
"""

import dataclasses

from bljust_jax import config as c
from bljust_jax.config.presets import papers, preset_getter
from configs import conformer

_SMALL = c.TransformerConfig(layers=7, width=176, heads=2, channels=176, norm='pre', dropout=0.15)


def mini() -> c.Config:
    """The telephone prompts, 0.2 h labelled and 1.6 h unlabelled."""
    return _gently(_transformer(conformer.mini(), _SMALL))


def smoke() -> c.Config:
    """A tiny model on whistled letters."""
    return _transformer(
        conformer.smoke(),
        c.TransformerConfig(layers=2, width=32, heads=2, expansion=2, kernel=16, groups=4, channels=32),
    )


def amazon_queen() -> c.Config:
    """The game dialogue, 43 voices, 1.0 h labelled and 2.4 h unlabelled."""
    transformer = c.TransformerConfig(layers=9, width=192, heads=2, norm='pre', dropout=0.15)
    return _gently(_transformer(conformer.amazon_queen(), transformer))


def synthetic_voices() -> c.Config:
    """Synthetic speech of eSpeak NG, 0.3 h of 8 voices labelled and 10 h of 80 voices unlabelled."""
    return _gently(_transformer(conformer.synthetic_voices(), _SMALL))


def librispeech() -> c.Config:
    """The Base model, 12 x 768 x 12, with CPC as in the papers."""
    config = _transformer(
        conformer.librispeech(),
        c.TransformerConfig(layers=12, width=768, heads=12, channels=512, scan=True, remat='dots'),
    )
    return _gently(config)


def _gently(config: c.Config) -> c.Config:
    """Half of the Conformer's step size: with the whole one, and norms behind the branches, it learns only blanks."""
    halved = config.optimizer.learning_rate / 2
    return dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, learning_rate=halved))


def _transformer(config: c.Config, transformer: c.TransformerConfig) -> c.Config:
    return dataclasses.replace(config, encoder='transformer', transformer=transformer)


PRESETS = {
    'mini': mini,
    'smoke': smoke,
    'amazon_queen': amazon_queen,
    'synthetic_voices': synthetic_voices,
    **papers(librispeech),
}
get_config = preset_getter('configs/transformer.py', PRESETS)
