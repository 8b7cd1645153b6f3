"""The attention decoder against PyTorch's Transformer decoder, and label by label against all labels at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from bljust_jax.config import AttentionDecoderConfig
from bljust_jax.models.attention_decoder import AttentionDecoder, positions
from tests.params import random_params

CONFIG = AttentionDecoderConfig(layers=2, width=8, heads=2, expansion=3, dropout=0.5)
BATCH, TIME, LABELS, VOCAB, HIDDEN = 3, 7, 4, 5, 8
DECODER = AttentionDecoder(CONFIG, VOCAB)
LENGTHS = jnp.array([7, 4, 1])
call = jax.jit(functools.partial(DECODER.apply, train=False))


@pytest.fixture(scope='module')
def params():
    hidden, lengths, labels = jnp.zeros((1, 1, HIDDEN)), jnp.ones(1, jnp.int32), jnp.zeros((1, 1), jnp.int32)
    return random_params(jax.eval_shape(DECODER.init, jax.random.key(0), hidden, lengths, labels))


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(BATCH, TIME, HIDDEN)).astype(np.float32)
    return hidden, rng.integers(1, VOCAB, (BATCH, LABELS)).astype(np.int32)


def torch_decoder(params):
    """PyTorch's decoder with the weights of `params`, in float64."""
    width = CONFIG.width
    layer = torch.nn.TransformerDecoderLayer(
        width,
        CONFIG.heads,
        CONFIG.expansion * width,
        dropout=0.0,
        activation=torch.nn.functional.silu,
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    norm = torch.nn.LayerNorm(width, eps=1e-6)
    decoder = torch.nn.TransformerDecoder(layer, CONFIG.layers, norm=norm).double()

    def norms(name, tree):
        return {f'{name}.weight': tree['scale'], f'{name}.bias': tree['bias']}

    def linear(name, tree, inputs=width):
        return {f'{name}.weight': tree['kernel'].reshape(inputs, -1).T, f'{name}.bias': tree['bias'].reshape(-1)}

    def attention(name, split, out):
        """Query, key and value `(kernel [width, heads, size], bias [heads, size])`, one after another."""
        kernels, biases = zip(*split, strict=True)
        return {
            f'{name}.in_proj_weight': np.concatenate([kernel.reshape(width, width).T for kernel in kernels]),
            f'{name}.in_proj_bias': np.concatenate([bias.reshape(-1) for bias in biases]),
            f'{name}.out_proj.weight': out['kernel'].reshape(width, width).T,
            f'{name}.out_proj.bias': out['bias'],
        }

    def split(tree, parts):
        return zip(np.split(tree['kernel'], parts, axis=-1), np.split(tree['bias'], parts, axis=-1), strict=True)

    state = norms('norm', params['norm'])
    for index in range(CONFIG.layers):
        block, name = params[f'block_{index}'], f'layers.{index}'
        query = [(block['memory_query']['kernel'], block['memory_query']['bias'])]
        feed_forward = block['feed_forward']
        state |= norms(f'{name}.norm1', block['self_norm']) | norms(f'{name}.norm2', block['memory_norm'])
        state |= norms(f'{name}.norm3', feed_forward['LayerNorm_0'])
        state |= attention(f'{name}.self_attn', split(block['self_in'], 3), block['self_out'])
        state |= attention(f'{name}.multihead_attn', [*query, *split(block['memory_in'], 2)], block['memory_out'])
        state |= linear(f'{name}.linear1', feed_forward['Dense_0'])
        state |= linear(f'{name}.linear2', feed_forward['Dense_1'], CONFIG.expansion * width)
    decoder.load_state_dict({name: torch.tensor(np.asarray(value, np.float64)) for name, value in state.items()})
    return decoder


def test_equal_to_pytorch_with_the_same_weights(params):
    hidden, labels = inputs()
    tree = params['params']
    ours = call(params, hidden, LENGTHS, labels)
    read = np.pad(labels, ((0, 0), (1, 0)))
    x = tree['embedding']['embedding'][read] * np.sqrt(CONFIG.width) + positions(LABELS + 1, CONFIG.width)[None]
    with torch.no_grad():
        theirs = torch_decoder(tree)(
            torch.tensor(np.asarray(x, np.float64)),
            torch.tensor(hidden.astype(np.float64)),
            tgt_mask=torch.triu(torch.ones(LABELS + 1, LABELS + 1, dtype=torch.bool), 1),
            memory_key_padding_mask=torch.arange(TIME)[None] >= torch.tensor(np.asarray(LENGTHS))[:, None],
        ).numpy()
    theirs = theirs @ tree['output']['kernel'].astype(np.float64) + tree['output']['bias']
    assert ours.shape == (BATCH, LABELS + 1, VOCAB) and np.abs(theirs).max() > 1
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)


def test_positions_are_those_of_the_paper():
    number, width = 50, 8
    expected = [
        [f(p / 10_000 ** (2 * i / width)) for f in (np.sin, np.cos) for i in range(width // 2)] for p in range(number)
    ]
    np.testing.assert_allclose(positions(number, width), expected, atol=1e-6)


def test_label_by_label_as_all_at_once(params):
    """Hypotheses that change places and branch at every step; each row's logits are those of its own labels."""
    hidden, _ = inputs(1)
    beam, rng = 3, np.random.default_rng(2)
    start = functools.partial(DECODER.apply, beam=beam, steps=6, method='start')
    step = jax.jit(functools.partial(DECODER.apply, method='step'))
    past = jax.jit(start)(params, hidden, LENGTHS)
    labels, read = np.zeros((BATCH, beam), np.int32), np.zeros((BATCH, beam, 0), np.int32)
    source = np.zeros((BATCH, beam), np.int32)
    for position in range(5):
        logits, past = step(params, past, labels, jnp.int32(position), source)
        for k in range(beam):
            whole = call(params, hidden, LENGTHS, np.pad(read[:, k], ((0, 0), (0, 5 - position))))
            np.testing.assert_allclose(logits[:, k], whole[:, position], atol=2e-5, rtol=1e-5)
        source = rng.integers(0, beam, (BATCH, beam)).astype(np.int32)
        labels = rng.integers(1, VOCAB, (BATCH, beam)).astype(np.int32)
        read = np.concatenate([np.take_along_axis(read, source[..., None], axis=1), labels[..., None]], axis=2)


def test_padding_changes_nothing_and_empty_rows_are_finite(params):
    hidden, labels = inputs(3)
    lengths, seen = jnp.array([7, 4, 0]), [4, 2, 0]
    garbage = np.where(np.arange(TIME + 2)[None, :, None] < lengths[:, None, None], 0, np.nan).astype(np.float32)
    padded = garbage + np.pad(hidden, ((0, 0), (0, 2), (0, 0)))
    others = np.where(np.arange(6) < np.array(seen)[:, None], np.pad(labels, ((0, 0), (0, 2))), 3)
    alone, among = call(params, hidden, lengths, labels), call(params, padded, lengths, others)
    assert jnp.isfinite(among).all()
    for row, number in enumerate(seen):
        np.testing.assert_allclose(alone[row, : number + 1], among[row, : number + 1], atol=1e-5)


def test_dropout_only_in_training(params):
    hidden, labels = inputs(4)
    trained = DECODER.apply(params, hidden, LENGTHS, labels, True, rngs={'dropout': jax.random.key(0)})
    assert not np.allclose(trained, call(params, hidden, LENGTHS, labels))
