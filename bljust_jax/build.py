"""From a config to the parts of a run: encoder, levels, phases, transformations, initial state and steps."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from bljust_jax import rng
from bljust_jax.config import Config, LevelConfig
from bljust_jax.errors import UserError
from bljust_jax.guards import Guards
from bljust_jax.models import hidden_width, make_encoder
from bljust_jax.objectives import DISTILLATION, SUPERVISED, UNSUPERVISED, Setup, has_teacher, make_level
from bljust_jax.optimizer import begin_anew, make_descent, make_penalty
from bljust_jax.step import Step, make_steps
from bljust_jax.strategies import LOWEST, UPPER, Phase, learning_rate_curve, levels_of, make_phases, steps_by_levels
from bljust_jax.types import Level, Params, PyTree, TrainState
from bljust_jax.workdir import read_config


class System(NamedTuple):
    """What is trained and how, still without data or devices.

    Attributes:
      config: what it was built from.
      vocab_size: number of labels, blank included.
      encoder: the shared encoder.
      levels: all levels, upper-most first.
      phases: the strategy.
      combine: the penalty transformation.
      descent: what turns its direction into a step.
      teacher: the config of the teacher's encoder, which is `config` if the teacher is the run itself, as it was when
        a phase began or as a moving average; None if no level has a teacher.
    """

    config: Config
    vocab_size: int
    encoder: nn.Module
    levels: tuple[Level, ...]
    phases: tuple[Phase, ...]
    combine: optax.GradientTransformationExtraArgs
    descent: optax.GradientTransformationExtraArgs
    teacher: Config | None = None

    @property
    def momentum(self) -> float:
        """Of the teacher that is the student's moving average; 0 without one."""
        return self.config.teacher.momentum if self.teacher else 0.0

    @property
    def frozen_teacher(self) -> bool:
        """Whether a level learns from another run, so that steps need its parameters."""
        return self.teacher is not None and bool(self.config.teacher.workdir)

    @property
    def guards(self) -> Guards | None:
        """The collapse guards of all levels, if there are to be any."""
        options = self.config.guards
        names = tuple(level.name for level in self.levels)
        return None if options.action == 'off' else Guards(options, names, self.config.optimizer.warmup_steps)

    def init_params(self, seed: jax.Array) -> Params:
        """Initial `{'encoder': ..., 'heads': {level: ...}}`: every level has a head, whatever the strategy."""
        key = jax.random.key(seed)
        features = jnp.zeros((1, 64, self.config.log_mel.mels))
        encoder = self.encoder.init(rng.stream(key, 'init/encoder', 0), features, jnp.full((1,), 64), False)
        heads = {level.name: level.init(rng.stream(key, f'init/{level.name}', 0)) for level in self.levels}
        return {'encoder': encoder['params'], 'heads': heads}

    def init_state(self, seed: jax.Array) -> TrainState:
        """The state before the first step."""
        params = self.init_params(seed)
        return TrainState(
            step=jnp.int32(0),
            params=params,
            penalty=self.combine.init(params),
            optimizer=self.descent.init(params),
            drawn={level.name: jnp.int32(0) for level in self.levels},
            seed=jnp.int32(seed),
            teacher=jax.tree.map(jnp.copy, params) if self.teacher and not self.frozen_teacher else (),
            guards=self.guards.init() if self.guards else (),
        )

    def begin(self, phase: Phase, state: TrainState) -> TrainState:
        """The state with which the first step of `phase` is taken, of the one after the step before it."""
        if phase.teaches:
            state = state._replace(teacher=jax.tree.map(jnp.copy, state.params))
        if phase.anew:
            fresh = self.init_state(state.seed)
            optimizer = begin_anew(state.optimizer, fresh.optimizer)
            state = state._replace(params=fresh.params, optimizer=optimizer, guards=fresh.guards)
        return state

    def make_steps(self, shardings: TrainState | None = None, teacher: PyTree = ()) -> dict[tuple[str, ...], Step]:
        """The step of every set of levels that is active together in some phase; `teacher` is a frozen one's."""
        active_sets = steps_by_levels(self.phases)
        return make_steps(
            self.levels,
            active_sets,
            combine=self.combine,
            descent=self.descent,
            learning_rates=self.learning_rates,
            shardings=shardings,
            momentum=self.momentum,
            teacher=teacher,
            guards=self.guards,
            microbatches=self.config.optimizer.microbatches,
        )

    def learning_rates(self, step: jax.Array) -> Mapping[str, jax.Array]:
        """Step size of the encoder and of each head at `step`."""
        factor = learning_rate_curve(self.phases, self.config.optimizer)(step)
        rates = {'encoder': self.config.optimizer.learning_rate}
        rates |= {level.name: getattr(self.config.levels, level.name).learning_rate for level in self.levels}
        return {group: rate * factor for group, rate in rates.items()}


def build(config: Config, vocab_size: int) -> System:
    """Builds the system that `config` describes, for `vocab_size` labels (blank included).

    Raises:
      UserError: for a strategy, encoder or objective that does not exist or cannot be used, and for a teacher that
        cannot teach it.
    """
    encoder = make_encoder(config)
    width = hidden_width(encoder, config.log_mel.mels)
    phases = tuple(make_phases(config.strategy))
    names = levels_of(phases)
    needs_teacher = any(has_teacher(config, name) for name in names)
    teacher = teacher_config(config) if needs_teacher else None
    setup = Setup(
        '', config, encoder, width, vocab_size, upper=names[0], teacher=make_encoder(teacher) if teacher else None
    )
    tables = dict.fromkeys(names, UNSUPERVISED) | {UPPER: SUPERVISED, LOWEST: DISTILLATION}
    levels = tuple(make_level(tables[name], setup._replace(name=name)) for name in names)
    combine, descent = make_penalty(config, phases), make_descent(config, phases)
    return System(config, vocab_size, encoder, levels, phases, combine, descent, teacher)


def build_recognizer(config: Config, vocab_size: int) -> System:
    """The system of a trained run as far as it is needed for recognising: without teacher or files, which may be gone.

    Its lower levels are not those that it was trained with.
    """
    strategy = dataclasses.replace(config.strategy, name='supervised')
    levels = dataclasses.replace(config.levels, unsup=LevelConfig('best_rq'))
    return build(dataclasses.replace(config, strategy=strategy, levels=levels), vocab_size)


def teacher_config(config: Config) -> Config:
    """The config that the teacher's encoder is made of: that of its run, or `config` if the run is its own teacher.

    Raises:
      UserError: if there is no teacher, or its frames are made of other features than the student's, or more of them.
    """
    options = config.teacher
    phases = make_phases(config.strategy)
    if options.momentum or any(phase.teaches for phase in phases):
        return config
    if not options.workdir:
        names = levels_of(phases)
        taught = [f'config.levels.{name}.objective' for name in names if has_teacher(config, name)]
        units = any(getattr(config.levels, name).objective == 'hubert' for name in names)
        average = '' if units else ', or set config.teacher.momentum, to 0.999 for example'
        raise UserError(
            f'{" and ".join(taught)} needs a teacher: name the folder of a trained run in '
            f'config.teacher.workdir{average}.'
        )
    try:
        teacher = read_config(Path(options.workdir).expanduser())
    except UserError as error:
        raise UserError(f'config.teacher.workdir={options.workdir} cannot teach. {error}') from error
    mine, theirs = dataclasses.asdict(config.log_mel), dataclasses.asdict(teacher.log_mel)
    for field, value in mine.items():
        _require_same(options.workdir, f'log_mel.{field}', theirs[field], value)
    strides = [make_encoder(one).subsampling for one in (teacher, config)]
    _require_same(options.workdir, f'encoder={teacher.encoder}, whose subsampling', *strides)
    return teacher


def _require_same(folder: str, field: str, theirs: object, mine: object) -> None:
    if theirs != mine:
        raise UserError(
            f'config.teacher.workdir={folder} cannot teach: its config.{field} is {theirs} and that of this run '
            f'is {mine}; they must be the same.'
        )
