"""What config files share: a preset by its name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from bljust_jax.config import Config, to_config_dict, with_overrides
from bljust_jax.errors import UserError

# In what the papers' other settings differ from `librispeech`. Telephone speech ends at 3,400 Hz, and what makes 16 kHz
# of its 8 kHz lets all below 3,600 Hz through.
_PAPERS: dict[str, dict[str, Any]] = {
    'librispeech_500': {'data.unlabelled': 'train_other_500'},
    'librispeech_360': {'data.unlabelled': 'train_clean_360'},
    'tedlium2': {
        'data.corpus': 'tedlium2',
        'data.labelled': 'train',
        'data.unlabelled': 'train',
        'eval.dev': 'dev',
        'eval.splits': ('dev', 'test'),
    },
    'switchboard': {
        'data.corpus': 'switchboard',
        'data.labelled': 'train',
        'data.unlabelled': 'train',
        'log_mel.high_hz': 3600.0,
        'eval.dev': 'dev',
        'eval.splits': ('dev', 'test_swb', 'test_ch'),
    },
}


def papers(librispeech: Callable[[], Config]) -> dict[str, Callable[[], Config]]:
    """The presets of the papers' settings: `librispeech`, and the same model on other speech."""
    others = {name: functools.partial(_changed, librispeech, changes) for name, changes in _PAPERS.items()}
    return {'librispeech': librispeech, **others}


def _changed(preset: Callable[[], Config], changes: Mapping[str, Any]) -> Config:
    return with_overrides(preset(), changes)


def preset_getter(
    file: str, presets: Mapping[str, Callable[[], Config]], default: str = 'mini'
) -> Callable[..., ConfigDict]:
    """The `get_config` of a config file: the config of a preset, every field of which can be overridden.

    Args:
      file: what errors call it.
      presets: by name.
      default: the one that is taken if none is named.
    """

    def get_config(preset: str = default) -> ConfigDict:
        """Raises `UserError` if there is no such preset."""
        if preset not in presets:
            raise UserError(f'{file} has no preset {preset!r}: choose one of {", ".join(presets)}.')
        return to_config_dict(presets[preset]())

    return get_config
