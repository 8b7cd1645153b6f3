import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.losses.unsupervised.cpc import cut_windows, info_nce
from bljust_jax.models.heads import unit_length

ROWS, STEPS, DIM, TEMPERATURE = 4, 3, 5, 0.2
ALL = 1000
nce = jax.jit(info_nce, static_argnames=('negatives', 'temperature'))


def vectors(seed=0, rows=ROWS, steps=STEPS, dim=DIM):
    """Random predictions and targets of unit length, `[row, step, dim]`."""
    predicted, target = jax.random.normal(jax.random.key(seed), (2, rows, steps, dim))
    return unit_length(predicted), unit_length(target)


def value(ratio):
    return float(ratio.sum) / float(ratio.weight)


@settings(max_examples=30)
@given(st.integers(5, 24), st.lists(st.integers(0, 24), min_size=2, max_size=2), st.integers(1, 3), st.integers(1, 2))
def test_windows_follow_one_another(time, lengths, past, future):
    features = np.arange(2 * time * 3).reshape(2, time, 3)
    before, after, valid = cut_windows(jnp.asarray(features), jnp.array(lengths), past, future)
    window = past + future
    starts = [(row, start) for row in range(2) for start in range(0, time - window + 1, window)]
    assert len(before) == len(after) == len(valid) == len(starts)
    for index, (row, start) in enumerate(starts):
        np.testing.assert_array_equal(before[index], features[row, start : start + past])
        np.testing.assert_array_equal(after[index], features[row, start + past : start + window])
        assert bool(valid[index]) == (start + window <= lengths[row])


def test_a_batch_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match=r'11 feature frames are too short for CPC windows of 8 \+ 4 frames'):
        cut_windows(jnp.zeros((2, 11, 3)), jnp.array([11, 5]), 8, 4)


def expected_nce(predicted, target):
    """Loss of each prediction against all frames, accuracy: from PyTorch in float64."""
    predicted, target = (torch.tensor(np.asarray(x, np.float64)).flatten(0, 1) for x in (predicted, target))
    scores = predicted @ target.T / TEMPERATURE
    truth = torch.arange(len(scores))
    losses = torch.nn.functional.cross_entropy(scores, truth, reduction='none')
    return losses.numpy(), (scores.argmax(dim=1) == truth).double().mean().item()


def test_with_all_other_frames_as_negatives_it_is_cross_entropy():
    predicted, target = vectors()
    loss, metrics = nce(
        predicted, target, jnp.ones(ROWS, bool), jax.random.key(0), negatives=ALL, temperature=TEMPERATURE
    )
    expected, accuracy = expected_nce(predicted, target)
    assert float(loss.weight) == ROWS * STEPS
    assert float(loss.sum) == pytest.approx(expected.sum(), rel=1e-5)
    assert value(metrics['accuracy']) == pytest.approx(accuracy)
    assert value(metrics['chance']) == pytest.approx(1 / (ROWS * STEPS))


def test_within_the_utterance_it_is_cross_entropy_among_its_frames():
    """Two utterances of two windows, and one of a single window: values and gradients are PyTorch's in float64."""
    owners, groups = jnp.array([0, 0, 1, 1, 2]), [slice(0, 2), slice(2, 4), slice(4, 5)]
    predicted, target = vectors(rows=5)
    expected = [expected_nce(predicted[group], target[group]) for group in groups]

    def total(predicted, target):
        loss, metrics = info_nce(
            predicted,
            target,
            jnp.ones(5, bool),
            jax.random.key(0),
            negatives=ALL,
            temperature=TEMPERATURE,
            utterances=owners,
        )
        return loss.sum, (loss, metrics)

    (value_, (loss, metrics)), grads = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(predicted, target)
    assert float(loss.weight) == 5 * STEPS
    np.testing.assert_allclose(value_, sum(losses.sum() for losses, _ in expected), rtol=1e-5)
    shares = [STEPS * (group.stop - group.start) for group in groups]
    hits = sum(share * accuracy for share, (_, accuracy) in zip(shares, expected, strict=True))
    np.testing.assert_allclose(metrics['accuracy'].sum, hits, rtol=1e-5)
    np.testing.assert_allclose(metrics['chance'].sum, len(groups), rtol=1e-5)
    x, y = (torch.tensor(np.asarray(side), dtype=torch.float64, requires_grad=True) for side in (predicted, target))
    for group in groups:
        scores = x[group].flatten(0, 1) @ y[group].flatten(0, 1).T / TEMPERATURE
        torch.nn.functional.cross_entropy(scores, torch.arange(len(scores)), reduction='sum').backward()
    for ours, theirs in zip(grads, (x, y), strict=True):
        np.testing.assert_allclose(ours, theirs.grad, rtol=1e-4, atol=1e-5)


def test_invalid_rows_neither_count_nor_serve_as_negatives():
    predicted, target = vectors()
    valid = jnp.array([True, False, True, False])
    spoilt = jnp.where(valid[:, None, None], target, 1e3 * predicted)
    loss, metrics = nce(predicted, spoilt, valid, jax.random.key(0), negatives=ALL, temperature=TEMPERATURE)
    expected, accuracy = expected_nce(predicted[::2], target[::2])
    assert float(loss.weight) == 2 * STEPS
    assert float(loss.sum) == pytest.approx(expected.sum(), rel=1e-5)
    assert value(metrics['accuracy']) == pytest.approx(accuracy)
    assert value(metrics['chance']) == pytest.approx(1 / (2 * STEPS))


def test_gradients_reach_valid_rows_alone_and_are_finite():
    predicted, target = vectors()
    valid = jnp.array([True, False, True, False])
    gradients = jax.grad(
        lambda p, t: info_nce(p, t, valid, jax.random.key(0), negatives=4, temperature=TEMPERATURE)[0].sum,
        argnums=(0, 1),
    )(predicted, target)
    for gradient in gradients:
        assert jnp.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[~valid], jnp.zeros((2, STEPS, DIM)))
        assert (np.abs(np.asarray(gradient)[np.asarray(valid)]).sum(axis=-1) > 0).all()


def test_no_valid_row_weighs_nothing():
    predicted, target = vectors()
    loss, metrics = nce(
        predicted, target, jnp.zeros(ROWS, bool), jax.random.key(0), negatives=ALL, temperature=TEMPERATURE
    )
    assert loss.sum == 0 and loss.weight == 0
    assert all(np.isfinite(ratio.sum) for ratio in metrics.values())


def test_a_single_frame_has_no_negatives():
    predicted, target = vectors(rows=1, steps=1)
    loss, _ = info_nce(predicted, target, jnp.ones(1, bool), jax.random.key(0), negatives=5, temperature=TEMPERATURE)
    assert float(loss.sum) == pytest.approx(0, abs=1e-6) and loss.weight == 1


def test_negatives_are_a_uniform_draw_of_other_frames():
    """Each frame scores its own index, so that exp of a loss tells which negative was drawn."""
    frames = 6
    target = jnp.eye(frames)[:, None]
    predicted = jnp.log(2.0) * jnp.arange(frames, dtype=jnp.float32)[None, None, :] * jnp.ones((frames, 1, 1))
    valid = jnp.array([True] * 5 + [False])
    draws = []
    for seed in range(300):
        loss, _ = nce(predicted, target, valid, jax.random.key(seed), negatives=1, temperature=1.0)
        draws.append(float(loss.sum))
        assert float(loss.weight) == 5
    # Row i meets one of the other four valid frames: its mean loss is that of all four.
    scores = 2.0 ** np.arange(5)
    losses = np.array([[np.log1p(scores[j] / scores[i]) for j in range(5) if j != i] for i in range(5)])
    spread = np.sqrt(losses.var(axis=1).sum() / len(draws))
    assert abs(np.mean(draws) - losses.mean(axis=1).sum()) < 4 * spread


@pytest.mark.parametrize('negatives', [1, 4])
def test_the_number_of_negatives_bounds_the_loss(negatives):
    """All frames alike: the loss is log(1 + negatives) wherever they are drawn, and nothing counts as told apart."""
    predicted = target = jnp.full((ROWS, STEPS, DIM), DIM**-0.5)
    loss, metrics = nce(
        predicted, target, jnp.ones(ROWS, bool), jax.random.key(0), negatives=negatives, temperature=TEMPERATURE
    )
    assert value(loss) == pytest.approx(np.log(1 + negatives), rel=1e-5)
    assert value(metrics['accuracy']) == 0
    assert value(metrics['chance']) == pytest.approx(1 / (1 + negatives))


@pytest.mark.parametrize('negatives', [3, 9])
def test_random_predictions_score_at_chance(negatives):
    predicted, target = vectors(rows=200, steps=4, dim=32)
    _, metrics = info_nce(
        predicted, target, jnp.ones(200, bool), jax.random.key(1), negatives=negatives, temperature=TEMPERATURE
    )
    chance = 1 / (1 + negatives)
    assert value(metrics['chance']) == pytest.approx(chance)
    assert abs(value(metrics['accuracy']) - chance) < 5 * np.sqrt(chance * (1 - chance) / 800)


def test_true_predictions_are_told_apart():
    _, target = vectors(rows=20, dim=32)
    loss, metrics = info_nce(target, target, jnp.ones(20, bool), jax.random.key(0), negatives=10, temperature=0.05)
    assert value(metrics['accuracy']) == 1 and value(loss) < 0.05
