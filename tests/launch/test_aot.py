import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from bljust_jax.build import build
from bljust_jax.checkpoint import abstract_like
from bljust_jax.config import BestRqConfig, Config, ConformerConfig, DataConfig, LogMelConfig, MeshConfig
from bljust_jax.errors import UserError
from bljust_jax.sharding import make_mesh, state_shardings
from launch.aot import abstract_batch, compile_step, format_header, format_row, topology_devices

CONFIG = Config(
    data=DataConfig(batch_seconds=5.0, unlabelled_batch_seconds=4.0, max_seconds=1.0, crop_seconds=0.5),
    log_mel=LogMelConfig(mels=4),
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4),
    best_rq=BestRqConfig(codebook_size=6, code_dim=4),
    mesh=MeshConfig(1, 2),
)


def test_batches_have_the_longest_rows_shared_by_all_devices():
    mesh = make_mesh(CONFIG.mesh)
    sup, unsup = (abstract_batch(CONFIG, level, mesh) for level in ('sup', 'unsup'))
    assert sup.audio.shape == (6, 16000) and sup.labels.shape == (6, 20)
    assert unsup.audio.shape == (8, 8000) and unsup.labels.shape == (8, 0)
    assert sup.audio.sharding.shard_shape(sup.audio.shape) == (3, 16000)


@pytest.mark.standard_dtypes
def test_figures_of_each_program_of_a_step():
    programs = dict(compile_step(CONFIG, jax.devices()))
    assert list(programs) == ['sup', 'unsup', 'update']
    assert all(program.flops > 0 for program in programs.values())
    assert programs['update'].aliased >= state_bytes()
    assert programs['update'].arguments > 1.6 * state_bytes()  # next to the state, a gradient of each level
    assert all(program.resident >= program.arguments + program.temporary for program in programs.values())
    rows = [format_row(name, program) for name, program in programs.items()]
    assert len({row.index(' in ') for row in rows} | {format_header().index(' compiled')}) == 1
    assert set(json.loads(json.dumps(programs['sup'].figures()))) == {*programs['sup']._fields} - {'compiled'}


def state_bytes():
    """Of parameters and optimiser state on each of the devices that share them."""
    abstract = jax.eval_shape(build(CONFIG, 32).init_state, 0)
    shardings = state_shardings(make_mesh(CONFIG.mesh), abstract)
    state = abstract_like(abstract, shardings)
    leaves = jax.tree.leaves((state.params, state.optimizer))
    return sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in leaves)


def test_without_libtpu_there_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, 'libtpu', None)
    with pytest.raises(UserError, match='Compiling for TPUs needs libtpu: run `make aot`'):
        topology_devices('v5e:2x2')


@pytest.mark.aot
def test_a_step_compiles_for_tpu():
    pytest.importorskip('libtpu')
    command = [sys.executable, '-m', 'launch.aot', '--config=configs/conformer.py:smoke', '--topology=v5e:2x2']
    options = ['--config.compute_dtype=bfloat16', '--config.conformer.scan=True', '--config.conformer.remat=dots']
    result = subprocess.run([*command, *options], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures['topology'] == 'v5e:2x2' and set(figures['programs']) == {'sup', 'unsup', 'update'}
    update = figures['programs']['update']
    assert update['aliased'] > 0.5 * update['arguments']  # the state, next to the gradients of two levels


@pytest.mark.aot
def test_an_unknown_topology_is_named():
    pytest.importorskip('libtpu')
    with pytest.raises(UserError, match='--topology=v5e:3x5 is not one that libtpu knows'):
        topology_devices('v5e:3x5')
