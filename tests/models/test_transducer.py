"""The transducer's head against PyTorch's LSTM and against plain loops, and its two ways of running."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.config import TransducerConfig
from bljust_jax.models.transducer import Lstm, Transducer
from tests.params import random_params

VOCAB, WIDTH, LABELS = 5, 7, 6
CONFIGS = {
    'lstm': TransducerConfig(width=4, layers=2, joint_dim=3),
    'stateless': TransducerConfig(prediction='stateless', width=4, context=3, joint_dim=3),
}
BOTH = pytest.mark.parametrize('prediction', CONFIGS)


def make(prediction, **changes):
    """A head with random parameters, and `apply(method, ...)`."""
    transducer = Transducer(dataclasses.replace(CONFIGS[prediction], **changes), VOCAB)
    shapes = jax.eval_shape(transducer.init, jax.random.key(0), jnp.zeros((1, 1, WIDTH)), jnp.zeros((1, 1), jnp.int32))
    params = random_params(shapes['params'])
    return params, lambda method, *args, **kw: transducer.apply({'params': params}, *args, method=method, **kw)


def some_labels(batch=3):
    return jnp.asarray(np.random.default_rng(1).integers(0, VOCAB, (batch, LABELS)), jnp.int32)


def test_the_lstm_is_pytorchs():
    rng = np.random.default_rng(0)
    layer, x = Lstm(4), rng.normal(size=(3, 9, 5)).astype(np.float32)
    params = random_params(jax.eval_shape(layer.init, jax.random.key(0), x)['params'])
    theirs = torch.nn.LSTM(5, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(torch.tensor(params['inputs']['kernel'].T))
        theirs.weight_hh_l0.copy_(torch.tensor(params['recurrent'].T))
        theirs.bias_ih_l0.copy_(torch.tensor(params['inputs']['bias']))
        theirs.bias_hh_l0.zero_()
        expected, (output, cell) = theirs(torch.tensor(x, dtype=torch.float64))
    np.testing.assert_allclose(layer.apply({'params': params}, x), expected, atol=2e-6)
    state = layer.apply({'params': params}, 3, method='start')
    for frame in range(9):
        state, _ = layer.apply({'params': params}, state, x[:, frame], method='advance')
    np.testing.assert_allclose(state, (output[0], cell[0]), atol=2e-6)
    begun = layer.init(jax.random.key(0), x)['params']['inputs']['bias']
    np.testing.assert_array_equal(begun, np.repeat([0, 1, 0, 0], 4))


@BOTH
def test_the_joiner_adds_frames_and_labels(prediction):
    """Every logit by itself, in float64, from the module's own prediction."""
    params, apply = make(prediction)
    hidden, labels = np.random.default_rng(2).normal(size=(3, 4, WIDTH)).astype(np.float32), some_labels()
    logits = apply('__call__', hidden, labels)
    assert logits.shape == (3, 4, LABELS + 1, VOCAB)
    weights = jax.tree.map(np.float64, params)
    predicted = np.float64(apply('predict', labels))
    for b, t, u in [(0, 0, 0), (1, 3, 2), (2, 1, LABELS)]:
        frame = hidden[b, t] @ weights['frame']['kernel'] + weights['frame']['bias']
        expected = np.tanh(frame + predicted[b, u]) @ weights['output']['kernel'] + weights['output']['bias']
        np.testing.assert_allclose(logits[b, t, u], expected, atol=1e-5)


def test_the_stateless_network_sees_the_last_labels():
    params, apply = make('stateless')
    labels, weights = some_labels(), jax.tree.map(np.float64, params['prediction'])
    predicted = apply('predict', labels)
    for b, row in enumerate(np.asarray(labels)):
        for u in range(LABELS + 1):
            last = np.concatenate([[0, 0, 0], row])[u : u + 3]
            embedded = weights['embedding']['embedding'][last].reshape(-1)
            x = embedded @ weights['projection']['kernel'] + weights['projection']['bias']
            expected = x / (1 + np.exp(-x)) @ params['label']['kernel']
            np.testing.assert_allclose(predicted[b, u], expected, atol=1e-5)


@BOTH
def test_a_step_at_a_time_is_the_whole_row(prediction):
    _, apply = make(prediction)
    labels = some_labels()
    state, predicted = apply('start', 3)
    steps = [predicted]
    for u in range(LABELS):
        state, predicted = apply('advance', state, labels[:, u])
        steps.append(predicted)
    np.testing.assert_allclose(jnp.stack(steps, axis=1), apply('predict', labels), atol=1e-6)


@BOTH
def test_later_labels_and_more_of_them_change_nothing_before(prediction):
    _, apply = make(prediction)
    labels = some_labels()
    expected = apply('predict', labels[:, :3])
    others = jnp.concatenate([labels[:, :3], 4 - labels[:, 3:]], axis=1)
    np.testing.assert_allclose(apply('predict', others)[:, :4], expected, atol=1e-6)
    assert (apply('predict', others)[:, 4:] != apply('predict', labels)[:, 4:]).any()


@BOTH
def test_dropout_is_there_in_training_alone(prediction):
    _, apply = make(prediction, dropout=0.5)
    labels = some_labels()
    one, other = (apply('predict', labels, True, rngs={'dropout': jax.random.key(seed)}) for seed in (0, 1))
    assert (one != other).any() and (one != apply('predict', labels)).any()
    np.testing.assert_array_equal(apply('predict', labels), apply('predict', labels, False))
