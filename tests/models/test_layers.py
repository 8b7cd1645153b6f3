import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.models.heads import PredictiveHead, unit_length
from bljust_jax.models.layers import ConvSubsampling, DepthwiseConv, Dropout, FeedForward, SelfAttention, rotary


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def drawn(layer, *arguments):
    """Variables with every kernel drawn, also those that begin at zero; biases 0, scales 1."""
    variables = layer.init(jax.random.key(1), *arguments)
    seeds = iter(range(1, 100))
    return jax.tree.map_with_path(
        lambda path, leaf: normal(next(seeds), *leaf.shape) / 3 if path[-1].key == 'kernel' else leaf, variables
    )


def float64(x):
    return torch.tensor(np.asarray(x, np.float64))


@pytest.mark.parametrize('rate', [0.1, 0.5, 0.9])
def test_dropout_zeroes_a_share_and_scales_the_rest(rate):
    x = jnp.ones((200, 500))
    result = np.asarray(Dropout(rate).apply({}, x, True, rngs={'dropout': jax.random.key(0)}))
    dropped, kept = np.unique(result)
    exact = 1 - 1 / kept
    assert dropped == 0 and abs(exact - rate) < 1e-6
    assert abs((result == 0).mean() - exact) < 5 * np.sqrt(exact * (1 - exact) / x.size)


def test_dropout_draws_elements_independently():
    result = np.asarray(Dropout(0.5).apply({}, jnp.ones((256, 512)), True, rngs={'dropout': jax.random.key(3)})) - 1
    other = np.asarray(Dropout(0.5).apply({}, jnp.ones((256, 512)), True, rngs={'dropout': jax.random.key(4)})) - 1
    bound = 5 / np.sqrt(result.size)
    for a, b in [
        (result[1:], result[:-1]),
        (result[:, 1:], result[:, :-1]),
        (result, other),
        (result[::2], result[1::2]),
    ]:
        assert abs((a * b).mean()) < 1.5 * bound
    assert np.abs(result.mean(axis=0)).max() < 5.5 / np.sqrt(256)
    assert np.abs(result.mean(axis=1)).max() < 5.5 / np.sqrt(512)


def test_dropout_is_a_function_of_its_key():
    x = jnp.ones((20, 30))
    first, same, other = (Dropout(0.3).apply({}, x, True, rngs={'dropout': jax.random.key(key)}) for key in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


@pytest.mark.parametrize(('rate', 'train'), [(0.5, False), (0.0, True)])
def test_dropout_off_needs_no_random_numbers(rate, train):
    x = normal(0, 3, 4)
    np.testing.assert_array_equal(Dropout(rate).apply({}, x, train), x)


def test_dropout_keeps_the_dtype():
    x = jnp.ones((4, 8), jnp.bfloat16)
    assert Dropout(0.1).apply({}, x, True, rngs={'dropout': jax.random.key(0)}).dtype == jnp.bfloat16


def test_rotary_turns_pairs_by_angles_proportional_to_time():
    x = np.asarray(normal(0, 2, 6, 3, 8), np.float64)
    time, pair = np.arange(6)[:, None], np.arange(4)
    turned = (x[..., :4] + 1j * x[..., 4:]) * np.exp(1j * time * 10_000.0 ** (-pair / 4))[None, :, None, :]
    expected = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(rotary(jnp.asarray(x, jnp.float32)), expected, atol=1e-5)


def test_rotary_scores_depend_on_the_distance_alone():
    query, key = (jnp.broadcast_to(normal(seed, 1, 1, 1, 16), (1, 12, 1, 16)) for seed in (0, 1))
    scores = np.asarray(jnp.einsum('bqhd,bkhd->qk', rotary(query), rotary(key)))
    for distance in range(-11, 12):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, np.full_like(diagonal, diagonal[0]), atol=2e-5)
    assert np.ptp(scores[0]) > 0.1


def test_rotary_keeps_lengths_and_the_first_frame():
    x = normal(0, 2, 5, 3, 8)
    np.testing.assert_allclose(rotary(x)[:, 0], x[:, 0], atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(rotary(x), axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    assert rotary(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize('kernel', [1, 3, 7])
def test_depthwise_convolution_equals_torch(kernel):
    x = normal(0, 2, 5, 3)
    layer = DepthwiseConv(kernel)
    params = layer.init(jax.random.key(1), x)['params']
    params = {'kernel': params['kernel'], 'bias': normal(2, 3)}
    assert params['kernel'].shape == (kernel, 3)
    weight = float64(params['kernel']).T[:, None]
    expected = torch.nn.functional.conv1d(
        float64(x).transpose(1, 2), weight, float64(params['bias']), padding=kernel // 2, groups=3
    )
    np.testing.assert_allclose(layer.apply({'params': params}, x), expected.transpose(1, 2), atol=1e-5)


def test_self_attention_equals_torch():
    batch, time, heads, size = 3, 6, 2, 4
    x, lengths = normal(0, batch, time, heads * size), np.array([6, 4, 1])
    layer = SelfAttention(heads)
    variables = drawn(layer, x, jnp.asarray(lengths))
    kernels = {leaf.shape: float64(leaf) for leaf in jax.tree.leaves(variables)}
    project_in, project_out = kernels[heads * size, heads, 3 * size], kernels[heads, size, heads * size]

    normalised = torch.nn.functional.layer_norm(float64(x), (heads * size,), eps=1e-6)
    query, key, value = torch.einsum('btw,whs->bths', normalised, project_in).split(size, dim=-1)
    query, key = (float64(rotary(jnp.asarray(side.numpy(), jnp.float32))) for side in (query, key))
    valid = torch.tensor(np.arange(time) < lengths[:, None])
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=valid[:, None, None, :]
    )
    expected = torch.einsum('bhts,hsw->btw', attended, project_out).numpy()

    result = np.asarray(layer.apply(variables, x, jnp.asarray(lengths)))
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(result[row, :length], expected[row, :length], atol=1e-5)


def test_self_attention_does_not_see_padding():
    x, lengths = normal(0, 2, 6, 8), jnp.array([3, 5])
    layer = SelfAttention(2)
    variables = drawn(layer, x, lengths)
    padding = jnp.arange(6)[None, :, None] >= lengths[:, None, None]
    result = layer.apply(variables, x, lengths)
    same = layer.apply(variables, jnp.where(padding, 100.0, x), lengths)
    np.testing.assert_array_equal(jnp.where(padding, 0, same), jnp.where(padding, 0, result))


def test_feed_forward_drops_out_in_training_only():
    x = normal(0, 2, 3, 8)
    layer = FeedForward(4, 0.5)
    variables = drawn(layer, x, False)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == 2 * 8 + (8 + 1) * 32 + (32 + 1) * 8
    evaluated = layer.apply(variables, x, False)
    np.testing.assert_array_equal(evaluated, layer.apply(variables, x, False))
    trained = layer.apply(variables, x, True, rngs={'dropout': jax.random.key(2)})
    assert trained.shape == evaluated.shape == x.shape and (trained != evaluated).any()


@settings(max_examples=20)
@given(st.integers(0, 2**16), st.integers(0, 23))
def test_subsampling_leaves_a_quarter_of_the_frames(seed, frame):
    """Frame i of the output is centred on frame 4 i of the input and sees 6 frames to either side."""
    time, width = 24, 3
    layer = ConvSubsampling(4, width)
    x, lengths = normal(seed, 1, time, 5), jnp.array([time])
    variables = layer.init(jax.random.key(seed), x, lengths)
    hidden, hidden_lengths = layer.apply(variables, x, lengths)
    assert hidden.shape == (1, 6, width) and hidden_lengths.tolist() == [6]
    changed, _ = layer.apply(variables, x.at[0, frame].add(1.0), lengths)
    distance = np.abs(4 * np.arange(6) - frame)
    difference = np.abs(np.asarray(changed - hidden)[0]).max(axis=-1)
    assert (difference[distance > 6] == 0).all() and difference[distance.argmin()] > 0


def test_predictive_head_returns_unit_vectors_for_each_step():
    context, future = normal(0, 5, 8), normal(1, 5, 3, 8)
    head = PredictiveHead(steps=3, dim=6)
    (predicted, target), variables = head.init_with_output(jax.random.key(2), context, future)
    assert predicted.shape == target.shape == (5, 3, 6)
    for x in (predicted, target):
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=-1), jnp.ones((5, 3)), rtol=1e-5)
    # One projection for all future frames, one predictor for each.
    moved, shifted = head.apply(variables, context, jnp.roll(future, 1, axis=1))
    np.testing.assert_allclose(shifted, jnp.roll(target, 1, axis=1), atol=1e-6)
    np.testing.assert_array_equal(moved, predicted)
    assert np.abs(np.diff(predicted, axis=1)).max() > 0.01


def test_unit_length_of_zero_is_zero_with_a_finite_gradient():
    x = jnp.zeros((2, 3))
    np.testing.assert_array_equal(unit_length(x), x)
    assert jnp.isfinite(jax.grad(lambda x: unit_length(x).sum())(x)).all()
