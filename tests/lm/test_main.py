"""`python -m bljust_jax.lm`."""

from pathlib import Path

import pytest

from bljust_jax.data.dataset import load_split, texts_of
from bljust_jax.data.text import CharTokenizer, train_tokenizer
from bljust_jax.lm import kneser_ney, ngram_table, read_arpa
from bljust_jax.workdir import open_workdir, save_setup
from tests.runs import Run, tiny_config

pytest_plugins = ['tests.run_fixtures']


def words(tokenizer, text):
    return [tokenizer.names[label - 1] for label in tokenizer.encode(text)]


def test_of_a_run_it_reads_the_labelled_transcripts_alone(run_process: Run, data_dir: Path, tmp_path: Path):
    config, output = tiny_config(data_dir), tmp_path / 'model.arpa'
    texts = texts_of(load_split(data_dir, 'smoke', 'train_labelled'))
    tokenizer = train_tokenizer(texts, 'unigram', 20)
    open_workdir(tmp_path / 'run', config)
    save_setup(tmp_path / 'run', config, tokenizer)
    for split in ('dev', 'test', 'train_unlabelled'):
        assert set(texts_of(load_split(data_dir, 'smoke', split))) - set(texts)
    result = run_process('-m', 'bljust_jax.lm', f'--workdir={tmp_path / "run"}', '--order=3', f'--output={output}')
    assert result.returncode == 0, result.stderr
    assert f'Wrote {output}: ' in result.stderr and f'{len(texts)} sentences' in result.stderr
    model, expected = read_arpa(output), kneser_ney([words(tokenizer, text) for text in texts], tokenizer.names, 3)
    assert model.entries.keys() == expected.entries.keys()
    for ngram, entry in expected.entries.items():
        assert model.entries[ngram] == pytest.approx(entry, abs=1e-6)
    assert ngram_table(model, tokenizer.names).scores.shape[1] == tokenizer.vocab_size


def test_of_a_text(run_process: Run, tmp_path: Path):
    text, output = tmp_path / 'text.txt', tmp_path / 'model.arpa'
    text.write_text('Hello, World!\n\nHello (cough) you 2\n')
    result = run_process('-m', 'bljust_jax.lm', f'--text={text}', '--order=2', f'--output={output}')
    assert result.returncode == 0, result.stderr
    tokenizer = CharTokenizer('hello world you two')
    expected = kneser_ney([words(tokenizer, line) for line in ('hello world', 'hello you two')], tokenizer.names, 2)
    assert read_arpa(output).entries.keys() == expected.entries.keys()
    assert ('o', '▁') in expected.entries


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        ((), 'error: Name a run by --workdir, a text by --text, or both (see --help).\n'),
        (('--text=none.txt',), 'error: --text=none.txt is no file.\n'),
        (('--workdir=none',), 'error: There is no run in none: config.json is missing.\n'),
        (('--text=README.md', '--order=0'), 'error: flag --order=0: 0 is not an integer in the range [1, 20]\n'),
        (('--text=README.md', '--output=none/x'), 'error: --output=none/x is no file in a folder that exists.\n'),
    ],
)
def test_mistakes_are_one_sentence(run_process: Run, tmp_path: Path, flags, sentence):
    result = run_process('-m', 'bljust_jax.lm', f'--output={tmp_path / "x"}', *flags)
    assert (result.returncode, result.stderr) == (2, sentence)
    assert not list(tmp_path.iterdir())


def test_a_text_without_words(run_process: Run, tmp_path: Path):
    text = tmp_path / 'text.txt'
    text.write_text('...\n')
    result = run_process('-m', 'bljust_jax.lm', f'--text={text}', f'--output={tmp_path / "x"}')
    assert (result.returncode, result.stderr) == (2, f'error: --text={text} has no words in it.\n')
