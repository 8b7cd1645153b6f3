"""Conformer-CTC trained with BL-JUST.

    python -m bljust_jax.main --config=configs/conformer.py --workdir=runs/demo
"""

import dataclasses

from ml_collections import ConfigDict

from bljust_jax import config as c


def mini() -> c.Config:
    """The telephone prompts: minutes on a laptop."""
    return c.Config(
        log_mel=c.LogMelConfig(high_hz=4000.0),
    )


PRESETS = {'mini': mini}


def get_config(preset: str = 'mini') -> ConfigDict:
    """The config of `preset`."""
    if preset not in PRESETS:
        raise ValueError(f'configs/conformer.py has no preset {preset!r}: choose one of {", ".join(PRESETS)}.')
    return c.to_config_dict(PRESETS[preset]())
