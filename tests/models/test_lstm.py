import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.config import LstmConfig
from bljust_jax.models.lstm import LstmContext, LstmLayer, lstm_encoder
from tests.params import random_params

BATCH, TIME, WIDTH = 4, 9, 8
LENGTHS = np.array([9, 5, 1, 3])


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def to_torch(params, config):
    """The context network `params` as PyTorch's stack in float64, whose biases of the recurrence are zero."""
    cells = config.width // (1 + config.bidirectional)
    stack = torch.nn.LSTM(config.width, cells, config.layers, bidirectional=config.bidirectional, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in stack.named_parameters():
            weight.copy_(torch.tensor(of_torch(params, name)) if name[:7] != 'bias_hh' else 0)
    return stack


def of_torch(params, name):
    """Our array of PyTorch's parameter `name`, such as `weight_ih_l1_reverse`."""
    kind, layer, *backward = name.replace('_l', ' ').replace('_reverse', ' reverse').split()
    layer = params['Stack_0'][f'block_{layer}']['LstmLayer_0']
    direction = len(backward)
    match kind:
        case 'weight_ih':
            return np.asarray(layer['DenseGeneral_0']['kernel'])[:, direction].T
        case 'weight_hh':
            return np.asarray(layer['kernel'])[direction].T
        case _:
            return np.asarray(layer['bias'])[direction]


@pytest.mark.parametrize('bidirectional', [True, False])
def test_context_network_equals_torch_on_packed_sequences(bidirectional):
    """Outputs and the gradients of parameters and inputs, at the valid frames of rows of different lengths."""
    config = LstmConfig(layers=3, width=WIDTH, bidirectional=bidirectional, norm='none', dropout=0.0)
    context = LstmContext(config)
    x, grad = normal(0, BATCH, TIME, WIDTH), normal(1, BATCH, TIME, WIDTH)
    valid = np.arange(TIME) < LENGTHS[:, None]
    grad[~valid] = 0
    shapes = jax.eval_shape(lambda: context.init(jax.random.key(0), x, LENGTHS, False))['params']
    params = jax.tree.map(lambda leaf: 2 * leaf, random_params(shapes))

    @jax.jit
    def ours(params, x):
        apply = lambda params, x: context.apply({'params': params}, x, jnp.asarray(LENGTHS), False)[0]  # noqa: E731
        value, pullback = jax.vjp(apply, params, x)
        return value, pullback(grad)

    value, (params_grad, x_grad) = ours(params, x)
    reference = to_torch(params, config)
    exact = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    pack = functools.partial(torch.nn.utils.rnn.pack_padded_sequence, batch_first=False, enforce_sorted=False)
    packed, _ = reference(pack(exact.transpose(0, 1), torch.tensor(LENGTHS)))
    expected = torch.nn.utils.rnn.pad_packed_sequence(packed)[0].transpose(0, 1)
    expected.backward(torch.tensor(grad, dtype=torch.float64))

    np.testing.assert_allclose(np.asarray(value)[valid], expected.detach().numpy()[valid], atol=1e-5)
    np.testing.assert_allclose(x_grad, exact.grad, atol=1e-5)
    for name, weight in reference.named_parameters():
        if not name.startswith('bias_hh'):
            np.testing.assert_allclose(of_torch(params_grad, name), weight.grad, atol=1e-5, err_msg=name)


def test_forget_gates_begin_open():
    shape = (5, 2, 3)
    params = jax.jit(LstmLayer(4).init)(jax.random.key(0), jnp.zeros(shape), jnp.full((2,), 5))['params']
    gates = np.asarray(params['bias']).reshape(2, 4, 4)
    np.testing.assert_array_equal(gates, np.broadcast_to(np.array([0, 1, 0, 0])[:, None], (2, 4, 4)))
    for kernel in np.asarray(params['kernel']):
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(4), atol=1e-5)


def test_one_direction_never_looks_ahead():
    encoder = lstm_encoder(LstmConfig(layers=2, width=6, bidirectional=False, channels=4))
    features, lengths = normal(0, 1, 40, 5), jnp.array([40])
    params = random_params(jax.eval_shape(lambda: encoder.init(jax.random.key(0), features, lengths, False)))
    apply = jax.jit(lambda features: encoder.apply(params, features, lengths, False)[0])
    changed = features.copy()
    changed[:, 20:] += 1
    difference = np.abs(apply(features) - apply(changed))[0].max(axis=-1)
    assert (difference[:4] == 0).all() and (difference[5:] > 1e-4).all()  # frame 4 sees features 10 to 22


@pytest.mark.parametrize(
    ('layers', 'cells', 'bidirectional', 'millions'),
    [(6, 640, True, 59.0), (6, 1280, True, 236.0), (5, 1024, False, 42.0)],
)
def test_number_of_parameters(layers, cells, bidirectional, millions):
    """PyTorch's, which has two biases for each gate; and LayerNorms."""
    width = cells * (1 + bidirectional)
    config = LstmConfig(layers=layers, width=width, bidirectional=bidirectional)
    shapes = jax.eval_shape(
        lambda: LstmContext(config).init(jax.random.key(0), jnp.zeros((1, 2, width)), jnp.full((1,), 2), False)
    )
    counted = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    with torch.device('meta'):
        reference = torch.nn.LSTM(width, cells, layers, bidirectional=bidirectional)
    published = sum(weight.numel() for name, weight in reference.named_parameters() if not name.startswith('bias_hh'))
    assert counted == published + layers * 2 * width
    assert counted / 1e6 == pytest.approx(millions, abs=0.06)
