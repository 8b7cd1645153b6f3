"""Mesh, shardings, and putting a batch on devices. `jit` with `NamedSharding`s does the rest."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bljust_jax.config import MeshConfig
from bljust_jax.errors import UserError
from bljust_jax.types import Batch, PyTree

# Of every array of a batch: its rows lie on all devices.
BATCH_SPEC = PartitionSpec(('data', 'fsdp'))


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of axes `data` and `fsdp` over `devices`, by default all of all processes.

    Raises:
      UserError: if the sizes do not multiply to the number of devices.
    """
    count = jax.device_count() if devices is None else len(devices)
    data = count // config.fsdp if config.data == -1 else config.data
    if data * config.fsdp != count:
        raise UserError(
            f'config.mesh.data={config.data} and config.mesh.fsdp={config.fsdp} do not fit {count} devices: '
            f'their product must be {count} (data=-1 takes what is left).'
        )
    # Auto, because under the default Explicit axes linen's layers raise.
    return jax.make_mesh((data, config.fsdp), ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2, devices=devices)


def state_shardings(mesh: Mesh, abstract: PyTree) -> PyTree:
    """For each array the sharding that cuts its largest divisible axis along `fsdp`; the others are replicated.

    Args:
      mesh: from `make_mesh`.
      abstract: a tree of arrays or `ShapeDtypeStruct`s.
    """
    size = mesh.shape['fsdp']

    def sharding(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        divisible = [axis for axis, length in enumerate(leaf.shape) if size > 1 and length % size == 0]
        if not divisible:
            return NamedSharding(mesh, PartitionSpec())
        axis = max(divisible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'fsdp'))

    return jax.tree.map(sharding, abstract)


def batch_putter(mesh: Mesh) -> Callable[[Batch], Batch]:
    """A function that takes this host's rows of a batch and returns the global batch, its rows over all devices."""
    sharding = NamedSharding(mesh, BATCH_SPEC)

    def put(batch: Batch) -> Batch:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)

    return put
