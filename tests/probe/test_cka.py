import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.errors import UserError
from bljust_jax.probe import layer_cka, linear_cka
from tests.probe.made import made_outputs


def by_definition(x, y):
    """The centred alignment of the Gram matrices of frames (Cortes et al., JMLR 2012)."""
    frames = len(x)
    centring = np.eye(frames) - np.ones((frames, frames)) / frames
    one, other = (centring @ (side @ side.T) @ centring for side in (x, y))
    return np.trace(one @ other) / np.sqrt(np.trace(one @ one) * np.trace(other @ other))


@st.composite
def representations(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames, width, other = (draw(st.integers(2, 9)) for _ in range(3))
    x = random.standard_normal((frames, width))
    # Unlike, or with something in common.
    y = random.standard_normal((frames, other)) + draw(st.sampled_from([0, 1])) * x[:, :1]
    return random, x + 3, y


@given(representations())
def test_it_is_the_alignment_of_centred_gram_matrices(made):
    _, x, y = made
    np.testing.assert_allclose(linear_cka(x, y), by_definition(x, y), rtol=1e-8, atol=1e-12)


@given(representations())
def test_rotation_mirroring_shift_and_scale_do_not_count(made):
    random, x, y = made
    rotation = np.linalg.qr(random.standard_normal((x.shape[1],) * 2))[0]
    np.testing.assert_allclose(linear_cka(-0.3 * x @ rotation + 5, y), linear_cka(x, y), rtol=1e-8)
    np.testing.assert_allclose(linear_cka(7 * x @ rotation, x), 1)
    np.testing.assert_allclose(linear_cka(x, y), linear_cka(y, x))


def test_other_linear_maps_count():
    x = np.random.default_rng(0).standard_normal((100, 2))
    assert linear_cka(x * [1, 20], x) < 0.8


def test_what_is_always_the_same_is_like_nothing():
    assert np.isnan(linear_cka(np.ones((5, 2)), np.eye(5)))


def test_other_frames_are_refused():
    with pytest.raises(ValueError, match=r'\(4, 2\) and \(5, 2\)'):
        linear_cka(np.ones((4, 2)), np.ones((5, 2)))


def test_layers_are_compared_pair_by_pair_without_padding():
    random = np.random.default_rng(0)
    batches = [random.standard_normal((2, 6, 3)).astype(np.float32) for _ in range(2)]
    lengths = [np.array([6, 2]), np.array([4, 0])]
    one = made_outputs({0: batches, 1: [2 * batch for batch in batches]}, lengths)
    valid = [np.arange(6)[None, :, None] < rows[:, None, None] for rows in lengths]
    noise = [np.where(mask, batch, 99) for mask, batch in zip(valid, batches, strict=True)]
    other = made_outputs({4: noise}, lengths)
    np.testing.assert_allclose(layer_cka(one, other), [[1], [1]])
    with pytest.raises(UserError, match='hop'):
        layer_cka(one, made_outputs({4: noise}, [np.array([6, 2]), np.array([5, 0])]))
