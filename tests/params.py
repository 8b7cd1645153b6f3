"""Parameters for tests."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def random_params(shapes: Any) -> Any:
    """Every leaf drawn, around 1 for scales: those of an initialisation are partly 0, and it takes long to compile."""
    rng = np.random.default_rng(0)
    return jax.tree.map_with_path(
        lambda path, leaf: rng.normal(path[-1].key == 'scale', 0.2, leaf.shape).astype(np.float32), shapes
    )


def number_of_parameters(encoder: Any, mels: int = 80) -> int:
    """Of an encoder of features with `mels` mels."""
    arguments = jax.random.key(0), jnp.zeros((1, 64, mels)), jnp.full((1,), 64)
    shapes = jax.eval_shape(lambda: encoder.init(*arguments, False))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
