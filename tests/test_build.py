import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from bljust_jax.build import build
from bljust_jax.config import (
    Config,
    ConformerConfig,
    LevelConfig,
    LevelsConfig,
    LogMelConfig,
    OptimizerConfig,
    StrategyConfig,
)
from bljust_jax.errors import UserError

pytestmark = pytest.mark.standard_dtypes

CONFIG = Config(
    log_mel=LogMelConfig(mels=8),
    conformer=ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4),
)


@pytest.fixture(scope='module')
def system():
    return build(CONFIG, 9)


class ToyEncoder(nn.Module):
    @nn.compact
    def __call__(self, features, lengths, train):
        return nn.Dense(8)(features), lengths


@pytest.fixture(scope='module')
def init(system):
    """`init_params` with a smaller encoder, which compiles faster."""
    return jax.jit(system._replace(encoder=ToyEncoder()).init_params)


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def test_parameters_are_one_encoder_and_a_head_for_each_level(system):
    shapes = jax.eval_shape(system.init_params, 0)
    assert set(shapes) == {'encoder', 'heads'} and set(shapes['heads']) == {'sup', 'unsup'}
    assert shapes['heads']['sup']['Dense_0']['kernel'].shape == (8, 9)
    assert shapes['heads']['unsup']['Dense_0']['kernel'].shape == (8, CONFIG.best_rq.codebook_size)


@pytest.mark.parametrize('scan', [False, True])
def test_the_penalty_looks_at_every_block(scan):
    conformer = dataclasses.replace(CONFIG.conformer, layers=3, scan=scan)
    state = jax.eval_shape(build(dataclasses.replace(CONFIG, conformer=conformer), 9).init_state, 0)
    assert set(state.penalty.group_cosines) == {'frontend', 'block_0', 'block_1', 'block_2'}


@pytest.mark.parametrize('strategy', ['supervised', 'pretrain_finetune', 'joint'])
def test_every_strategy_starts_from_the_same_parameters(strategy, system):
    other = build(Config(log_mel=CONFIG.log_mel, conformer=CONFIG.conformer, strategy=StrategyConfig(strategy)), 9)
    assert str(jax.make_jaxpr(other.init_params)(3)) == str(jax.make_jaxpr(system.init_params)(3))


def test_the_lower_objective_does_not_change_encoder_and_upper_head(init):
    levels = LevelsConfig(unsup=LevelConfig('cpc'))
    system = build(Config(log_mel=CONFIG.log_mel, conformer=CONFIG.conformer, levels=levels), 9)
    other = jax.jit(system._replace(encoder=ToyEncoder()).init_params)(3)
    for tree, expected in [(other['encoder'], init(3)['encoder']), (other['heads']['sup'], init(3)['heads']['sup'])]:
        jax.tree.map(np.testing.assert_array_equal, tree, expected)


def test_seeds_differ(init):
    first, other = leaves(init(0)), leaves(init(1))
    for name, value in first.items():
        if 'kernel' in name:
            assert (value != other[name]).any(), name


def test_the_state_before_the_first_step(system):
    state = jax.eval_shape(system.init_state, 7)
    assert state.step.shape == state.seed.shape == ()
    assert {leaf.dtype for leaf in (state.step, state.seed, *state.drawn.values())} == {jnp.dtype('int32')}
    assert set(state.drawn) == {'sup', 'unsup'}


@pytest.mark.parametrize(
    ('strategy', 'active'),
    [
        ('supervised', {('sup',)}),
        ('joint', {('sup', 'unsup')}),
        ('pretrain_finetune', {('unsup',), ('sup',)}),
        ('bl_just', {('unsup',), ('sup', 'unsup'), ('sup',)}),
    ],
)
def test_there_is_a_step_for_every_set_of_active_levels(strategy, active):
    config = Config(log_mel=CONFIG.log_mel, conformer=CONFIG.conformer, strategy=StrategyConfig(strategy))
    assert set(build(config, 9).make_steps()) == active


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'strategy': StrategyConfig('bljust')}, 'config.strategy.name must be one of'),
        ({'encoder': 'zzz'}, 'config.encoder must be one of'),
        (
            {'levels': LevelsConfig(unsup=LevelConfig('apc'))},
            "config.levels.unsup.objective must be one of best_rq, cpc, .*, not 'apc'",
        ),
        ({'levels': LevelsConfig(sup=LevelConfig('zzz'))}, 'config.levels.sup.objective must be one of'),
        ({'levels': LevelsConfig(sup=LevelConfig('best_rq'))}, 'config.levels.sup.objective must be one of ctc'),
    ],
)
def test_names_that_do_not_exist_are_reported(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(Config(**changes), 9)


def test_step_sizes_for_the_log_are_peaks_times_the_curve():
    levels = LevelsConfig(LevelConfig('ctc', learning_rate=0.2), LevelConfig('best_rq', learning_rate=0.3))
    optimizer = OptimizerConfig(learning_rate=0.1, warmup_steps=10)
    config = Config(conformer=CONFIG.conformer, log_mel=CONFIG.log_mel, levels=levels, optimizer=optimizer)
    rates = build(config, 9).learning_rates(5)  # half of the warm-up, and a tenth of that in exploration
    assert {name: pytest.approx(float(rate)) for name, rate in rates.items()} == {
        'encoder': 0.005,
        'sup': 0.01,
        'unsup': 0.015,
    }
