"""A frozen teacher: what is refused, what is loaded; and whole runs that learn from one, or from their own average."""

import dataclasses
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from bljust_jax.build import build
from bljust_jax.checkpoint import Checkpoints
from bljust_jax.config import (
    Config,
    ConformerConfig,
    DistillationConfig,
    LevelConfig,
    LevelsConfig,
    LogMelConfig,
    MeshConfig,
    StrategyConfig,
    TeacherConfig,
)
from bljust_jax.data.text import CharTokenizer
from bljust_jax.errors import UserError
from bljust_jax.models import Encoder, factory
from bljust_jax.models.conformer import conformer
from bljust_jax.models.layers import ConvSubsampling
from bljust_jax.sharding import make_mesh
from bljust_jax.teacher import abstract_teacher, load_teacher
from bljust_jax.types import TrainState
from bljust_jax.workdir import save_setup
from tests.params import random_params
from tests.runs import Run, assert_same_bits, final_state, logged, open_checkpoints

pytest_plugins = ['tests.run_fixtures']

LETTERS = CharTokenizer('abc')
SIZES = ConformerConfig(layers=1, width=8, heads=2, expansion=2, kernel=3, channels=4)
TEACHER = Config(log_mel=LogMelConfig(mels=8), conformer=SIZES, strategy=StrategyConfig('supervised'))
WIDER = dataclasses.replace(TEACHER, conformer=dataclasses.replace(SIZES, width=16, layers=2))


def save_teacher(folder: Path, config: Config = TEACHER, tokenizer=LETTERS, step: int = 7, scale: float = 1.0):
    """A run that was never trained, with a checkpoint; returns its parameters."""
    folder.mkdir(exist_ok=True)
    save_setup(folder, config, tokenizer)
    abstract = jax.eval_shape(build(config, tokenizer.vocab_size).init_state, 0)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    params = jax.tree.map(lambda leaf: np.float32(scale) * leaf, random_params(abstract.params))
    with open_checkpoints(folder) as checkpoints:
        checkpoints.save(jax.device_put(state._replace(params=params, step=np.int32(step))), {'cer/dev': 0.5})
    return params


def student(folder: Path, **distillation) -> Config:
    return dataclasses.replace(
        TEACHER,
        strategy=StrategyConfig('tl_sud'),
        teacher=TeacherConfig(workdir=str(folder)),
        distillation=DistillationConfig(**distillation),
    )


def load(config: Config, workdir: Path, tokenizer=LETTERS):
    return load_teacher(build(config, tokenizer.vocab_size), tokenizer, make_mesh(MeshConfig()), workdir)


@pytest.mark.standard_dtypes
@pytest.mark.parametrize('config', [TEACHER, WIDER])
def test_the_best_checkpoint_is_loaded_without_what_teaching_does_not_take(tmp_path: Path, config: Config):
    params = save_teacher(tmp_path / 'teacher', config)
    config = student(tmp_path / 'teacher')
    teacher = load(config, tmp_path)
    assert set(teacher.params) == {'encoder', 'heads'} and set(teacher.params['heads']) == {'sup'}
    expected = {'encoder': params['encoder'], 'heads': {'sup': params['heads']['sup']}}
    assert_same_bits(teacher.params, expected)
    system = build(config, LETTERS.vocab_size)
    shapes = abstract_teacher(system, make_mesh(MeshConfig()))
    jax.tree.map(lambda leaf, shape: np.testing.assert_equal(leaf.shape, shape.shape), teacher.params, shapes)
    state = jax.eval_shape(system.init_state, 0)
    width = params['encoder']['context']['block_0']['LayerNorm_0']['scale'].shape[0]
    assert state.params['heads']['distill']['Dense_0']['kernel'].shape == (8, width)
    assert state.teacher == ()


@pytest.mark.standard_dtypes
def test_another_teacher_is_refused_and_the_same_one_in_another_folder_is_not(tmp_path: Path):
    save_teacher(tmp_path / 'teacher')
    teacher, run = load(student(tmp_path / 'teacher'), tmp_path), tmp_path / 'run'
    run.mkdir()
    save_setup(run, student(tmp_path / 'teacher'), LETTERS, teacher.identity)
    shutil.copytree(tmp_path / 'teacher', tmp_path / 'moved')
    assert load(student(tmp_path / 'moved'), run).identity == teacher.identity
    save_teacher(tmp_path / 'other', scale=1.0 + 1e-6)
    with pytest.raises(
        UserError, match=f'teacher.workdir={tmp_path / "other"} is not the teacher that the run in .* began with'
    ):
        load(student(tmp_path / 'other'), run)


@pytest.mark.standard_dtypes
def test_another_vocabulary_is_refused_unless_features_alone_are_learnt(tmp_path: Path):
    save_teacher(tmp_path / 'teacher', tokenizer=CharTokenizer('abcde'))
    with pytest.raises(
        UserError, match='cannot teach. Its vocabulary of 6 labels is not the one of 4 of this run'
    ) as told:
        load(student(tmp_path / 'teacher'), tmp_path)
    assert f'config.teacher.workdir={tmp_path / "teacher"}' in str(told.value)
    teacher = load(student(tmp_path / 'teacher', posterior_weight=0.0), tmp_path)
    assert teacher.params['heads']['sup']['Dense_0']['kernel'].shape == (8, 6)


@pytest.mark.standard_dtypes
def test_a_teacher_without_posteriors_is_refused(tmp_path: Path):
    (tmp_path / 'teacher').mkdir()
    save_setup(
        tmp_path / 'teacher', dataclasses.replace(TEACHER, levels=LevelsConfig(LevelConfig('attention'))), LETTERS
    )
    with pytest.raises(UserError, match='cannot teach. Its config.levels.sup.objective is attention, which has no CTC'):
        load(student(tmp_path / 'teacher'), tmp_path)


@pytest.mark.standard_dtypes
@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda folder: shutil.rmtree(folder), 'cannot teach. There is no run in .*: config.json is missing'),
        (
            lambda folder: shutil.rmtree(folder / 'checkpoints'),
            'cannot teach. There is no checkpoint in .*checkpoints yet',
        ),
        (lambda folder: (folder / 'tokenizer.json').unlink(), 'cannot teach. .*tokenizer.json does not exist'),
        (
            lambda folder: (folder / 'config.json').write_text('{"log_mel": {"mels": 8, "hop": 0.02}}'),
            'cannot teach: its config.log_mel.hop is 0.02 and that of this run is 0.01; they must be the same',
        ),
    ],
)
def test_what_cannot_teach_is_told_with_its_folder(tmp_path: Path, damage, message: str):
    save_teacher(tmp_path / 'teacher')
    damage(tmp_path / 'teacher')
    with pytest.raises(UserError, match=message) as told:
        load(student(tmp_path / 'teacher'), tmp_path)
    assert f'config.teacher.workdir={tmp_path / "teacher"}' in str(told.value)


@pytest.mark.standard_dtypes
def test_another_subsampling_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_teacher(tmp_path / 'teacher')

    class Slower(ConvSubsampling):
        factor = 8

    slower = Encoder(Slower(8, 8), conformer(ConformerConfig()).context)
    monkeypatch.setitem(factory.ENCODERS, 'slower', lambda config: slower)
    values = json.loads((tmp_path / 'teacher' / 'config.json').read_text())
    (tmp_path / 'teacher' / 'config.json').write_text(json.dumps(values | {'encoder': 'slower'}))
    with pytest.raises(
        UserError, match='encoder=slower, whose subsampling is 8 and that of this run is 4; they must be'
    ):
        build(student(tmp_path / 'teacher'), 4)


def test_a_teacher_in_the_state_is_saved_and_one_outside_leaves_no_trace(tmp_path: Path):
    plain = TrainState(np.int32(1), {'w': np.ones(3)}, (), (), {'sup': np.int32(1)}, np.int32(0))
    averaged = plain._replace(teacher={'w': np.full(3, 2.0)})
    for name, state in (('plain', plain), ('averaged', averaged)):
        state = jax.device_put(state)
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(
            lambda leaf, s=sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), state
        )
        with Checkpoints(tmp_path / name, select='cer/dev') as checkpoints:
            checkpoints.save(state, {'cer/dev': 0.5})
            checkpoints.wait()
            assert_same_bits(checkpoints.restore_latest(abstract), state)
            step, params = checkpoints.restore_best_params(abstract.params)
            assert step == 1
            assert_same_bits(params, state.params)
        metadata = (tmp_path / name / 'checkpoints' / '1' / 'state' / '_METADATA').read_text()
        assert ('teacher' in metadata) == (name == 'averaged')


# Whole runs.


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['frozen', 'average'])
def test_killed_and_resumed_it_is_the_same_run(
    run_main: Run, run_process: Run, whole_run: Path, tmp_path: Path, kind: str
):
    teacher = shutil.copytree(whole_run, tmp_path / 'teacher')
    option = f'workdir={teacher}' if kind == 'frozen' else 'momentum=0.9'
    flags = ['--config.strategy.name=tl_sud', f'--config.teacher.{option}']
    through = run_main(tmp_path / 'through', *flags)
    assert through.returncode == 0, through.stderr
    killed = run_main(tmp_path / 'run', *flags, signal=(signal.SIGKILL, 11))
    assert killed.returncode == -signal.SIGKILL
    resumed = run_main(tmp_path / 'run', *flags)
    assert resumed.returncode == 0 and 'Resuming' in resumed.stderr, resumed.stderr
    assert logged(tmp_path / 'run') == logged(tmp_path / 'through')
    assert_same_bits(final_state(tmp_path / 'run'), final_state(tmp_path / 'through'))
    lines = [line for line in logged(tmp_path / 'run') if 'phase' in line]
    assert {'loss/distill', 'gamma/distill', 'feature_distance/distill'} <= lines[0].keys()
    assert {'loss/sup', 'loss/unsup', 'loss/distill', 'grad_cosine_pair/unsup/distill'} <= lines[3].keys()
    report = (tmp_path / 'run' / 'report.html').read_text()
    assert 'Penalty γ, distill' in report and 'posterior_divergence/distill' in report
    assert (final_state(tmp_path / 'run').teacher != ()) == (kind == 'average')
    assert (tmp_path / 'run' / 'teacher.json').exists() == (kind == 'frozen')
    shutil.rmtree(teacher)
    evaluated = run_process('-m', 'bljust_jax.evaluate', f'--workdir={tmp_path / "run"}')
    assert evaluated.returncode == 0, evaluated.stderr


@pytest.mark.slow
def test_generations_of_students_survive_a_kill(run_main: Run, tmp_path: Path):
    """Killed in the second generation, whose teacher is the first one's last student."""
    flags = [
        '--config.strategy.name=noisy_student',
        '--config.strategy.seed_steps=4',
        '--config.pseudo_label.confidence=0',
    ]
    through = run_main(tmp_path / 'through', *flags)
    assert through.returncode == 0, through.stderr
    phases = [line['phase'] for line in logged(tmp_path / 'through') if 'phase' in line]
    assert list(dict.fromkeys(phases)) == ['seed', 'generation 1', 'generation 2']
    last = [line for line in logged(tmp_path / 'through') if 'phase' in line][-1]
    killed = run_main(tmp_path / 'run', *flags, signal=(signal.SIGKILL, last['step'] - 1))
    assert killed.returncode == -signal.SIGKILL
    resumed = run_main(tmp_path / 'run', *flags)
    assert resumed.returncode == 0 and 'Resuming' in resumed.stderr, resumed.stderr
    assert logged(tmp_path / 'run') == logged(tmp_path / 'through')
    assert_same_bits(final_state(tmp_path / 'run'), final_state(tmp_path / 'through'))
