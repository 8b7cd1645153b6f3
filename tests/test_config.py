import dataclasses
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from absl import flags
from ml_collections import config_flags

from bljust_jax.bilevel import COMBINERS
from bljust_jax.build import build
from bljust_jax.config import (
    Config,
    ConformerConfig,
    DataConfig,
    EBranchformerConfig,
    EvalConfig,
    LevelConfig,
    LevelsConfig,
    StrategyConfig,
    TeacherConfig,
    from_config_dict,
    to_config_dict,
    with_overrides,
)
from bljust_jax.errors import UserError
from bljust_jax.models.stack import REMAT_POLICIES
from bljust_jax.strategies import STRATEGIES, make_phases
from bljust_jax.types import Batch
from configs.conformer import PRESETS, get_config

ODD = Config(
    seed=3,
    data=DataConfig(speeds=(1.0,), corpus='mine'),
    conformer=ConformerConfig(width=96, heads=3, norm='group'),
    levels=LevelsConfig(unsup=LevelConfig('cpc', gamma='constant', gamma_max=180.0)),
    eval=EvalConfig(splits=('dev',)),
)


def changed(path, value):
    """The default config as a dictionary with one field changed."""
    values = to_config_dict(Config()).to_dict()
    *groups, field = path.split('.')
    target = values
    for group in groups:
        target = target[group]
    target[field] = value
    return values


@pytest.mark.parametrize('config', [Config(), ODD, *(preset() for preset in PRESETS.values())])
def test_survives_json(config):
    assert from_config_dict(json.loads(json.dumps(to_config_dict(config).to_dict()))) == config
    assert from_config_dict(to_config_dict(config)) == config


def test_fields_left_out_have_their_defaults():
    assert from_config_dict({}) == Config()
    assert from_config_dict({'conformer': {'layers': 3}}) == Config(conformer=ConformerConfig(layers=3))


@pytest.mark.filterwarnings('ignore:the load_module')  # in ml_collections
def test_flags_override_any_field(monkeypatch):
    arguments = [
        'program',
        f'--config={Path(__file__).parents[1] / "configs" / "conformer.py"}:smoke',
        '--config.conformer.layers=3',
        '--config.levels.unsup.gamma_max=7',
        '--config.data.speeds=(0.5, 1.0)',
    ]
    monkeypatch.setattr(sys, 'argv', arguments)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file('config', flag_values=values)
    values(arguments)
    config = from_config_dict(values.config)
    assert config.data.corpus == 'smoke' and config.data.speeds == (0.5, 1.0)
    assert config.conformer.layers == 3 and config.levels.unsup.gamma_max == 7.0


def test_the_config_dict_is_locked():
    with pytest.raises(AttributeError, match='layer'):
        to_config_dict(Config()).conformer.layer = 3


@pytest.mark.parametrize(
    ('path', 'sentence'),
    [
        ('conformer.layer', 'There is no config field config.conformer.layer: did you mean config.conformer.layers?'),
        ('sed', 'There is no config field config.sed: did you mean config.seed?'),
        (
            'tokenizer.zzz',
            'There is no config field config.tokenizer.zzz; config.tokenizer has kind, vocab_size, byte_fallback.',
        ),
    ],
)
def test_unknown_fields_come_with_a_suggestion(path, sentence):
    with pytest.raises(UserError) as error:
        from_config_dict(changed(path, 1))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ('path', 'value', 'sentence'),
    [
        ('conformer.layers', '4', "config.conformer.layers must be int, not '4'."),
        ('conformer.layers', 4.0, 'config.conformer.layers must be int, not 4.0.'),
        ('conformer.layers', True, 'config.conformer.layers must be int, not True.'),
        ('conformer.dropout', True, 'config.conformer.dropout must be float, not True.'),
        ('conformer.dropout', None, 'config.conformer.dropout must be float, not None.'),
        ('log_mel.normalize', 1, 'config.log_mel.normalize must be bool, not 1.'),
        ('data.corpus', 7, 'config.data.corpus must be str, not 7.'),
        ('data.speeds', ['fast'], "config.data.speeds must be float, not 'fast'."),
        ('conformer', 3, 'config.conformer must be a group of fields, not 3.'),
    ],
)
def test_wrong_types_are_named(path, value, sentence):
    with pytest.raises(UserError) as error:
        from_config_dict(changed(path, value))
    assert str(error.value) == sentence


def test_whole_numbers_pass_for_floats_and_lists_or_single_items_for_tuples():
    config = from_config_dict({'conformer': {'dropout': 0}, 'data': {'speeds': [1, 2]}, 'eval': {'splits': 'dev'}})
    assert config.conformer.dropout == 0.0 and isinstance(config.conformer.dropout, float)
    assert config.data.speeds == (1.0, 2.0) and config.eval.splits == ('dev',)


POSITIVE = """
    data.batch_seconds data.unlabelled_batch_seconds data.buckets data.unlabelled_buckets
    data.max_seconds data.crop_seconds data.workers
    conformer.layers conformer.width conformer.heads conformer.expansion conformer.kernel conformer.channels
    transducer.width transducer.layers transducer.context transducer.joint_dim transducer.chunk eval.max_symbols
    best_rq.codebooks best_rq.codebook_size best_rq.code_dim best_rq.mask_frames
    log_mel.mels log_mel.window log_mel.hop cpc.context_seconds cpc.future_seconds cpc.negatives cpc.dim cpc.temperature
    distillation.temperature optimizer.learning_rate strategy.labelled_steps strategy.cycles strategy.explore_rate
    optimizer.clip mesh.fsdp
    eval.every_steps eval.batch_seconds eval.buckets log_every_steps checkpoint_every_steps keep_checkpoints
    levels.unsup.gamma_every levels.unsup.gamma_step
""".split()


@pytest.mark.parametrize('path', POSITIVE)
def test_sizes_must_be_positive(path):
    for value in (0, -1):
        with pytest.raises(UserError, match=rf'^config\.{path} must be positive, not {value}'):
            from_config_dict(changed(path, value))


NOT_NEGATIVE = """
    data.pack_seconds log_mel.low_hz spec_augment.frequency_masks spec_augment.frequency_width
    spec_augment.time_masks spec_augment.time_masks_ratio spec_augment.time_width
    spec_augment.time_ratio best_rq.noise best_rq.seed
    strategy.explore_steps strategy.finetune_steps optimizer.warmup_steps optimizer.weight_decay seed
    levels.unsup.gamma_min levels.unsup.gap_tolerance distillation.feature_weight distillation.posterior_weight
""".split()


@pytest.mark.parametrize('path', NOT_NEGATIVE)
def test_counts_must_not_be_negative(path):
    with pytest.raises(UserError, match=rf'^config\.{path} must be 0 or more, not -1'):
        from_config_dict(changed(path, -1))


def test_cpc_windows_must_fit_the_crops():
    values = changed('levels.unsup.objective', 'cpc') | {'data': {'crop_seconds': 3.0}}
    with pytest.raises(UserError, match='config.data.crop_seconds must be longer than config.cpc.context_seconds'):
        from_config_dict(values)
    with pytest.raises(UserError, match='config.levels.sup.objective must be one of ctc'):
        build(from_config_dict(changed('levels.sup.objective', 'cpc') | {'data': {'crop_seconds': 3.0}}), 5)


@pytest.mark.parametrize(
    ('path', 'value', 'sentence'),
    [
        ('tokenizer.kind', 'word', "config.tokenizer.kind must be one of char, byte, unigram, bpe, not 'word'."),
        ('compute_dtype', 'float16', "config.compute_dtype must be one of float32, bfloat16, not 'float16'."),
        ('conformer.remat', 'some', "config.conformer.remat must be one of none, dots, full, not 'some'."),
        ('conformer.norm', 'batch', "config.conformer.norm must be one of layer, group, not 'batch'."),
        ('transformer.norm', 'none', "config.transformer.norm must be one of post, pre, not 'none'."),
        (
            'transformer.heads',
            3,
            'config.transformer.width must be a multiple of config.transformer.heads (3), not 128.',
        ),
        (
            'transformer.groups',
            5,
            'config.transformer.width must be a multiple of config.transformer.groups (5), not 128.',
        ),
        ('lstm.norm', 'batch', "config.lstm.norm must be one of layer, none, not 'batch'."),
        ('lstm.width', 33, 'config.lstm.width must be even with config.lstm.bidirectional, a half for each, not 33.'),
        ('eval.select', 'loss', "config.eval.select must be one of cer, wer, not 'loss'."),
        (
            'levels.unsup.gamma',
            'cosine',
            'config.levels.unsup.gamma must be one of constant, linear, exponential, dual_ascent, balance, invariant, '
            "not 'cosine'.",
        ),
        (
            'optimizer.combine',
            'sum',
            'config.optimizer.combine must be one of penalty, weighted_sum, alternating, pcgrad, mgda, cagrad, modo, '
            "not 'sum'.",
        ),
        ('eval.decoder', 'best', "config.eval.decoder must be one of greedy, beam, not 'best'."),
        ('eval.beam', 0, 'config.eval.beam must be positive, not 0.'),
        ('eval.lm_weight', -0.5, 'config.eval.lm_weight must be 0 or more, not -0.5.'),
        ('eval.lm', 'x.arpa', "config.eval.lm must be '' unless config.eval.decoder is beam, not 'x.arpa'."),
        ('eval.word_bonus', 1.0, 'config.eval.word_bonus must be 0.0 unless config.eval.decoder is beam, not 1.0.'),
        (
            'conformer.heads',
            3,
            'config.conformer.width must be a multiple of twice config.conformer.heads (3) '
            'for the pairs of rotary positions, not 128.',
        ),
        (
            'conformer.width',
            36,  # heads of 9
            'config.conformer.width must be a multiple of twice config.conformer.heads (4) '
            'for the pairs of rotary positions, not 36.',
        ),
        ('teacher.momentum', 1.0, 'config.teacher.momentum must be in [0, 1), not 1.0.'),
        ('conformer.kernel', 8, 'config.conformer.kernel must be odd, not 8.'),
        ('seed', 2**31, 'config.seed must be below 2^31, not 2147483648.'),
        ('data.speeds', (), 'config.data.speeds must be positive numbers, not ().'),
        ('data.speeds', (1.0, 0.0), 'config.data.speeds must be positive numbers, not (1.0, 0.0).'),
        ('best_rq.mask_probability', 1.5, 'config.best_rq.mask_probability must be in [0, 1], not 1.5.'),
        ('levels.sup.learning_rate', 0.0, 'config.levels.sup.learning_rate must be positive, not 0.0.'),
        ('levels.unsup.gamma_max', -1.0, 'config.levels.unsup.gamma_max must be 0 or more, not -1.0.'),
        (
            'levels.unsup.gamma_min',
            1.5,
            'config.levels.unsup.gamma_min must be at most config.levels.unsup.gamma_max (1.0), not 1.5.',
        ),
        ('levels.unsup.gamma_decay', 1.0, 'config.levels.unsup.gamma_decay must be in [0, 1), not 1.0.'),
        (
            'log_mel.window',
            0.04,
            'config.log_mel.window must fit config.log_mel.fft_size (512 samples at 16 kHz), not 0.04.',
        ),
        ('conformer.dropout', 1.0, 'config.conformer.dropout must be in [0, 1), not 1.0.'),
        ('conformer.dropout', -0.1, 'config.conformer.dropout must be in [0, 1), not -0.1.'),
        ('mesh.data', 0, 'config.mesh.data must be positive, or -1 for all devices, not 0.'),
        ('mesh.data', -2, 'config.mesh.data must be positive, or -1 for all devices, not -2.'),
        (
            'strategy.finetune_steps',
            1001,
            'config.strategy.finetune_steps must be at most config.strategy.labelled_steps (1000), not 1001.',
        ),
        (
            'log_mel.high_hz',
            8001,
            'config.log_mel.high_hz must lie above config.log_mel.low_hz (20.0) and not above 8000 '
            '(audio is at 16 kHz), not 8001.0.',
        ),
        (
            'log_mel.low_hz',
            8000,
            'config.log_mel.high_hz must lie above config.log_mel.low_hz (8000.0) and not above 8000 '
            '(audio is at 16 kHz), not 8000.0.',
        ),
    ],
)
def test_values_out_of_range_are_named(path, value, sentence):
    with pytest.raises(UserError) as error:
        from_config_dict(changed(path, value))
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ('path', 'table'),
    [('optimizer.combine', COMBINERS), ('strategy.name', STRATEGIES), ('conformer.remat', REMAT_POLICIES)],
)
def test_choices_are_what_there_is(path, table):
    with pytest.raises(UserError, match=f"must be one of {', '.join(table)}, not 'zzz'"):
        from_config_dict(changed(path, 'zzz'))


def test_a_teacher_is_a_run_or_a_moving_average():
    with pytest.raises(UserError, match=r'momentum must be 0 with config.teacher.workdir=runs/a: .*, not 0.9\.$'):
        from_config_dict({'teacher': {'workdir': 'runs/a', 'momentum': 0.9}})


def test_a_teacher_teaches_something():
    with pytest.raises(UserError, match='feature_weight must be positive if config.distillation.posterior_weight is 0'):
        from_config_dict({'distillation': {'feature_weight': 0, 'posterior_weight': 0}})


def test_a_config_made_in_python_is_validated_too():
    with pytest.raises(UserError, match='config.conformer.layers must be positive'):
        Config(conformer=ConformerConfig(layers=0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1


@pytest.mark.standard_dtypes
@pytest.mark.parametrize('preset', PRESETS)
def test_every_preset_builds_and_has_phases(preset):
    config = from_config_dict(get_config(preset))
    system = build(config, 30)
    assert [level.name for level in system.levels] == ['sup', 'unsup']
    assert system.phases == tuple(make_phases(config.strategy))


def test_the_default_preset_is_mini():
    assert from_config_dict(get_config()) == PRESETS['mini']()


def test_unknown_presets_are_named():
    with pytest.raises(
        UserError, match="no preset 'tiny': choose one of mini, smoke, amazon_queen, synthetic_voices, librispeech"
    ):
        get_config('tiny')


@pytest.mark.standard_dtypes
def test_librispeech_takes_a_joint_step_of_the_papers_size():
    """Traced, not run: 8 x 512 x 8, 1,000 pieces, labelled utterances and crops of 15 s."""
    system = build(from_config_dict(get_config('librispeech')), 1000)
    state = jax.eval_shape(system.init_state, 0)
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in state.params.items()}
    assert sizes['encoder'] / 1e6 == pytest.approx(50.3, abs=0.05)
    head = state.params['heads']
    assert sum(leaf.size for leaf in jax.tree.leaves(head['sup'])) == 513 * 1000
    assert sum(leaf.size for leaf in jax.tree.leaves(head['unsup'])) == 513 * 25 * 128 + 513 * 128

    def batch(rows, seconds, labels):
        return Batch(
            jax.ShapeDtypeStruct((rows, 16000 * seconds), jnp.int16),
            jax.ShapeDtypeStruct((rows,), jnp.int32),
            jax.ShapeDtypeStruct((rows, labels), jnp.int32),
            jax.ShapeDtypeStruct((rows,), jnp.int32),
            jax.ShapeDtypeStruct((rows, 1), jnp.int32),
        )

    steps = system.make_steps()
    assert set(steps) == {('sup',), ('unsup',), ('sup', 'unsup')}
    batches = {'sup': batch(80, 20, 120), 'unsup': batch(106, 15, 0)}
    after, metrics = jax.eval_shape(steps['sup', 'unsup'], state, batches)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), state
    )
    assert {'loss/sup', 'loss/unsup', 'gamma/unsup', 'grad_cosine/unsup'} <= set(metrics)


@pytest.mark.parametrize(
    ('name', 'momentum'), [('pseudo_label', 0.0), ('noisy_student', 0.0), ('momentum_pseudo_label', 0.999)]
)
def test_a_strategy_that_learns_labels_has_what_makes_it_one(name, momentum):
    config = Config(strategy=StrategyConfig(name), levels=LevelsConfig(unsup=LevelConfig('cpc', gamma_max=0.3)))
    assert config.levels.unsup == LevelConfig('pseudo_label', gamma_max=0.3)
    assert config.pseudo_label.train_head and config.teacher == TeacherConfig(momentum=momentum)
    assert from_config_dict(to_config_dict(config)) == config
    with pytest.raises(UserError, match=f'teacher.workdir must be empty with config.strategy.name={name}'):
        dataclasses.replace(config, teacher=TeacherConfig('runs/other'))


def test_what_a_strategy_has_settled_is_no_base_for_another():
    settled = Config(strategy=StrategyConfig('momentum_pseudo_label'))
    assert with_overrides(settled, {'strategy.seed_steps': 5}).strategy.seed_steps == 5
    with pytest.raises(UserError, match='momentum_pseudo_label has settled fields that joint has otherwise'):
        with_overrides(settled, {'strategy.name': 'joint'})


def test_the_average_of_momentum_pseudo_labelling_is_as_long_as_the_config_says():
    config = Config(strategy=StrategyConfig('momentum_pseudo_label'), teacher=TeacherConfig(momentum=0.9))
    assert config.teacher.momentum == 0.9


@pytest.mark.parametrize('encoder', [ConformerConfig, EBranchformerConfig])
def test_heads_without_rotary_positions_may_have_an_odd_size(encoder):
    name = 'conformer' if encoder is ConformerConfig else 'e_branchformer'
    Config(**{name: encoder(width=9, heads=3, positions='none')})
    with pytest.raises(UserError, match=f'config.{name}.width must be a multiple of config.{name}.heads .3., not 10'):
        Config(**{name: encoder(width=10, heads=3, positions='none')})
