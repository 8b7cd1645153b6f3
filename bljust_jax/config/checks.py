"""What the values of a config must satisfy: each field by itself, each group, and groups together."""

import dataclasses
from typing import Any

from bljust_jax.config.fields import RULE, Demands
from bljust_jax.errors import UserError


def check(config: Any, path: str = 'config') -> None:
    """Checks a `Config` and its groups: the rules of the fields, then the `demands` of each group.

    `path` is what errors call it.

    Raises:
      UserError: naming the first field that is wrong, its value, and what it must be.
    """
    groups = list(_groups(config, path))
    for path, group in groups:
        for field in dataclasses.fields(group):
            value = getattr(group, field.name)
            if RULE in field.metadata and not field.metadata[RULE].satisfied(value):
                raise _error(f'{path}.{field.name}', field.metadata[RULE].demand, value)
    for path, group in groups:
        demands: Demands = group.demands(path) if hasattr(group, 'demands') else iter(())
        for satisfied, name, demand in demands:
            if not satisfied:
                raise _error(f'{path}.{name}', demand, _get(group, name))


def _groups(group: Any, path: str) -> Any:
    yield path, group
    for field in dataclasses.fields(group):
        value = getattr(group, field.name)
        if dataclasses.is_dataclass(value):
            yield from _groups(value, f'{path}.{field.name}')


def _get(group: Any, name: str) -> Any:
    for part in name.split('.'):
        group = getattr(group, part)
    return group


def _error(path: str, demand: str, value: Any) -> UserError:
    return UserError(f'{path} must {demand}, not {value!r}.')
