"""The guards on curves made up by hand, and on levels that have collapsed."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.config import BestRqConfig, GuardsConfig
from bljust_jax.guards import GUARDS, Guards, Trip, pop_trips, read_trips
from bljust_jax.losses.spread import hidden_spread
from bljust_jax.losses.unsupervised.best_rq import make_quantizer, masked_prediction, quantize
from bljust_jax.types import Ratio

CONFIG = GuardsConfig(patience=4, after_steps=3)
HEALTHY = {
    'code_usage': 0.4,
    'perplexity': 35.0,
    'accuracy': 0.2,
    'chance': 0.1,
    'spread_time': 0.7,
    'spread_batch': 0.8,
    'blank': 0.6,
}
COLLAPSED = {
    'code_usage': {'code_usage': 0.004},
    'perplexity': {'perplexity': 1.2},
    'accuracy': {'accuracy': 0.09},
    'spread_time': {'spread_time': 0.0},
    'spread_batch': {'spread_batch': 0.01},
    'blank': {'blank': 0.999},
}


def watch(curves, config=CONFIG, warmup=0, levels=('sup', 'unsup')):
    """Runs the guards over `curves`, a list of `{'metric/level': value}`; returns trips by step, and the state."""
    guards = Guards(config, levels, warmup)
    observe = jax.jit(guards.observe, static_argnums=2)
    state, trips = guards.init(), {}
    for step, values in enumerate(curves, 1):
        active = tuple(level for level in levels if any(key.endswith(f'/{level}') for key in values))
        metrics = {key: Ratio(jnp.float32(2 * value), jnp.float32(2)) for key, value in values.items()}
        state, tripped = observe(state, metrics, active)
        kept, these = pop_trips(step, metrics | jax.device_get(tripped))
        assert kept.keys() == metrics.keys()
        if these:
            trips[step] = [f'{trip.guard.name}/{trip.level}' for trip in these]
    return trips, state, guards


def at(level='unsup', **values):
    return {f'{name}/{level}': value for name, value in (HEALTHY | values).items()}


def test_there_is_a_collapse_for_every_guard():
    assert [guard.name for guard in GUARDS] == list(COLLAPSED)


@pytest.mark.parametrize('guard', COLLAPSED)
def test_each_collapse_trips_its_guard_once_and_no_other(guard):
    trips, state, _ = watch([at(**COLLAPSED[guard])] * 20)
    waits = guard in ('accuracy', 'blank')
    assert trips == {3 + 4 if waits else 4: [f'{guard}/unsup']}
    assert state.collapsed.sum() == 1


def test_health_trips_nothing():
    random = np.random.default_rng(0)
    noisy = [{key: value * random.uniform(0.7, 1.3) for key, value in (at() | at('sup')).items()} for _ in range(40)]
    assert watch(noisy)[0] == {}


def test_a_guard_looks_at_the_mean_and_not_at_single_steps():
    bad, good = COLLAPSED['perplexity'], {'perplexity': 35.0}
    assert watch([at(**bad), at(**bad), at(**bad), at(**good)] * 5)[0] == {}
    assert watch([at(**bad)] * 3 + [at(perplexity=4.5)])[0] == {}  # 2.025 in the mean
    assert watch([at(**bad)] * 3 + [at(perplexity=3.0)])[0] == {4: ['perplexity/unsup']}


def test_it_trips_again_only_after_recovery():
    bad, good = [at(**COLLAPSED['spread_time'])], [at()]
    trips, state, _ = watch(bad * 12 + good * 4 + bad * 8)
    assert trips == {4: ['spread_time/unsup'], 20: ['spread_time/unsup']}
    assert state.collapsed.sum() == 1


def test_what_must_be_learnt_is_waited_for_in_steps_of_its_level():
    """The level `sup` begins late and takes every other step; its guard waits for warm-up and grace all the same."""
    before = [at('unsup')] * 30
    alternating = [at('sup', blank=1.0), at('unsup')] * 30
    trips, _, _ = watch(before + alternating, warmup=2)
    steps_of_sup = 2 + 3 + 4  # warm-up, grace, patience
    assert trips == {30 + 2 * steps_of_sup - 1: ['blank/sup']}


def test_metrics_that_were_not_seen_do_not_count():
    guards = Guards(CONFIG, ('unsup',))
    state = guards.init()
    for step in range(12):
        weight = jnp.float32(step % 2)
        metrics = {'spread_batch/unsup': Ratio(0 * weight, weight)}
        state, tripped = guards.observe(state, metrics, ['unsup'])
        assert bool(tripped['guard/spread_batch/unsup'].sum) == (step == 7)  # the fourth one seen


def test_levels_without_the_metrics_are_not_watched():
    guards = Guards(CONFIG, ('sup',))
    metrics = {'loss/sup': Ratio(jnp.float32(1), jnp.float32(1)), 'accuracy/sup': Ratio(jnp.float32(0), jnp.float32(1))}
    state, tripped = guards.observe(guards.init(), metrics, ['sup'])
    assert tripped == {} and not state.counts.any()


@settings(max_examples=15)
@given(patience=st.integers(1, 6), after=st.integers(0, 6), values=st.lists(st.floats(0, 1, width=16), max_size=24))
def test_patience_and_grace_against_a_plain_loop(patience: int, after: int, values: list[float]):
    """After the grace, every `patience` steps: does the mean cross the threshold for the first time?"""
    config = GuardsConfig(patience=patience, after_steps=after, max_blank=0.5)
    expected, collapsed = [], False
    for end in range(after + patience, len(values) + 1, patience):
        before, collapsed = collapsed, bool(np.mean(values[end - patience : end]) > 0.5 + 1e-6)
        if collapsed and not before:
            expected.append(end)
    trips, _, _ = watch([{'blank/sup': value} for value in values], config, levels=('sup',))
    assert list(trips) == expected


def test_slow_cuts_the_step_sizes_once_whenever_guards_trip():
    config = dataclasses.replace(CONFIG, action='slow', slow_factor=0.25)
    both = at(**COLLAPSED['spread_time'], **COLLAPSED['perplexity'])
    trips, state, guards = watch([both] * 7 + [both | {'blank/unsup': 1.0}] * 4, config)
    assert trips == {4: ['perplexity/unsup', 'spread_time/unsup'], 11: ['blank/unsup']}
    assert state.rate == 0.25**2
    assert guards.scale(state, {'a': jnp.float32(8)}) == {'a': 0.5}
    assert guards.scale(guards.init(), {'a': jnp.float32(8)}) == {'a': 8}
    assert watch([both] * 7)[1].rate == 1
    for action in ('warn', 'stop'):
        assert Guards(dataclasses.replace(config, action=action), guards.levels).scale(state, {'a': 8}) == {'a': 8}


def test_messages_are_read_as_they_were_written():
    trip = Trip(1200, GUARDS[-1], 'sup')
    message = trip.message(GuardsConfig(action='slow'), {'blank/sup': 0.99812, 'loss/sup': 3.0})
    assert message.startswith(
        "Over 200 steps of level 'sup', CTC recognises next to nothing but blanks (lately blank 0.998). "
        'Step sizes are now 0.5 of what they were. Raise the learning rate'
    )
    assert 'Step sizes' not in trip.message(GuardsConfig(), {})
    lines = [{'step': 1200, 'guard/blank/sup': message}, {'step': 1250, 'phase': 'joint', 'blank/sup': 0.9}]
    assert read_trips(lines) == {trip: message}


# Collapse as it looks in the metrics that the losses and encoders give.


def means(ratios):
    return {name: float(ratio.sum) / float(ratio.weight) for name, ratio in ratios.items()}


def tripped_by(metrics):
    """The guards, with their default thresholds, that a level trips whose metrics stay like this."""
    config = GuardsConfig(patience=2, after_steps=0)
    trips, _, _ = watch([{f'{name}/unsup': value for name, value in metrics.items()}] * 2, config)
    return {key.partition('/')[0] for keys in trips.values() for key in keys}


def predictions(stacked, key=1):
    """Metrics of random predictions of the codes of these frames."""
    config = BestRqConfig(codebook_size=64)
    codes = quantize(make_quantizer(config, stacked.shape[-1]), stacked)
    logits = 0.1 * jax.random.normal(jax.random.key(key), (*codes.shape, config.codebook_size))
    return means(masked_prediction(logits, codes, jnp.ones(codes.shape[:2], bool))[1])


def test_constant_features_collapse_the_codes():
    speech = jax.random.normal(jax.random.key(0), (2, 200, 12))
    assert tripped_by(predictions(speech)) == {'accuracy'}  # random predictions, and they are told
    assert tripped_by(predictions(jnp.ones_like(speech))) >= {'code_usage', 'perplexity'}


def test_code_usage_is_of_what_a_batch_could_use():
    codes = jnp.array([[[0, 1], [3, 1], [0, 1], [5, 5]]])
    mask = jnp.array([[True, True, True, False]])
    metrics = means(masked_prediction(jnp.zeros((1, 4, 2, 8)), codes, mask)[1])
    assert metrics['code_usage'] == pytest.approx((2 / 3 + 1 / 3) / 2)
    few = means(masked_prediction(jnp.zeros((1, 4, 2, 2)), codes % 2, mask)[1])
    assert few['code_usage'] == pytest.approx((2 / 2 + 1 / 2) / 2)
    none = masked_prediction(jnp.zeros((1, 4, 2, 8)), codes, jnp.zeros_like(mask))[1]
    assert none['code_usage'].weight == none['perplexity'].weight == 0


def test_the_spread_of_independent_frames_is_one_whatever_their_scale():
    frames = 1e3 * jax.random.normal(jax.random.key(0), (40, 50, 16))
    for value in means(hidden_spread(frames, jnp.full(40, 50))).values():
        assert value == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ('make', 'tripped'),
    [
        (lambda noise: noise, set()),
        (jnp.zeros_like, {'spread_time', 'spread_batch'}),
        (lambda noise: jnp.ones_like(noise) + 0.01 * noise, {'spread_time', 'spread_batch'}),
        (lambda noise: jnp.broadcast_to(noise[:, :1], noise.shape), {'spread_time'}),
        (lambda noise: jnp.broadcast_to(noise[:1], noise.shape), {'spread_batch'}),
    ],
)
def test_encoders_that_collapse(make, tripped):
    """To zero, to one frame, to a frame for each utterance, and to a frame for each place."""
    hidden = make(jax.random.normal(jax.random.key(0), (4, 30, 8)))
    assert tripped_by(means(hidden_spread(hidden, jnp.array([30, 20, 10, 0])))) == tripped


def test_spread_against_numpy_in_float64():
    """One row after the other, and one frame number after the other; lengths of 0 and 1 have no spread of their own."""
    hidden = np.random.default_rng(0).normal(0.3, 1, (5, 6, 3))
    lengths = [6, 4, 1, 0, 3]
    rows = [hidden[row, :length] for row, length in enumerate(lengths)]
    places = [np.array([row[place] for row in rows if len(row) > place]) for place in range(6)]
    energy = (np.concatenate(rows) ** 2).sum(axis=1).mean()

    def spread(groups):
        squares = sum(((group - group.mean(axis=0)) ** 2).sum() for group in groups if len(group))
        return np.sqrt(squares / sum(len(group) - 1 for group in groups if len(group)) / energy)

    result = means(hidden_spread(jnp.float32(hidden), jnp.array(lengths)))
    assert result == pytest.approx({'spread_time': spread(rows), 'spread_batch': spread(places)}, rel=1e-5)


def test_spread_does_not_see_padding_and_gives_no_gradient():
    hidden = jax.random.normal(jax.random.key(0), (3, 8, 4))
    lengths = jnp.array([5, 3, 0])
    padded = jnp.pad(hidden, ((0, 2), (0, 3), (0, 0)), constant_values=jnp.nan).at[0, 5:].set(jnp.inf)
    expected = pytest.approx(means(hidden_spread(hidden, lengths)), rel=1e-5)
    assert means(hidden_spread(padded, jnp.pad(lengths, (0, 2)))) == expected
    grads = jax.grad(lambda h: sum(ratio.sum for ratio in hidden_spread(h, lengths).values()))(hidden)
    assert not grads.any()


def test_spread_of_one_row_and_of_no_frame_is_unknown():
    alone = hidden_spread(jnp.ones((1, 4, 2)), jnp.array([4]))
    assert alone['spread_time'] == (0, 1) and alone['spread_batch'] == (0, 0)
    assert all(ratio == (0, 0) for ratio in hidden_spread(jnp.ones((2, 4, 2)), jnp.array([0, 0])).values())
