"""What the files of this folder share: presets of a config file, with variants of each."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from bljust_jax.comparison.arms import resolved
from bljust_jax.config import Config, from_config_dict, to_config_dict, with_overrides
from bljust_jax.config.presets import preset_getter
from bljust_jax.errors import UserError

Variants = dict[str, dict[str, Any]]


def config_getter(
    presets: Mapping[str, Callable[[], Config]], variants: Variants, default: str = 'mini'
) -> Callable[..., ConfigDict]:
    """The `get_config` of a file: of `PRESET` (or `default`), or for a single run of `PRESET,VARIANT`."""
    get_preset = preset_getter('configs/ablations', presets)

    def get_config(text: str = default) -> ConfigDict:
        preset, comma, variant = text.partition(',')
        base = get_preset(preset)
        if not comma:
            return base
        if variant not in variants:
            raise UserError(f'There is no variant {variant!r}: choose one of {", ".join(variants)}.')
        config = from_config_dict(base)
        return to_config_dict(with_overrides(config, resolved(variants[variant], config)))

    return get_config
