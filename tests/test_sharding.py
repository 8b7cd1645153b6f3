import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bljust_jax.config import MeshConfig
from bljust_jax.errors import UserError
from bljust_jax.sharding import batch_putter, make_mesh, state_shardings
from bljust_jax.types import Batch

TREE = {
    'step': jnp.zeros((), jnp.int32),
    'odd': {'kernel': jnp.zeros(7)},
    'even': {'bias': jnp.zeros(8)},
    'wide': {'kernel': jnp.zeros((4, 6))},
    'tall': {'embedding': jnp.zeros((10, 4))},
    'one': {'recurrent': jnp.zeros((9, 4, 3))},
}


@pytest.mark.parametrize(
    ('config', 'shape'),
    [(MeshConfig(), (2, 1)), (MeshConfig(2, 1), (2, 1)), (MeshConfig(-1, 2), (1, 2)), (MeshConfig(1, 2), (1, 2))],
)
def test_the_mesh_takes_all_devices(config, shape):
    mesh = make_mesh(config)
    assert dict(mesh.shape) == {'data': shape[0], 'fsdp': shape[1]}
    assert mesh.devices.size == jax.device_count() == 2
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(('data', 'fsdp'), [(1, 1), (3, 1), (2, 2), (-1, 3), (-1, 4)])
def test_sizes_that_do_not_fit_the_devices_are_named(data, fsdp):
    with pytest.raises(UserError) as error:
        make_mesh(MeshConfig(data, fsdp))
    assert str(error.value) == (
        f'config.mesh.data={data} and config.mesh.fsdp={fsdp} do not fit 2 devices: '
        'their product must be 2 (data=-1 takes what is left).'
    )


def test_the_largest_divisible_axis_is_cut():
    mesh = make_mesh(MeshConfig(1, 2))
    specs = jax.tree.map(lambda sharding: sharding.spec, state_shardings(mesh, TREE))
    assert specs == {
        'step': PartitionSpec(),
        'odd': {'kernel': PartitionSpec()},
        'even': {'bias': PartitionSpec()},
        'wide': {'kernel': PartitionSpec(None, 'fsdp')},
        'tall': {'embedding': PartitionSpec('fsdp')},
        'one': {'recurrent': PartitionSpec(None, 'fsdp')},
    }
    abstract = jax.eval_shape(lambda: TREE)
    assert state_shardings(mesh, abstract) == state_shardings(mesh, TREE)
    placed = jax.device_put(TREE, state_shardings(mesh, TREE))
    assert placed['tall']['embedding'].addressable_shards[0].data.shape == (5, 4)
    assert placed['odd']['kernel'].addressable_shards[0].data.shape == (7,)


def test_without_fsdp_everything_is_replicated():
    mesh = make_mesh(MeshConfig(2, 1))
    for sharding in jax.tree.leaves(state_shardings(mesh, TREE)):
        assert sharding == NamedSharding(mesh, PartitionSpec())


@pytest.mark.parametrize('path', ['encoder/gain', 'my_kernel', 'kernel/other', 'encoder/step'])
def test_an_array_that_no_rule_is_for_is_named(path):
    tree = jnp.zeros((4, 2))
    for name in reversed(path.split('/')):
        tree = {name: tree}
    with pytest.raises(ValueError, match=rf'No sharding rule is for {path} \[4, 2\]: add its name to'):
        state_shardings(make_mesh(MeshConfig(2, 1)), tree)


@pytest.mark.parametrize('config', [MeshConfig(2, 1), MeshConfig(1, 2)])
def test_rows_of_a_batch_lie_on_all_devices(config):
    batch = Batch(
        np.arange(40, dtype=np.int16).reshape(4, 10),
        np.array([10, 7, 3, 0], np.int32),
        np.zeros((4, 0), np.int32),
        np.zeros(4, np.int32),
        np.array([[4, 10], [7, 0], [3, 0], [0, 0]], np.int32),
    )
    put = batch_putter(make_mesh(config))(batch)
    assert isinstance(put, Batch)
    for ours, theirs in zip(put, batch, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
        assert [len(shard.data) for shard in ours.addressable_shards] == [2, 2]
