"""What the files of this folder share: presets of a config file, with variants of each."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from bljust_jax.comparison.arms import resolved
from bljust_jax.config import Config, to_config_dict, with_overrides
from bljust_jax.errors import UserError

Variants = dict[str, dict[str, Any]]


def config_getter(
    presets: Mapping[str, Callable[[], Config]], variants: Variants, default: str = 'mini'
) -> Callable[..., ConfigDict]:
    """The `get_config` of a file: of `PRESET` (or `default`), or for a single run of `PRESET,VARIANT`."""

    def get_config(text: str = default) -> ConfigDict:
        preset, comma, variant = text.partition(',')
        if preset not in presets:
            raise UserError(f'There is no preset {preset!r}: choose one of {", ".join(presets)}.')
        if comma and variant not in variants:
            raise UserError(f'There is no variant {variant!r}: choose one of {", ".join(variants)}.')
        config = presets[preset]()
        return to_config_dict(with_overrides(config, resolved(variants[variant], config)) if comma else config)

    return get_config
