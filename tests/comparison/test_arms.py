"""The grid of a comparison: names, folders, and mistakes told in one sentence."""

import pytest

from bljust_jax.comparison.arms import Arm, Cell, Sweep, arm_config, compare, parse_shard, parse_sweep
from bljust_jax.config import Config, with_overrides
from bljust_jax.errors import UserError

KNOWN = {
    'bl_just': {'strategy.name': 'bl_just'},
    'joint': {'strategy.name': 'joint'},
    'long': {'strategy.labelled_steps': lambda config: 2 * config.strategy.labelled_steps},
    'deep': {'conformer.layers': 9},
    'deep!': {'conformer.layers': 10},
    'deep?': {'conformer.layers': 11},
    'seeded': {'seed': 3},
    'elsewhere': {'data.corpus': 'smoke'},
}
GAMMA = 'levels.unsup.gamma_max'


def make(names=('bl_just', 'joint'), seeds=('0', '1'), given=None, **more):
    return compare('x.py', Config(), given or {}, known=KNOWN, names=names, seeds=seeds, **more)


def test_every_arm_has_a_run_before_the_next_seed_begins():
    comparison = make(('joint', 'bl_just'), ('3', '0'))
    assert [cell.run for cell in comparison.cells] == [
        'runs/joint/seed_3', 'runs/bl_just/seed_3', 'runs/joint/seed_0', 'runs/bl_just/seed_0',
    ]  # fmt: skip
    assert comparison.reference == 'bl_just' and make(('joint', 'deep')).reference == 'joint'
    assert make(reference='joint').reference == 'joint'


def test_a_sweep_multiplies_every_arm():
    comparison = make(sweep=parse_sweep([f'config.{GAMMA}=1e-2,1']))
    labels = ['bl_just gamma_max=0.01', 'bl_just gamma_max=1', 'joint gamma_max=0.01', 'joint gamma_max=1']
    assert [arm.label for arm in comparison.arms] == labels
    assert comparison.arms[0].overrides == {'strategy.name': 'bl_just', GAMMA: 0.01}
    assert arm_config(comparison, comparison.arms[1]).levels.unsup.gamma_max == 1.0
    assert Cell(comparison.arms[0], 2).run == 'runs/bl_just_gamma_max=0.01/seed_2'


def test_values_of_a_sweep_are_numbers_truth_values_or_words():
    assert parse_sweep([]) is None
    assert parse_sweep(['conformer.scan=true,false']) == Sweep('conformer.scan', (True, False))
    assert parse_sweep(['encoder=lstm,conformer']).values == ('lstm', 'conformer')
    assert parse_sweep(['conformer.layers=2,3']).values == (2, 3)
    close = Arm('a', {'x.y': 0.1234567}, swept='x.y'), Arm('a', {'x.y': 0.1234568}, swept='x.y')
    assert close[0].folder != close[1].folder


def test_overrides_may_be_functions_of_the_config():
    comparison = make(('long',))
    assert comparison.arms[0].overrides == {'strategy.labelled_steps': 2000}
    assert arm_config(comparison, comparison.arms[0]).strategy.labelled_steps == 2000


def test_shards():
    assert parse_shard('2/3') == (2, 3)
    for text in ('0/2', '3/2', '1', 'a/b', '-1/2'):
        with pytest.raises(UserError, match='--shard is written i/n'):
            parse_shard(text)


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        ({'names': ()}, '--strategies names what is to be compared, .*: bl_just, joint'),
        ({'names': ('bl_jst',)}, "there is no 'bl_jst': choose from bl_just, joint"),
        ({'names': ('joint', 'joint')}, "--strategies names 'joint' twice"),
        ({'seeds': ('0', 'one')}, "--seeds is a list of whole numbers from 0, .*'one'"),
        ({'seeds': ('1', '01')}, '--seeds names 1 twice'),
        ({'seeds': ()}, '--seeds is empty'),
        ({'reference': 'supervised'}, "--reference must be one of bl_just, joint, not 'supervised'"),
        ({'given': {'seed': 3}}, '--config.seed cannot be given'),
        ({'given': {'strategy.name': 'joint'}}, "strategy.name is set by 'bl_just' and by --config.strategy.name"),
        ({'given': {GAMMA: 1.0}, 'sweep': Sweep(GAMMA, (1, 2))}, f'{GAMMA} is set by --sweep and by --config'),
        ({'sweep': Sweep('strategy.name', ('joint',))}, "strategy.name is set by --sweep and by 'bl_just'"),
        ({'names': ('seeded',)}, "'seeded' sets config.seed"),
        ({'names': ('elsewhere',)}, "'elsewhere' sets config.data.corpus, which all arms of a comparison share"),
        ({'names': ('deep!', 'deep?')}, "'deep!' and 'deep\\?' would share a folder"),
    ],
)
def test_mistakes(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        make(**arguments)


@pytest.mark.parametrize(
    ('texts', 'sentence'),
    [
        (['a.b=1', 'a.c=2'], '--sweep takes one field'),
        (['a.b'], '--sweep is written FIELD=VALUE'),
        (['=1'], '--sweep is written FIELD=VALUE'),
        (['a.b=1,'], '--sweep is written FIELD=VALUE'),
        (['a.b=1,1.0'], 'has a value twice'),
        (['seed=1,2'], 'cannot be over config.seed'),
        (['eval.splits=dev'], 'cannot be over config.eval.splits'),
        (['data.corpus=smoke,mini'], 'cannot be over config.data.corpus'),
    ],
)
def test_mistaken_sweeps(texts, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_sweep(texts)


@pytest.mark.parametrize(
    ('field', 'value', 'sentence'),
    [
        ('levels.unsup.gama_max', 1.0, 'did you mean config.levels.unsup.gamma_max'),
        ('levls.unsup.gamma_max', 1.0, 'did you mean config.levels'),
        ('seed.more', 1, 'config.seed.more: seed is not a group'),
        ('levels.unsup', 1, 'config.levels.unsup must be a group of fields'),
        (GAMMA, 'much', "must be float, not 'much'"),
        (GAMMA, -1.0, 'must be 0 or more, not -1.0'),
    ],
)
def test_mistaken_overrides(field, value, sentence):
    with pytest.raises(UserError, match=sentence):
        with_overrides(Config(), {field: value})
    comparison = make(sweep=Sweep(field, (value,)))
    with pytest.raises(UserError, match=f'^bl_just .*: .*{sentence}'):
        arm_config(comparison, comparison.arms[0])
