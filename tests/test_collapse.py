"""Collapse, provoked: in steps of a tiny system that cannot learn, in what a trip does to them, and in whole runs."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.config import (
    BestRqConfig,
    Config,
    ConformerConfig,
    GuardsConfig,
    LevelConfig,
    LevelsConfig,
    LogMelConfig,
    OptimizerConfig,
    SpecAugmentConfig,
    StrategyConfig,
)
from bljust_jax.errors import UserError
from bljust_jax.guards import pop_trips, read_trips
from bljust_jax.run_log import RunLog, read_metrics
from bljust_jax.train import train
from bljust_jax.types import Batch, Ratio
from tests.runs import assert_same_bits, final_state, logged, tiny_config
from tests.test_step import run
from tests.toy_system import CONFIG as TOY_CONFIG
from tests.toy_system import toy_system

pytest_plugins = ['tests.run_fixtures']
pytestmark = pytest.mark.standard_dtypes

STEPS, SAMPLES = 4, 6400
CONFIG = Config(
    log_mel=LogMelConfig(mels=8),
    spec_augment=SpecAugmentConfig(0, 0, 0, 0),
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4, dropout=0.0),
    best_rq=BestRqConfig(codebook_size=64, code_dim=4, mask_probability=0.5, mask_frames=3),
    levels=LevelsConfig(sup=LevelConfig('ctc', 1e-9), unsup=LevelConfig('best_rq', 1e-9)),
    strategy=StrategyConfig('joint', labelled_steps=STEPS, finetune_steps=0),
    optimizer=OptimizerConfig(learning_rate=1e-9, warmup_steps=0),
    guards=GuardsConfig(patience=2, after_steps=1, min_code_usage=0.3, min_perplexity=4.0),  # for some 20 masked frames
)


@pytest.fixture(scope='module')
def tripped():
    """Takes the steps of a system whose step sizes are next to nothing; returns `{guard/level: step}` of all trips."""
    system = build(CONFIG, 5)
    state = jax.device_get(jax.jit(system.init_state)(0))
    (step,) = system.make_steps().values()

    def steps(change=lambda params: params, audio=1.0):
        now, trips = jax.device_put(state._replace(params=change(state.params))), {}
        for number in range(1, STEPS + 1):
            now, metrics = step(now, {'sup': batch(number), 'unsup': batch(-number, audio)})
            _, these = pop_trips(number, jax.device_get(metrics))
            trips |= {f'{trip.guard.name}/{trip.level}': trip.step for trip in these}
        return trips

    return steps


def batch(seed, scale=1.0):
    """Three rows of noise."""
    random = np.random.default_rng(abs(seed))
    return Batch(
        audio=(scale * random.normal(scale=3000, size=(3, SAMPLES))).astype(np.int16),
        lengths=np.array([6400, 5600, 4100], np.int32),
        labels=random.integers(1, 5, (3, 3), np.int32),
        label_lengths=np.full(3, 3, np.int32),
        ends=np.array([[6400], [5600], [4100]], np.int32),
    )


def test_too_small_a_learning_rate_leaves_accuracy_at_chance(tripped):
    assert tripped() == {'accuracy/unsup': 3}


def test_silence_collapses_the_codes(tripped):
    trips = tripped(audio=0.0)
    assert trips.items() >= {'code_usage/unsup': 2, 'perplexity/unsup': 2}.items()
    assert not any(key.endswith('/sup') for key in trips)


def test_an_encoder_of_zeros_has_no_spread(tripped):
    trips = tripped(lambda params: params | {'encoder': jax.tree.map(np.zeros_like, params['encoder'])})
    expected = {f'{name}/{level}': 2 for name in ('spread_time', 'spread_batch') for level in ('sup', 'unsup')}
    assert trips.items() >= expected.items()
    assert not {'code_usage/unsup', 'perplexity/unsup'} & trips.keys()


def test_a_head_that_only_emits_blanks(tripped):
    def biased(params):
        heads = jax.tree.map(np.copy, params['heads'])
        heads['sup']['Dense_0']['bias'][0] = 100
        return params | {'heads': heads}

    assert tripped(biased) == {'accuracy/unsup': 3, 'blank/sup': 3}


# What a trip does, with toy levels.


def assert_close(actual, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), actual, expected)


@functools.cache
def run_stuck(action):
    """States and metrics of four joint steps of toy levels of which the upper one reports nothing but blanks."""
    guards = GuardsConfig(action, slow_factor=0.25, patience=2, after_steps=0)
    strategy = StrategyConfig('joint', labelled_steps=4, finetune_steps=0)
    system = toy_system(dataclasses.replace(TOY_CONFIG, guards=guards, strategy=strategy))
    upper, *lower = system.levels

    def only_blanks(params, batch, rngs, step):
        output = upper.loss(params, batch, rngs, step)
        return output._replace(metrics={'blank': Ratio(jnp.float32(1), jnp.float32(1))})

    return run(system._replace(levels=(upper._replace(loss=only_blanks), *lower)))


def test_slow_cuts_the_step_sizes_from_the_next_step_on():
    (states, metrics), (slowed, slowed_metrics) = run_stuck('warn'), run_stuck('slow')
    assert [state.guards.rate for state in slowed] == [1, 1, 0.25, 0.25, 0.25]
    assert_close((slowed[2].params, slowed[3].optimizer), (states[2].params, states[3].optimizer))
    for name in ('learning_rate/encoder', 'learning_rate/sup', 'update_norm'):
        np.testing.assert_allclose(slowed_metrics[1][name], metrics[1][name], rtol=1e-5)
        np.testing.assert_allclose(slowed_metrics[2][name], 0.25 * metrics[2][name], rtol=1e-5)
    steps, slowed_steps = (
        jax.tree.map(lambda after, before: after - before, run[3].params, run[2].params) for run in (states, slowed)
    )
    assert_close(slowed_steps, jax.tree.map(lambda step: 0.25 * step, steps), rtol=1e-3)


def test_without_guards_there_is_no_trace_of_them():
    """Bit for bit, with guards that only warn the run is the one without them."""
    (states, metrics), (guarded, _) = run_stuck('off'), run_stuck('warn')
    assert states[-1].guards == ()
    assert_same_bits([state._replace(guards=()) for state in guarded], states)
    assert not any(name.startswith('guard/') for line in metrics for name in line)


# Whole runs.


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_once')
def test_slow_goes_on_bit_for_bit(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards that see collapse in any encoder trip at the upper level's fifth step, that is step 11 of the run."""
    guards = {'guards__action': 'slow', 'guards__min_spread': 100.0, 'guards__patience': 5, 'guards__max_blank': 1.0}
    config = tiny_config(data_dir, **guards)
    train(config, tmp_path / 'through')
    expected = logged(tmp_path / 'through')
    trips = read_trips(expected)
    assert {(trip.step, trip.guard.name, trip.level) for trip in trips} == {
        (step, name, level) for step, level in ((5, 'unsup'), (11, 'sup')) for name in ('spread_time', 'spread_batch')
    }
    write = RunLog.write

    def die(log, step, values):
        write(log, step, values)
        if step == 13 and 'phase' in values:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, 'write', die)
        with pytest.raises(InterruptedError):
            train(config, tmp_path / 'run')
    train(config, tmp_path / 'run')
    assert logged(tmp_path / 'run') == expected
    assert_same_bits(final_state(tmp_path / 'run'), final_state(tmp_path / 'through'))
    report = (tmp_path / 'run' / 'report.html').read_text()
    assert 'the encoder gives all frames of an utterance the same features' in report
    assert 'guard: spread_batch, spread_time' in report


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_once')
def test_stop_saves_and_the_same_command_goes_on(data_dir: Path, tmp_path: Path):
    guards = {'guards__min_perplexity': 1e6, 'guards__patience': 3}
    train(tiny_config(data_dir, **guards), tmp_path / 'warned')
    config = tiny_config(data_dir, **guards, guards__action='stop')
    with pytest.raises(UserError, match=r"3 steps of level 'unsup', nearly all targets .* Stopped at step 3; saved"):
        train(config, tmp_path / 'run')
    assert int(final_state(tmp_path / 'run').step) == 3
    assert not (tmp_path / 'run' / 'summary.json').exists()
    train(config, tmp_path / 'run')
    assert_same_bits(final_state(tmp_path / 'run'), final_state(tmp_path / 'warned'))
    assert len(read_trips(read_metrics(tmp_path / 'run' / 'metrics.jsonl'))) == 1
