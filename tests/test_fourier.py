import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from bljust_jax.config import MeshConfig
from bljust_jax.fourier import rfft
from bljust_jax.sharding import make_mesh

X = np.random.default_rng(0).normal(size=(6, 5, 12)).astype(np.float32)


def spectrum(x, size, axis):
    return jax.lax.complex(*rfft(x, size, axis))


@pytest.mark.parametrize('axis', [1, 2])
@pytest.mark.parametrize('size', [4, 12, 16])
def test_it_is_that_of_numpy(size, axis):
    np.testing.assert_allclose(spectrum(X, size, axis), np.fft.rfft(X.astype(np.float64), size, axis), atol=1e-5)


@pytest.mark.parametrize('axis', [1, 2])
@pytest.mark.parametrize('spec', [('data',), (('data', 'fsdp'),), (None, None, 'data'), (None, 'data'), ()])
def test_each_device_transforms_its_own_rows(spec, axis):
    x = jax.device_put(X[:, :4], NamedSharding(make_mesh(MeshConfig(2, 1)), PartitionSpec(*spec)))
    program = jax.jit(lambda x: spectrum(x, 16, axis)).lower(x).compile()
    np.testing.assert_allclose(program(x), np.fft.rfft(X[:, :4], 16, axis), atol=1e-5)
    if spec[axis:] == ():  # what is transformed is not cut
        assert 'all-gather' not in program.as_text()


def test_a_transform_inside_of_a_gradient():
    def power(w, x):
        return (jnp.abs(spectrum(x, 16, 2)) ** 2 * w).sum()

    np.testing.assert_allclose(jax.grad(power)(2.0, X), (np.abs(np.fft.rfft(X, 16, 2)) ** 2).sum(), rtol=1e-5)


@pytest.mark.parametrize('axis', [1, 2])
def test_many_transforms_at_once(axis):
    many = np.stack([X, X[::-1], 2 * X])
    taken = jax.jit(jax.vmap(lambda x: spectrum(x, 16, axis), in_axes=1))(many.swapaxes(0, 1))
    np.testing.assert_allclose(taken, np.fft.rfft(many, 16, axis + 1), atol=1e-5)


@pytest.mark.parametrize(('shape', 'axis'), [((3, 4), 1), ((3, 4, 5), 0), ((3, 4, 5), -1), ((2, 3, 4, 5), 2)])
def test_other_axes_are_refused(shape, axis):
    with pytest.raises(ValueError, match='rfft takes .rows, ., .. and axis 1 or 2, not'):
        rfft(jnp.zeros(shape), 8, axis)
