"""Ten joint steps of a small real system on meshes, in one process of several: prints losses and collectives as JSON.

python -m tests.mesh_worker SHAPE[,SHAPE...] [PROCESS PROCESSES PORT]
"""

import json
import re
import sys
from collections.abc import Sequence

import jax
import numpy as np

from bljust_jax.build import build
from bljust_jax.config import MeshConfig
from bljust_jax.sharding import batch_putter, make_mesh, state_shardings
from bljust_jax.types import Batch
from tests.test_real_step import REAL
from tests.toy_system import BOTH

ROWS, STEPS = 24, 10  # no parameter has an axis of as many
_COLLECTIVE = re.compile(r'= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(')


def rows_of(seed: int) -> Batch:
    """Noise of random lengths, the last row empty, with two labels a row."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1600, 3200, ROWS).astype(np.int32)
    lengths[-1] = 0
    return Batch(
        rng.normal(scale=3000, size=(ROWS, 3200)).astype(np.int16),
        lengths,
        rng.integers(1, 5, (ROWS, 2)).astype(np.int32),
        np.where(lengths > 0, 2, 0).astype(np.int32),
        lengths[:, None],
    )


def part_of(batch: Batch) -> Batch:
    """The rows of this process."""
    size = ROWS // jax.process_count()
    return jax.tree.map(lambda x: x[jax.process_index() * size :][:size], batch)


def collectives_of(program: jax.stages.Compiled) -> list[tuple[str, list[list[int]]]]:
    """Kind and shapes of everything that devices exchange in a call of the program."""
    found = _COLLECTIVE.findall(program.as_text())
    return [
        (kind, [[int(n) for n in shape.split(',') if n] for shape in re.findall(r'\[([\d,]*)\]', types)])
        for types, kind in found
    ]


def run(shape: Sequence[int]) -> dict[str, object]:
    """Losses of the steps, and the collectives of each part of a step."""
    data, fsdp = shape
    mesh = make_mesh(MeshConfig(data, fsdp), jax.devices()[: data * fsdp])
    system = build(REAL, 5)
    abstract = jax.eval_shape(system.init_state, 0)
    shardings = state_shardings(mesh, abstract)
    state = jax.jit(system.init_state, static_argnums=0, out_shardings=shardings)(0)
    step, put = system.make_steps(shardings)[BOTH], batch_putter(mesh)
    losses, collectives = [], {}
    for seed in range(STEPS):
        batches = {name: put(part_of(rows_of(seed))) for name in BOTH}
        if not seed:
            for name in BOTH:
                program = step.trace_gradient(name, state, batches[name]).lower().compile()
                collectives[name] = collectives_of(program)
        state, metrics = step(state, batches)
        means = jax.device_get({name: metrics[f'loss/{name}'] for name in BOTH})
        losses.append([float(means[name].sum / means[name].weight) for name in BOTH])
    return {
        'losses': losses,
        'collectives': collectives,
        'parameters': len(jax.tree.leaves(abstract.params)),
        'processes': jax.process_count(),
    }


if __name__ == '__main__':
    shapes, *place = sys.argv[1:]
    if place:
        process, processes, port = map(int, place)
        jax.distributed.initialize(f'localhost:{port}', processes, process)
    print(json.dumps({shape: run([int(n) for n in shape.split('x')]) for shape in shapes.split(',')}))
