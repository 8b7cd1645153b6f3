"""Which level owns a leaf of the parameters, and which leaves the levels share: rules on paths.

A scope maps the path of a leaf to the index of the level that owns it (0 is the upper level), or to None if the levels
share it. Any function does; `by_prefix` and `by_regex` make one of a table, and let no leaf slip through it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from jax.tree_util import DictKey, FlattenedIndexKey, GetAttrKey, SequenceKey

Path = tuple[Any, ...]
Scope = Callable[[Path], int | None]


def by_prefix(rules: Mapping[str, int | None]) -> Scope:
    """The scope in which the leaves below a prefix belong to its level.

    For example:

      >>> from bljust_jax.bilevel import by_prefix
      >>> scope = by_prefix({'encoder': None, 'heads/ctc': 0, 'heads/unsup': 1})
      >>> scope(('encoder', 'block_0', 'kernel')), scope(('heads', 'ctc', 'bias'))
      (None, 0)

    Args:
      rules: from the beginning of a path, its keys joined by `/`, to the level that owns what is below it, or to None
        if the levels share it. A prefix ends where a key ends: `heads/ctc` does not cover `heads/ctc_2`.

    Returns:
      A scope for `penalty`. It raises `ValueError` for a leaf that no rule covers, or more than one.
    """
    return _by_rules(rules, lambda prefix, name: name == prefix or name.startswith(f'{prefix}/'))


def by_regex(rules: Mapping[str, int | None]) -> Scope:
    """The scope in which the leaves whose whole path matches a regular expression belong to its level.

    For example:

      >>> from bljust_jax.bilevel import by_regex
      >>> scope = by_regex({r'encoder/.*': None, r'heads/(ctc|rnnt)/.*': 0, r'heads/unsup/.*': 1})
      >>> scope(('heads', 'rnnt', 'kernel'))
      0

    Args:
      rules: from a regular expression on the keys of a path joined by `/` to the level, as for `by_prefix`.

    Returns:
      A scope for `penalty`. It raises `ValueError` for a leaf that no rule matches, or more than one.
    """
    return _by_rules(rules, lambda pattern, name: re.fullmatch(pattern, name) is not None)


def paths_of(tree: Any) -> list[Path]:
    """The path of every leaf, as plain keys such as `('heads', 'ctc', 'kernel')`."""
    return [tuple(map(_plain_key, keys)) for keys, _ in jax.tree.leaves_with_path(tree)]


def owners(paths: Sequence[Path], scope: Scope | None, lower: int) -> list[int | None]:
    """The level that owns each leaf, or None for a shared one; without a scope all are shared.

    Args:
      paths: of the leaves.
      scope: the rule.
      lower: number of lower levels.

    Raises:
      ValueError: if `scope` returns anything but None or a level from 0 to `lower`.
    """
    levels = [scope(path) if scope else None for path in paths]
    for path, level in zip(paths, levels, strict=True):
        # `type` and not `isinstance`: True, from a scope that answers "is it shared?", must not pass for level 1.
        if level is not None and not (type(level) is int and 0 <= level <= lower):
            raise ValueError(
                f'scope({path}) must be None, for a shared leaf, or a level from 0 to {lower}: got {level!r}.'
            )
    return levels


def _by_rules(rules: Mapping[str, int | None], matches: Callable[[str, str], bool]) -> Scope:
    def scope(path: Path) -> int | None:
        name = '/'.join(map(str, path))
        matching = [rule for rule in rules if matches(rule, name)]
        if len(matching) != 1:
            found = ' and '.join(map(repr, matching)) or f'none of {", ".join(map(repr, rules))}'
            raise ValueError(f'Every leaf must match one rule of the scope: {name!r} matches {found}.')
        return rules[matching[0]]

    return scope


def _plain_key(key: Any) -> Any:
    match key:
        case DictKey(key=plain) | FlattenedIndexKey(key=plain) | GetAttrKey(name=plain) | SequenceKey(idx=plain):
            return plain
    return key
