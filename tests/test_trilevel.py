"""Three levels through the real system: who is reached by which gradient, the mean teacher, one device and two."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from bljust_jax.build import build
from bljust_jax.config import (
    BestRqConfig,
    Config,
    ConformerConfig,
    DistillationConfig,
    LogMelConfig,
    OptimizerConfig,
    StrategyConfig,
    TeacherConfig,
)
from bljust_jax.errors import UserError
from bljust_jax.losses.unsupervised import distillation
from bljust_jax.sharding import batch_putter, state_shardings
from bljust_jax.step import moving_average
from bljust_jax.types import Batch, Ratio
from tests.params import random_params

pytestmark = pytest.mark.standard_dtypes

ALL = ('sup', 'unsup', 'distill')
EXPLORE = ALL[1:]
CONFIG = Config(
    log_mel=LogMelConfig(mels=4),
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4),
    best_rq=BestRqConfig(codebook_size=6, code_dim=4),
    teacher=TeacherConfig(momentum=0.9),
    distillation=DistillationConfig(temperature=2.0),
    strategy=StrategyConfig('tl_sud', labelled_steps=6, explore_steps=4, finetune_steps=2, cycles=2),
    optimizer=OptimizerConfig(warmup_steps=0),
)
KEYS = {name: jax.random.key(seed) for seed, name in enumerate(('dropout', 'augment', 'mask'))}


def make_batch(seed):
    rng = np.random.default_rng(seed)
    return Batch(
        rng.normal(scale=3000, size=(4, 3200)).astype(np.int16),
        np.array([3200, 2800, 3000, 0], np.int32),
        np.array([[1, 2], [3, 3], [4, 0], [0, 0]], np.int32),
        np.array([2, 1, 1, 0], np.int32),
        np.array([[1000, 3200], [2800, 0], [3000, 0], [0, 0]], np.int32),
    )


@pytest.fixture(scope='module')
def system():
    return build(CONFIG, 5)


@pytest.fixture(scope='module')
def params(system):
    return random_params(jax.eval_shape(system.init_params, 0))


def reached(tree):
    """Parameter groups with a gradient that is not exactly zero."""
    groups = {'encoder': tree['encoder'], **tree['heads']}
    if 'teacher' in tree:
        groups['teacher'] = tree['teacher']
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))
    return {name for name, group in groups.items() if any((leaf != 0).any() for leaf in jax.tree.leaves(group))}


def test_every_level_reaches_the_encoder_and_its_own_head_and_nothing_else(system, params):
    """Neither the teacher nor, by distillation, the CTC head whose posteriors it compares."""
    teacher = jax.tree.map(lambda leaf: leaf[::-1] if leaf.ndim else leaf, params)
    for level in system.levels:
        grads = jax.jit(
            jax.grad(lambda tree, level=level: level.loss(tree, make_batch(0), KEYS, jnp.int32(0)).sum, allow_int=False)
        )({**params, 'teacher': teacher})
        assert reached(grads) == {'encoder', level.name}
        for path, leaf in jax.tree.leaves_with_path((grads['encoder'], grads['heads'][level.name])):
            assert (leaf != 0).any(), (level.name, jax.tree_util.keystr(path))


def test_the_student_has_nothing_to_learn_from_itself_and_the_target_is_not_random(params, monkeypatch):
    """The teacher hears clean speech and has no dropout; nor has, here, the student."""
    plain = dataclasses.replace(
        CONFIG,
        conformer=dataclasses.replace(CONFIG.conformer, dropout=0.0),
        spec_augment=dataclasses.replace(CONFIG.spec_augment, frequency_masks=0, time_masks=0),
    )
    heads = params['heads']
    params = {**params, 'heads': {**heads, 'sup': jax.tree.map(np.copy, heads['sup'])}}
    params['heads']['sup']['Dense_0']['bias'][0] -= 10  # so that labels are heard
    targets = []

    def note(predicted, target, lengths):
        targets.append(target)
        return Ratio(predicted.sum() + target.sum(), lengths.sum().astype(jnp.float32))

    monkeypatch.setattr(distillation, 'feature_distance', note)
    outputs = [
        build(config, 5).levels[2].loss({**params, 'teacher': params}, make_batch(0), keys, jnp.int32(0))
        for config, keys in ((plain, KEYS), (CONFIG, KEYS), (CONFIG, KEYS | {'augment': KEYS['mask']}))
    ]
    assert outputs[0].metrics['posterior_divergence'].sum == pytest.approx(0, abs=1e-4)
    agreement = [output.metrics['agreement'] for output in outputs]
    assert agreement[0].sum == agreement[0].weight > 0
    divergences = {float(output.metrics['posterior_divergence'].sum) for output in outputs}
    assert len(divergences) == 3
    for target in targets[1:]:
        np.testing.assert_array_equal(target, targets[0])


def test_without_posteriors_only_features_are_compared(params):
    distillation = dataclasses.replace(CONFIG.distillation, posterior_weight=0.0, feature_weight=3.0)
    level = build(dataclasses.replace(CONFIG, distillation=distillation), 5).levels[2]
    output = jax.jit(level.loss)({**params, 'teacher': params}, make_batch(0), KEYS, jnp.int32(0))
    assert {'agreement', 'posterior_divergence'}.isdisjoint(output.metrics)
    np.testing.assert_allclose(output.sum, 3 * output.metrics['feature_distance'].sum, rtol=1e-6)
    assert 0 < output.sum / output.weight < 6


def test_the_mean_teacher_is_the_mean_of_all_steps_and_then_forgets():
    history = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    teacher, expected = jnp.full(3, 9.0), None
    for step, params in enumerate(history):
        teacher = moving_average(teacher, jnp.asarray(params), jnp.int32(step), 0.75)
        expected = history[: step + 1].mean(axis=0) if step < 4 else 0.75 * expected + 0.25 * params
        np.testing.assert_allclose(teacher, expected, rtol=1e-5)


def run(shape):
    """Losses of an exploration step and of two joint ones, and the states around them."""
    devices = jax.devices()[: shape[0] * shape[1]]
    mesh = jax.make_mesh(shape, ('data', 'fsdp'), axis_types=(AxisType.Auto,) * 2, devices=devices)
    system = build(CONFIG, 5)
    abstract = jax.eval_shape(system.init_state, 0)
    shardings = state_shardings(mesh, abstract)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    params = random_params(abstract.params)
    state = jax.device_put(state._replace(params=params, teacher=params), shardings)
    steps, put = system.make_steps(shardings), batch_putter(mesh)
    states, metrics = [jax.device_get(state)], []
    for seed, active in enumerate((EXPLORE, ALL, ALL)):
        batches = {name: put(make_batch(seed)) for name in active}
        with jax.transfer_guard('disallow'):
            state, found = steps[active](state, batches)
        states.append(jax.device_get(state))
        metrics.append({name: float(ratio.sum / ratio.weight) for name, ratio in found.items()})
    return states, metrics


@pytest.fixture(scope='module')
def one_device():
    return run((1, 1))


@pytest.mark.slow
@pytest.mark.parametrize('shape', [(2, 1), (1, 2)])
def test_two_devices_give_the_losses_of_one(shape, one_device):
    _, metrics = run(shape)
    for step, expected in zip(metrics, one_device[1], strict=True):
        for name in expected:
            if name.startswith(('loss', 'feature', 'posterior', 'gamma')):
                np.testing.assert_allclose(step[name], expected[name], rtol=1e-5, err_msg=name)


def test_exploration_is_of_both_lower_levels_and_leaves_the_ctc_head_alone(one_device):
    states, metrics = one_device
    explore, joint, last = metrics
    assert {'loss/unsup', 'loss/distill', 'gamma/distill', 'grad_cosine/distill', 'agreement/distill'} <= set(explore)
    assert not {'loss/sup', 'gamma/unsup', 'grad_cosine/unsup'} & set(explore)
    assert {f'gamma/{name}' for name in EXPLORE} | {'grad_cosine_pair/unsup/distill'} <= set(joint)
    jax.tree.map(np.testing.assert_array_equal, states[1].params['heads']['sup'], states[0].params['heads']['sup'])
    for name in EXPLORE:
        changed = (
            states[1].params['heads'][name]['Dense_0']['kernel'] != states[0].params['heads'][name]['Dense_0']['kernel']
        )
        assert changed.any()
    assert explore['gamma/distill'] == joint['gamma/unsup'] == 0 < last['gamma/unsup'] == last['gamma/distill']
    assert {name: int(count) for name, count in states[3].drawn.items()} == {'sup': 2, 'unsup': 3, 'distill': 3}


def test_the_teacher_follows_the_student(one_device):
    states, _ = one_device
    means = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *(state.params for state in states[1:]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), states[3].teacher, means)


def test_a_teacher_is_needed():
    with pytest.raises(UserError, match='name the folder of a trained run in config.teacher.workdir, or set'):
        build(dataclasses.replace(CONFIG, teacher=TeacherConfig()), 5)
    other = dataclasses.replace(CONFIG.strategy, name='bl_just')
    system = build(dataclasses.replace(CONFIG, teacher=TeacherConfig(), strategy=other), 5)
    assert jax.eval_shape(system.init_state, 0).teacher == ()
