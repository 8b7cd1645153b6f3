"""Means over the frames that count."""

import jax
import jax.numpy as jnp

from bljust_jax.types import Ratio


def mean_where(values: jax.Array, mask: jax.Array) -> Ratio:
    """The mean of `values` where the bool `mask`, of the same shape, is set; elsewhere they may be anything."""
    return Ratio(jnp.where(mask, values.astype(jnp.float32), 0.0).sum(), mask.sum().astype(jnp.float32))
