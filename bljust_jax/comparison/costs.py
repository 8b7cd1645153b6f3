"""What a step of each set of levels costs: one, its FLOPs, or its seconds; for `bljust_jax.comparison.budget`."""

import dataclasses
import hashlib
import itertools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from jax.sharding import Mesh

from bljust_jax.build import System, build
from bljust_jax.comparison.budget import StepCosts
from bljust_jax.config import Config
from bljust_jax.data.dataset import data_dir_of, tokenizer_of_corpus
from bljust_jax.data.plan import BatchPlan, Shape
from bljust_jax.data.text import Tokenizer
from bljust_jax.errors import UserError
from bljust_jax.files import locked
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
    row_multiple = setup.mesh.size * config.optimizer.microbatches
    count = StepFlops()

    def mean(step: Step, level: str) -> float:
        plan = plans[level]
        shapes = zip(plan.batch_counts, _abstract_batches(plan, row_multiple), strict=True)
        return sum(n * count.gradient(step, level, state, batch) for n, batch in shapes) / plan.steps_per_epoch

    def total(step: Step) -> float:
        batches = {name: _abstract_batches(plans[name], row_multiple)[0] for name in step.gradients}
        return sum(mean(step, name) for name in step.gradients) + count.update(step, state, batches)

    return {levels: total(step) for levels, step in system.make_steps(teacher=teacher).items()}


def known_costs(match: str, config: Config, workdir: Path) -> StepCosts | None:
    """What `keep_costs` has kept for such a config; None if that is not there, or not of all of its sets of levels."""
    known = _read(workdir).get(_key(config), {}).get(match, {})
    names = {levels: '+'.join(levels) for levels in steps_by_levels(make_phases(config.strategy))}
    return {levels: known[name] for levels, name in names.items()} if known.keys() >= {*names.values()} else None


def keep_costs(match: str, config: Config, workdir: Path) -> None:
    """Finds the costs of a config and keeps them in `calibration.json`, unless another process has done so meanwhile.

    It is for a process of its own, which has the devices of the runs. One after another measures in a `workdir`.
    A number that was kept before stays, so that a comparison that goes on has the same plan.

    Args:
      match: `flops` (`flops_costs`) or `wall` (`measured_costs`).
      config: of which neither the seed nor anything else that a step does not cost counts; see `_key`.
      workdir: of the comparison.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with locked(workdir / CALIBRATION_FILE):
        if known_costs(match, config, workdir) is not None:
            return
        costs = flops_costs(config) if match == 'flops' else measured_costs(config, workdir)
        known = _read(workdir)
        of_config = known.setdefault(_key(config), {})
        of_config[match] = {'+'.join(levels): cost for levels, cost in costs.items()} | of_config.get(match, {})
        write_json(workdir / CALIBRATION_FILE, known)


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
    prepare_corpus(config.data.corpus, data_dir_of(config.data))
    tokenizer = tokenizer_of_corpus(config)
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


def _read(workdir: Path) -> dict[str, Any]:
    """Costs by key of a config, by match, and by set of levels."""
    path = workdir / CALIBRATION_FILE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f'{path} is damaged: delete it, and what steps cost is measured anew.') from error


def _key(config: Config) -> str:
    """What the cost of a step depends on: the model, its losses, the batches and the devices.

    The strategy only says how many steps of each set of levels there are, and step sizes and γ are numbers in them.
    """
    values = dataclasses.asdict(config)
    for name in ('seed', 'strategy', 'eval', 'log_every_steps', 'checkpoint_every_steps', 'keep_checkpoints'):
        del values[name]
    for name in ('data_dir', 'workers'):
        del values['data'][name]
    values['optimizer'] = config.optimizer.combine
    values['levels'] = {name: (level['objective'], level['gamma']) for name, level in values['levels'].items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
