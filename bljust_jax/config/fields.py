"""Fields of a config group that say what their values must satisfy; `checks.py` reads it."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

RULE = 'rule'


class Rule(NamedTuple):
    """What a value must satisfy: the test, and the words that follow 'must'."""

    satisfied: Callable[[Any], bool]
    demand: str


class Demand(NamedTuple):
    """What several fields together must satisfy: the field to blame, and the words that follow 'must'."""

    satisfied: bool
    field: str
    demand: str


Demands = Iterator[Demand]


def checked(default: Any, satisfied: Callable[[Any], bool], demand: str) -> Any:
    """A field of which every value must be `satisfied`."""
    return dataclasses.field(default=default, metadata={RULE: Rule(satisfied, demand)})


def positive(default: float) -> Any:
    """A number above 0."""
    return checked(default, lambda value: value > 0, 'be positive')


def not_negative(default: float) -> Any:
    """A number that is 0 or above."""
    return checked(default, lambda value: value >= 0, 'be 0 or more')


def fraction(default: float) -> Any:
    """A number in [0, 1)."""
    return checked(default, lambda value: 0 <= value < 1, 'be in [0, 1)')


def probability(default: float) -> Any:
    """A number in [0, 1]."""
    return checked(default, lambda value: 0 <= value <= 1, 'be in [0, 1]')


def choice(*choices: str, default: str | None = None) -> Any:
    """One of several words; by default the first."""
    return checked(default or choices[0], lambda value: value in choices, f'be one of {", ".join(choices)}')
