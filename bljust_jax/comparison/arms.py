"""What is compared: arms, which are named settings of one config, with several seeds each.

This file is read before jax is imported, so that a mistaken flag is told at once.
"""

import ast
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bljust_jax.config import Config, with_overrides
from bljust_jax.errors import UserError

# Fields that all arms of a comparison share.
SHARED = ('seed', 'data.corpus', 'eval.dev', 'eval.splits', 'eval.select')


@dataclass(frozen=True)
class Arm:
    """A named setting.

    Attributes:
      name: of a strategy, or a key of the config file's VARIANTS.
      overrides: value of each field that it sets, by dotted name: `{'strategy.name': 'bl_just'}`.
      swept: which of the fields is the one of a sweep, if there is one.
    """

    name: str
    overrides: Mapping[str, Any]
    swept: str | None = None

    @property
    def label(self) -> str:
        """Name and swept value.

        >>> Arm('bl_just', {'levels.unsup.gamma_max': 0.1}, swept='levels.unsup.gamma_max').label
        'bl_just gamma_max=0.1'
        """
        if self.swept is None:
            return self.name
        return f'{self.name} {self.swept.rpartition(".")[2]}={_written(self.overrides[self.swept])}'

    @property
    def folder(self) -> str:
        """Its label as the name of a folder."""
        return re.sub(r'[^\w.=+-]+', '_', self.label)


class Cell(NamedTuple):
    """One run: an arm with one seed."""

    arm: Arm
    seed: int

    @property
    def run(self) -> str:
        """Its folder in that of the comparison."""
        return f'runs/{self.arm.folder}/seed_{self.seed}'

    def __str__(self) -> str:
        return f'{self.arm.label}, seed {self.seed}'


class Sweep(NamedTuple):
    """One field, by dotted name, and the values that every arm takes."""

    field: str
    values: tuple[Any, ...]


class Comparison(NamedTuple):
    """A whole comparison.

    Attributes:
      source: the config file and its preset, as it was given.
      base: its config, with what the command line overrides for all arms.
      given: these overrides.
      arms: in the order of tables; with a sweep, one for each value.
      seeds: of the runs of each arm.
      reference: name of the arm that the others are compared with.
      sweep: what was multiplied with the arms.
      match: what the arms have equal amounts of.
    """

    source: str
    base: Config
    given: Mapping[str, Any]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    reference: str
    sweep: Sweep | None = None
    match: str = 'labelled_hours'

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, in the order in which they are started: every arm has a result before the next seed begins."""
        return tuple(Cell(arm, seed) for seed in self.seeds for arm in self.arms)


def compare(
    source: str,
    base: Config,
    given: Mapping[str, Any],
    *,
    known: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    seeds: Sequence[str],
    reference: str | None = None,
    sweep: Sweep | None = None,
    match: str = 'labelled_hours',
) -> Comparison:
    """Makes the comparison that the flags describe.

    Args:
      source, base, given: see `Comparison`.
      known: the overrides of every arm that there is, by name; see `resolved`.
      names: of the arms to compare.
      seeds: as they were written.
      reference: one of `names`; by default `bl_just` if that is one of them, else the first.
      sweep: multiplies the arms by its values.
      match: see `Comparison`.

    Raises:
      UserError: for a name or seed that is unknown, wrong or repeated, and for a field that is set twice.
    """
    if not names:
        raise UserError(f'--strategies names what is to be compared, separated by commas: {", ".join(known)}.')
    for name in names:
        if name not in known:
            raise UserError(f'--strategies: there is no {name!r}: choose from {", ".join(known)}.')
    if reference is not None and reference not in names:
        raise UserError(f'--reference must be one of {", ".join(names)}, not {reference!r}.')
    numbers = tuple(_seed(seed) for seed in seeds)
    for flag, values in (('--strategies', names), ('--seeds', numbers)):
        if repeated := [value for value in values if list(values).count(value) > 1]:
            raise UserError(f'{flag} names {repeated[0]!r} twice.')
    if not numbers:
        raise UserError('--seeds is empty: name one seed at least.')
    if 'seed' in given:
        raise UserError('--config.seed cannot be given: --seeds has the seeds of all arms.')
    arms = [Arm(name, resolved(known[name], base)) for name in names]
    if sweep is not None:
        if sweep.field in given:
            raise UserError(f'config.{sweep.field} is set by --sweep and by --config.{sweep.field}: leave one out.')
        arms = [_swept(arm, sweep, value) for arm in arms for value in sweep.values]
    for arm in arms:
        _check_overrides(arm, given)
    folders = [arm.folder for arm in arms]
    if clash := [arm.label for arm in arms if folders.count(arm.folder) > 1]:
        raise UserError(f'{clash[0]!r} and {clash[1]!r} would share a folder: rename one of them.')
    default = 'bl_just' if 'bl_just' in names else names[0]
    return Comparison(source, base, dict(given), tuple(arms), numbers, reference or default, sweep, match)


def variants_of(source: str) -> dict[str, dict[str, Any]]:
    """The VARIANTS of a config file, which may be followed by a preset; none if it has none.

    Raises:
      UserError: if a variant is named as well, which is for single runs, or VARIANTS is not as it should be.
    """
    path, _, preset = source.partition(':')
    spec = importlib.util.spec_from_file_location('compared_config', path)
    if spec is None or spec.loader is None:
        raise UserError(f'--config={source} is not a Python file.')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    variants = getattr(module, 'VARIANTS', {})
    if not isinstance(variants, dict) or not all(isinstance(overrides, dict) for overrides in variants.values()):
        raise UserError(f'VARIANTS of {path} must be a dictionary: name of an arm -> {{field: value}}.')
    if variants and ',' in preset:
        before, _, name = preset.partition(',')
        raise UserError(f'--config={source} names a variant: write --config={path}:{before} --strategies={name}.')
    return variants


def resolved(overrides: Mapping[str, Any], base: Config) -> dict[str, Any]:
    """Overrides as values: those that are functions of the config, such as twice its steps, are called with `base`."""
    return {field: value(base) if callable(value) else value for field, value in overrides.items()}


def parse_sweep(texts: Sequence[str]) -> Sweep | None:
    """The sweep of `levels.unsup.gamma_max=1e-2,1e-1,1` (`config.` may stand before it); None for no text.

    Raises:
      UserError: if there are several, or it is written otherwise, or repeats a value.
    """
    if not texts:
        return None
    if len(texts) > 1:
        raise UserError('--sweep takes one field: for another, compare again in another --workdir.')
    field, equals, written = texts[0].removeprefix('config.').partition('=')
    values = tuple(_value(text) for text in written.split(','))
    if not (field and equals) or '' in values:
        raise UserError(f'--sweep is written FIELD=VALUE,VALUE..., such as levels.unsup.gamma_max=0.1,1: {texts[0]!r}.')
    if len({*values}) < len(values):
        raise UserError(f'--sweep={texts[0]} has a value twice.')
    if field in SHARED:
        raise UserError(f'--sweep cannot be over config.{field}, which all arms of a comparison share.')
    return Sweep(field, values)


def arm_config(comparison: Comparison, arm: Arm) -> Config:
    """The config of an arm, with the seed of the base.

    Raises:
      UserError: naming the arm, for a field that does not exist or a value that is wrong.
    """
    try:
        return with_overrides(comparison.base, arm.overrides)
    except UserError as error:
        raise UserError(f'{arm.label}: {error}') from error


def parse_shard(text: str) -> tuple[int, int]:
    """`(i, n)` of `i/n`.

    Raises:
      UserError: unless it is written so, with i from 1 to n.
    """
    match = re.fullmatch(r'(\d+)/(\d+)', text)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f'--shard is written i/n, with i from 1 to n, not {text!r}.')
    return number, count


def _swept(arm: Arm, sweep: Sweep, value: Any) -> Arm:
    if sweep.field in arm.overrides:
        raise UserError(f'config.{sweep.field} is set by --sweep and by {arm.name!r}: leave one out.')
    return Arm(arm.name, {**arm.overrides, sweep.field: value}, swept=sweep.field)


def _check_overrides(arm: Arm, given: Mapping[str, Any]) -> None:
    for field in arm.overrides:
        if field in SHARED:
            raise UserError(f'{arm.label!r} sets config.{field}, which all arms of a comparison share.')
        for name in given:
            if f'{field}.'.startswith(f'{name}.') or f'{name}.'.startswith(f'{field}.'):
                raise UserError(f'config.{field} is set by {arm.label!r} and by --config.{name}: leave one out.')


def _seed(text: str) -> int:
    if not re.fullmatch(r'\d+', text):
        raise UserError(f'--seeds is a list of whole numbers from 0, such as 0,1,2; {text!r} is none.')
    return int(text)


def _value(text: str) -> Any:
    """A number or a truth value if `text` looks like one, else a word."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return {'true': True, 'false': False}.get(text, text)
    return value if isinstance(value, int | float | bool) else text


def _written(value: Any) -> str:
    short = f'{value:g}' if isinstance(value, float) else str(value)
    return short if not isinstance(value, float) or float(short) == value else repr(value)
