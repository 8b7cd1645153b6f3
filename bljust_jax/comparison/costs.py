"""What a step of each set of levels costs: one, its FLOPs, or its seconds; for `bljust_jax.comparison.budget`."""

import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh

from bljust_jax.build import System, build
from bljust_jax.comparison.budget import StepCosts
from bljust_jax.config import Config
from bljust_jax.data.dataset import data_dir_of, load_or_train_tokenizer
from bljust_jax.data.plan import BatchPlan, Shape
from bljust_jax.data.text import Tokenizer
from bljust_jax.flops import StepFlops
from bljust_jax.prepare import prepare_corpus
from bljust_jax.sharding import batch_putter, make_mesh, state_shardings
from bljust_jax.step import Step
from bljust_jax.strategies import make_phases, steps_by_levels
from bljust_jax.streams import open_stream, plan_stream
from bljust_jax.teacher import abstract_teacher, load_teacher
from bljust_jax.types import Batch
from bljust_jax.workdir import write_json

CALIBRATION_FILE = 'calibration.json'
CALIBRATION_STEPS = 8  # timed for each set of levels


def step_costs(match: str, workdir: Path) -> Callable[[Config], StepCosts]:
    """The function that tells the cost of a step of each set of levels of a config, in the unit of `match`.

    Args:
      match: one of `budget.MATCHES`; labelled hours have no cost of a step, and get that of `steps`.
      workdir: of the comparison, where `calibration.json` keeps what was measured, so that a comparison that goes on
        has the same plan.
    """
    costs: dict[str, Callable[[Config], StepCosts]] = {
        'flops': flops_costs,
        'wall': lambda config: calibrated_costs(config, workdir),
    }
    return costs.get(match, unit_costs)


def unit_costs(config: Config) -> StepCosts:
    """Every step costs one."""
    return dict.fromkeys(steps_by_levels(make_phases(config.strategy)), 1.0)


def flops_costs(config: Config) -> StepCosts:
    """FLOPs of a step, the mean over an epoch's batches, from shapes alone: nothing is compiled or put on a device."""
    setup = _set_up(config)
    system = setup.system
    state = jax.eval_shape(system.init_state, config.seed)
    teacher = abstract_teacher(system, setup.mesh) if system.frozen_teacher else ()
    plans = {level.name: plan_stream(config, level.name)[1] for level in system.levels}
    count = StepFlops()

    def mean(step: Step, level: str) -> float:
        plan = plans[level]
        shapes = zip(plan.batch_counts, _abstract_batches(plan, setup.mesh.size), strict=True)
        return sum(n * count.gradient(step, level, state, batch) for n, batch in shapes) / plan.steps_per_epoch

    def total(step: Step) -> float:
        batches = {name: _abstract_batches(plans[name], setup.mesh.size)[0] for name in step.gradients}
        return sum(mean(step, name) for name in step.gradients) + count.update(step, state, batches)

    return {levels: total(step) for levels, step in system.make_steps(teacher=teacher).items()}


def calibrated_costs(config: Config, workdir: Path) -> StepCosts:
    """`measured_costs`, measured once for all configs that differ in seed and numbers of steps alone."""
    path = workdir / CALIBRATION_FILE
    known = json.loads(path.read_text()) if path.exists() else {}
    key = _key(config)
    if key not in known:
        seconds = measured_costs(config, workdir)
        known[key] = {
            'strategy': config.strategy.name,
            'seconds': {'+'.join(levels): value for levels, value in seconds.items()},
        }
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, known)
    return {tuple(levels.split('+')): value for levels, value in known[key]['seconds'].items()}


def measured_costs(config: Config, workdir: Path, count: int = CALIBRATION_STEPS) -> StepCosts:
    """Seconds of a step: the mean over `count` steps from the initial state, on the first batches of the streams.

    All programs are compiled, and all batches on the devices, before the clock starts. Evaluations, checkpoints and
    compiling are not in it.
    """
    system, tokenizer, mesh = _set_up(config)
    shardings = state_shardings(mesh, jax.eval_shape(system.init_state, config.seed))
    teacher = load_teacher(system, tokenizer, mesh, workdir).params if system.frozen_teacher else ()
    put = batch_putter(mesh)
    names = {name for levels in steps_by_levels(system.phases) for name in levels}
    streams = {name: open_stream(config, name, tokenizer, 0, mesh.size, put) for name in names}
    batches = {
        name: [batch for batch, _ in itertools.islice(stream.batches, count)] for name, stream in streams.items()
    }

    def seconds(step: Step) -> float:
        state = jax.jit(system.init_state, out_shardings=shardings)(config.seed)
        for _ in ('compiling', 'timed'):
            jax.block_until_ready(state)
            start = time.perf_counter()
            for number in range(count):
                state, _ = step(state, {name: batches[name][number] for name in step.gradients})
        jax.block_until_ready(state)
        return (time.perf_counter() - start) / count

    costs = {levels: seconds(step) for levels, step in system.make_steps(shardings, teacher).items()}
    for levels, cost in costs.items():
        logging.info('%s: a step of %s takes %.0f ms.', config.strategy.name, ' and '.join(levels), 1000 * cost)
    return costs


class _Setup(NamedTuple):
    system: System
    tokenizer: Tokenizer
    mesh: Mesh


def _set_up(config: Config) -> _Setup:
    data_dir, kind = data_dir_of(config.data), config.tokenizer
    prepare_corpus(config.data.corpus, data_dir)
    corpus, split = config.data.corpus, config.data.labelled
    tokenizer = load_or_train_tokenizer(data_dir, corpus, kind.kind, kind.vocab_size, split)
    return _Setup(build(config, tokenizer.vocab_size), tokenizer, make_mesh(config.mesh))


def _abstract_batches(plan: BatchPlan, row_multiple: int) -> list[Batch]:
    """A batch of each shape of `plan`, without content."""
    pieces = plan.slots.shape[1]
    return [_abstract_batch(shape, pieces, row_multiple) for shape in plan.shapes]


def _abstract_batch(shape: Shape, pieces: int, row_multiple: int) -> Batch:
    rows = shape.rows + -shape.rows % row_multiple

    def array(*size: int, dtype: Any = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct(size, dtype)

    return Batch(
        array(rows, shape.samples, dtype=jnp.int16),
        array(rows),
        array(rows, shape.labels),
        array(rows),
        array(rows, pieces),
    )


def _key(config: Config) -> str:
    """What the seconds of a step depend on: all but the seed, the numbers of steps, and what evaluations are like."""
    values = dataclasses.asdict(config)
    for name in ('seed', 'eval', 'log_every_steps', 'checkpoint_every_steps', 'keep_checkpoints'):
        del values[name]
    values['strategy'] = {name: value for name, value in values['strategy'].items() if not name.endswith('_steps')}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
