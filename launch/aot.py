"""Compiles a training step for a TPU that is not there, and tells what it would take of each chip.

python -m launch.aot --config=configs/conformer.py:librispeech --topology=v5e:4x4 [--config.field=value ...]

Prints one line for each program of the step (the gradient of each level, then the update) and, last, the same as JSON.
`make aot` does this in an environment of its own, as libtpu is needed.
"""

import importlib.util
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import flags
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from ml_collections import config_flags

from bljust_jax import cli
from bljust_jax.build import build
from bljust_jax.checkpoint import abstract_like
from bljust_jax.config import SAMPLE_RATE, Config
from bljust_jax.errors import UserError
from bljust_jax.sharding import BATCH_SPEC, make_mesh, state_shardings
from bljust_jax.strategies import UPPER
from bljust_jax.teacher import abstract_teacher
from bljust_jax.types import Batch, PyTree

# What a corpus would tell: fast speech in characters, which bound a row's labels, and the utterances in a packed row.
_LABELS_PER_SECOND = 20
_UTTERANCES = 4
_CHARACTERS = 32

_COLUMNS = ('arguments', 'outputs', 'aliased', 'temporary', 'resident')


class Program(NamedTuple):
    """A compiled program and what it takes; all figures are of one device, memory in bytes.

    Attributes:
      compiled: the program.
      seconds: that it took to compile.
      flops: of one call, as XLA counts them: the blocks of a scanned encoder only once.
      arguments, outputs, temporary: memory of each kind.
      aliased: outputs that are written over arguments, and so count once.
      resident: the most that lies on a device while it runs: state, batches, the gradients so far, and its own memory.
    """

    compiled: jax.stages.Compiled
    seconds: float
    flops: float
    arguments: int
    outputs: int
    temporary: int
    aliased: int
    resident: int

    def figures(self) -> dict[str, float]:
        """Everything but the program itself."""
        return {name: value for name, value in self._asdict().items() if name != 'compiled'}


def topology_devices(topology: str) -> Sequence[jax.Device]:
    """The devices of a TPU slice that need not be there, such as `v5e:4x4`.

    Raises:
      UserError: if libtpu is not installed or does not know the topology.
    """
    if importlib.util.find_spec('libtpu') is None:
        raise UserError("Compiling for TPUs needs libtpu: run `make aot`, or install '.[tpu]' into an environment.")
    # Nothing here runs on a TPU: libtpu must look neither for one nor for the machine of the cloud that has it.
    jax.config.update('jax_platforms', 'cpu')
    os.environ |= {'TPU_SKIP_MDS_QUERY': '1', 'TPU_WORKER_HOSTNAMES': 'localhost', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}
    os.environ['TPU_ACCELERATOR_TYPE'] = 'v5litepod-4'  # of that machine: any will do, and none is warned of
    try:
        return topologies.get_topology_desc(platform='tpu', topology_name=topology).devices
    except (ValueError, jax.errors.JaxRuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f'--topology={topology} is not one that libtpu knows, such as v5e:4x4: {reason}') from error


def compile_step(config: Config, devices: Sequence[jax.Device]) -> Iterator[tuple[str, Program]]:
    """Compiles the parts of a step with the most levels active, for the longest rows that `config` allows.

    Yields:
      Name and program: the gradient of each of its levels, upper-most first, then `update`.

    Raises:
      UserError: if a program does not fit the devices' memory.
    """
    mesh = make_mesh(config.mesh, devices)
    system = build(config, _CHARACTERS if config.tokenizer.kind == 'char' else config.tokenizer.vocab_size)
    abstract = jax.eval_shape(system.init_state, config.seed)
    shardings = state_shardings(mesh, abstract)
    state = abstract_like(abstract, shardings)
    steps = system.make_steps(shardings)
    active = max(steps, key=len)
    batches = {name: abstract_batch(config, name, mesh) for name in active}
    gradients: list[PyTree] = []
    teacher = abstract_teacher(system, mesh) if system.frozen_teacher else ()
    held = _bytes_of_each(state) + _bytes_of_each(batches) + _bytes_of_each(teacher)
    for name, gradient in steps[active].gradients.items():
        lowered = gradient.lower(batches[name], state.params, state.seed, state.step, teacher or state.teacher)
        program = _compile(name, lowered, held)
        gradients.append(abstract_like(lowered.out_info, program.compiled.output_shardings))
        held += program.outputs
        yield name, program
    yield 'update', _compile('update', steps[active].update.lower(state, gradients), held)


def abstract_batch(config: Config, level: str, mesh: Mesh) -> Batch:
    """Shapes and shardings of a batch of `level` in its longest rows."""
    data, labelled = config.data, level == UPPER
    seconds = data.max_seconds if labelled else data.crop_seconds
    rows = int((data.batch_seconds if labelled else data.unlabelled_batch_seconds) / seconds)
    rows += -rows % (mesh.size * config.optimizer.microbatches)

    def array(dtype: Any, *shape: int) -> Any:
        return jax.ShapeDtypeStruct((rows, *shape), dtype, sharding=NamedSharding(mesh, BATCH_SPEC))

    return Batch(
        audio=array(jnp.int16, int(seconds * SAMPLE_RATE)),
        lengths=array(jnp.int32),
        labels=array(jnp.int32, int(seconds * _LABELS_PER_SECOND) if labelled else 0),
        label_lengths=array(jnp.int32),
        ends=array(jnp.int32, _UTTERANCES),
    )


def format_header() -> str:
    """The header of a table of programs."""
    return f'{"per device":<10}  {"GFLOP":>9}' + ''.join(f'  {f"{name} MiB":>13}' for name in _COLUMNS) + '  compiled'


def format_row(name: str, program: Program) -> str:
    """A row of it."""
    sizes = ''.join(f'  {getattr(program, column) / 2**20:13.1f}' for column in _COLUMNS)
    return f'{name:<10}  {program.flops / 1e9:9.1f}{sizes}  in {program.seconds:.0f} s'


def _compile(name: str, lowered: jax.stages.Lowered, held: int) -> Program:
    started = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f'{name} does not fit: {reason} More devices, config.conformer.remat, config.optimizer.microbatches or '
            'less audio a batch help.'
        ) from error
    memory: Any = compiled.memory_analysis()
    costs: Any = compiled.cost_analysis()
    return Program(
        compiled,
        round(time.perf_counter() - started, 1),
        costs['flops'],
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.alias_size_in_bytes,
        held + memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes,
    )


def _bytes_of_each(tree: PyTree) -> int:
    """What a tree of sharded shapes takes of each device."""
    return sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(tree))


def main(argv: list[str]) -> None:
    """Compiles and prints."""
    cli.refuse_arguments(argv)
    config = cli.config_of(_CONFIG)
    devices, figures = topology_devices(_TOPOLOGY.value), {}
    print(format_header(), flush=True)
    for name, program in compile_step(config, devices):
        print(format_row(name, program), flush=True)
        figures[name] = program.figures()
    print(json.dumps({'name': 'aot', 'topology': _TOPOLOGY.value, 'programs': figures}))


if __name__ == '__main__':
    _CONFIG = config_flags.DEFINE_config_file(
        'config', None, 'Config file, with a preset after a colon; --config.FIELD=VALUE overrides any field.'
    )
    _TOPOLOGY = flags.DEFINE_string('topology', 'v5e:4x4', 'TPU type and number of chips along each axis.')
    flags.mark_flag_as_required('config')
    cli.run(main)
