"""Mesh, shardings, and putting a batch on devices. `jit` with `NamedSharding`s does the rest."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bljust_jax.config import MeshConfig
from bljust_jax.errors import UserError
from bljust_jax.types import Batch, PyTree

# Of every array of a batch: its rows lie on all devices.
BATCH_SPEC = PartitionSpec(('data', 'fsdp'))

# Patterns of paths in a state, and whether such arrays are cut along `fsdp`; the first that matches counts. They hold
# for parameters, for gradients and for what the optimiser and the teacher keep of each parameter.
RULES = (
    (r'(^|/)(kernel|recurrent|embedding|vectors)$', True),
    (r'(^|/)(bias|scale)$', False),
    (r'^(step|seed|drawn|penalty|guards)(/|$)', False),
    (r'^optimizer/(.*/)?(count|step)$', False),
)


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
    """For each array of a state, or of a part of it, how it lies on the devices, by `RULES` (ZeRO, arXiv 1910.02054).

    What is cut lies in equal parts along `fsdp`, at its largest axis that the parts divide; if there is none, or `fsdp`
    is 1, it lies whole on every device, as all else does.

    Args:
      mesh: from `make_mesh`.
      abstract: a tree of arrays or `ShapeDtypeStruct`s.

    Raises:
      ValueError: for an array that no rule is for, with its path and shape.
    """
    size = mesh.shape['fsdp']

    def sharding(path: tuple[Any, ...], leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        cut = _is_cut(jax.tree_util.keystr(path, simple=True, separator='/'), leaf.shape)
        divisible = [axis for axis, length in enumerate(leaf.shape) if cut and size > 1 and length % size == 0]
        if not divisible:
            return NamedSharding(mesh, PartitionSpec())
        axis = max(divisible, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'fsdp'))

    return jax.tree_util.tree_map_with_path(sharding, abstract)


def _is_cut(path: str, shape: tuple[int, ...]) -> bool:
    for pattern, cut in RULES:
        if re.search(pattern, path):
            return cut
    raise ValueError(f'No sharding rule is for {path} {list(shape)}: add its name to bljust_jax.sharding.RULES.')


def batch_putter(mesh: Mesh) -> Callable[[Batch], Batch]:
    """A function that takes this host's rows of a batch and returns the global batch, its rows over all devices."""
    sharding = NamedSharding(mesh, BATCH_SPEC)

    def put(batch: Batch) -> Batch:
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), batch)

    return put
