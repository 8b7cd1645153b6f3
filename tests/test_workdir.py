import dataclasses
import json
import os
from pathlib import Path

import pytest

from bljust_jax.config import Config, DataConfig, EvalConfig, MeshConfig, NormaliserConfig, StrategyConfig
from bljust_jax.data.text import CharTokenizer, read_normaliser
from bljust_jax.errors import UserError
from bljust_jax.workdir import (
    open_workdir,
    read_config,
    read_tokenizer,
    save_setup,
    tokenizer_of_run,
    write_json,
    write_lines,
)

CONFIG = Config(seed=4, data=DataConfig(speeds=(1.0,)))


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    """The folder of a run."""
    folder = tmp_path / 'deep' / 'run'
    open_workdir(folder, CONFIG)
    save_setup(folder, CONFIG, CharTokenizer('abc'))
    return folder


def test_config_and_tokenizer_come_back(workdir: Path):
    assert read_config(workdir) == CONFIG
    assert read_tokenizer(workdir).decode([1, 3]) == 'ac'
    assert {path.name for path in workdir.iterdir()} == {'config.json', 'tokenizer.json'}


def test_the_normaliser_of_the_transcripts_is_kept_if_it_is_not_the_default(tmp_path: Path):
    russian = NormaliserConfig('ru', numbers='keep')
    for name, normaliser in (('default', NormaliserConfig()), ('russian', russian)):
        open_workdir(tmp_path / name, CONFIG)
        save_setup(tmp_path / name, CONFIG, CharTokenizer('abc'), normaliser=normaliser)
        assert read_normaliser(tmp_path / name) == normaliser
    assert not (tmp_path / 'default' / 'normaliser.json').exists()


def test_a_new_run_takes_the_tokenizer_of_its_corpus(tmp_path: Path):
    tokenizer = CharTokenizer('abc')
    assert tokenizer_of_run(tmp_path, tokenizer) is tokenizer
    assert not list(tmp_path.iterdir())


def test_a_run_of_before_there_was_augmentation_goes_on(workdir: Path):
    older = json.loads((workdir / 'config.json').read_text())
    del older['augment'], older['tokenizer']['byte_fallback'], older['spec_augment']['time_masks_ratio']
    (workdir / 'config.json').write_text(json.dumps(older))
    assert read_config(workdir) == CONFIG
    open_workdir(workdir, CONFIG)


def test_a_run_keeps_its_tokenizer(workdir: Path):
    path = workdir / 'tokenizer.json'
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    before = path.read_bytes()
    assert tokenizer_of_run(workdir, CharTokenizer('abc')).decode([1, 3]) == 'ac'
    with pytest.raises(UserError, match=r'another tokenizer than the corpus in config\.data\.data_dir') as raised:
        tokenizer_of_run(workdir, CharTokenizer('abd'))
    assert f'--workdir={workdir}' in str(raised.value)
    save_setup(workdir, CONFIG, CharTokenizer('abd'))
    assert path.read_bytes() == before


def test_only_a_set_up_run_is_in_the_way_of_another_config(tmp_path: Path):
    open_workdir(tmp_path / 'run', CONFIG)
    assert not list((tmp_path / 'run').iterdir())
    open_workdir(tmp_path / 'run', dataclasses.replace(CONFIG, seed=5))


def test_a_different_config_names_the_fields(workdir: Path):
    before = (workdir / 'config.json').read_bytes()
    other = dataclasses.replace(CONFIG, seed=5, strategy=StrategyConfig(name='supervised'))
    with pytest.raises(UserError) as raised:
        open_workdir(workdir, other)
    assert 'config.seed was 4 and is 5' in str(raised.value)
    assert "config.strategy.name was 'bl_just' and is 'supervised'" in str(raised.value)
    assert str(workdir) in str(raised.value) and 'more' not in str(raised.value)
    assert (workdir / 'config.json').read_bytes() == before


def test_many_differences_are_counted(workdir: Path):
    other = Config(data=DataConfig(corpus='x', labelled='x', unlabelled='x', buckets=9))
    with pytest.raises(UserError, match='and 3 more'):
        open_workdir(workdir, other)


@pytest.mark.parametrize(
    'change',
    [
        {'mesh': MeshConfig(data=1)},
        {'log_every_steps': 1},
        {'checkpoint_every_steps': 1},
        {'keep_checkpoints': 9},
        {'eval': EvalConfig(splits=('test',))},
        {'data': DataConfig(speeds=(1.0,), workers=7, data_dir='elsewhere')},
    ],
)
def test_what_does_not_matter_may_change(workdir: Path, change: dict):
    open_workdir(workdir, dataclasses.replace(CONFIG, **change))


def test_places_that_cannot_be_a_folder(tmp_path: Path):
    (tmp_path / 'file').write_text('kept')
    for place in (tmp_path / 'file', tmp_path / 'file' / 'run'):
        with pytest.raises(UserError, match='is or lies below a file'):
            open_workdir(place, CONFIG)
    assert (tmp_path / 'file').read_text() == 'kept'
    with pytest.raises(UserError, match='--workdir=/proc/run cannot be made'):
        open_workdir(Path('/proc/run'), CONFIG)


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError) as raised:
        open_workdir(tmp_path, CONFIG)
    assert raised.value.filename == str(tmp_path)


@pytest.mark.parametrize('content', ['', '{"seed": ', '[1]', '{"seed": "four"}', '{"sede": 4}', 'null'])
def test_a_damaged_config(workdir: Path, content: str):
    (workdir / 'config.json').write_text(content)
    with pytest.raises(UserError, match=r'config\.json is damaged'):
        read_config(workdir)
    with pytest.raises(UserError, match=r'config\.json is damaged'):
        open_workdir(workdir, CONFIG)
    assert (workdir / 'config.json').read_text() == content


@pytest.mark.parametrize('content', ['', '{}', '{"kind": "char"}', '{"kind": "morse"}'])
def test_a_damaged_tokenizer(workdir: Path, content: str):
    (workdir / 'tokenizer.json').write_text(content)
    with pytest.raises(UserError):
        read_tokenizer(workdir)


def test_no_run(tmp_path: Path):
    (tmp_path / 'file').write_text('')
    for place in (tmp_path, tmp_path / 'missing', tmp_path / 'file'):
        with pytest.raises(UserError, match='There is no run in'):
            read_config(place)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_json(tmp_path / 'summary.json', {'wer': 0.5, 'said': 'é'})
    write_lines(tmp_path / 'hypotheses' / 'dev.jsonl', [{'id': 'a'}, {'id': 'b'}])
    assert json.loads((tmp_path / 'summary.json').read_text(encoding='utf-8')) == {'wer': 0.5, 'said': 'é'}
    assert (tmp_path / 'hypotheses' / 'dev.jsonl').read_text() == '{"id": "a"}\n{"id": "b"}\n'

    def full(path: Path, content: bytes) -> None:
        with path.open('wb') as file:
            file.write(content[:5])
        raise OSError(28, 'No space left on device', str(path))

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space left'):
        write_json(tmp_path / 'summary.json', {'wer': 0.1})
    assert not list(tmp_path.glob('*.tmp'))
    assert json.loads((tmp_path / 'summary.json').read_text(encoding='utf-8'))['wer'] == 0.5
