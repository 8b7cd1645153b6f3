"""Conformer-transducer trained with BL-JUST: the presets of configs/conformer.py with RNN-T above.

    python -m bljust_jax.main --config=configs/rnnt.py[:PRESET] --workdir=DIR

mini (default)   telephone prompts, 9 minutes on two cores: test WER 98%, CER 92%, mostly deletions; 1,450 steps are
                 too few for a transducer to learn when to speak
smoke            a made-up language, 48 steps: for tests and for trying a change (WER 100% after them)
amazon_queen     1.0 h labelled + 2.4 h unlabelled game dialogue; a result is still to be measured
synthetic_voices 0.3 h labelled + 10 h unlabelled synthetic speech; a result is still to be measured
librispeech      the papers' setting, 100 h labelled + 860 h unlabelled; has been compiled, not trained
librispeech_500  the same with 500 h unlabelled, of train-other-500
librispeech_360  the same with 360 h unlabelled, of train-clean-360
tedlium2         the same model on TED-LIUM 2, 207 h labelled, the same unlabelled
switchboard      the same model on Switchboard, 260 h labelled, the same unlabelled
"""

import dataclasses

from bljust_jax import config as c
from bljust_jax.config.presets import papers, preset_getter
from configs import conformer

# From an hour of transcripts or less, an LSTM could learn them by heart.
_SMALL = c.TransducerConfig(prediction='stateless', width=128, joint_dim=128)


def mini() -> c.Config:
    """The telephone prompts, 0.2 h labelled and 1.6 h unlabelled."""
    return _transducer(conformer.mini(), _SMALL)


def smoke() -> c.Config:
    """A tiny model on whistled letters."""
    return _transducer(conformer.smoke(), c.TransducerConfig(width=32, joint_dim=32))


def amazon_queen() -> c.Config:
    """The game dialogue, 43 voices, 1.0 h labelled and 2.4 h unlabelled."""
    return _transducer(conformer.amazon_queen(), _SMALL)


def synthetic_voices() -> c.Config:
    """Synthetic speech of eSpeak NG, 0.3 h of 8 voices labelled and 10 h of 80 voices unlabelled."""
    return _transducer(conformer.synthetic_voices(), _SMALL)


def librispeech() -> c.Config:
    """The papers' scale: Conformer 8 x 512 x 8, pieces, and an LSTM of 512."""
    return _transducer(conformer.librispeech(), c.TransducerConfig(width=512, joint_dim=512))


def _transducer(base: c.Config, transducer: c.TransducerConfig) -> c.Config:
    upper = dataclasses.replace(base.levels.sup, objective='rnnt')
    return dataclasses.replace(base, levels=dataclasses.replace(base.levels, sup=upper), transducer=transducer)


PRESETS = {
    'mini': mini,
    'smoke': smoke,
    'amazon_queen': amazon_queen,
    'synthetic_voices': synthetic_voices,
    **papers(librispeech),
}
get_config = preset_getter('configs/rnnt.py', PRESETS)
