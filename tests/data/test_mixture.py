"""Several splits as one: how they are named, what an epoch holds of each, and that it is what the parts are."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.config import DataConfig
from bljust_jax.data.dataset import load_or_train_tokenizer, load_split
from bljust_jax.data.mixture import Ingredient, parse_mixture, repeated
from bljust_jax.data.subset import join, load_training_split
from bljust_jax.errors import UserError

pytest_plugins = ['tests.run_fixtures']


def test_splits_corpora_and_weights():
    assert parse_mixture('train', 'here', 'field') == [Ingredient('here', 'train', 1.0)]
    assert parse_mixture('train*2, other/train*0.5', 'here', 'field') == [
        Ingredient('here', 'train', 2.0), Ingredient('other', 'train', 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize('text', ['', 'a,', 'a*0', 'a*-1', 'a*nan', 'a*inf', 'a*x', 'a*1*2', 'a/b/c', '/a', 'a/'])
def test_what_is_no_mixture_is_told(text):
    with pytest.raises(UserError, match=r'config\.data\.labelled=.* is not a split'):
        parse_mixture(text, 'here', 'config.data.labelled')


def test_a_split_is_named_once():
    with pytest.raises(UserError, match='names here/a twice'):
        parse_mixture('a,here/a', 'here', 'config.data.labelled')


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0.1, 5.0)), min_size=1, max_size=4))
def test_everything_is_heard_in_proportion_to_its_weight(ingredients):
    sizes, weights = zip(*ingredients, strict=True)
    ids = np.array([f'{part}-{number}' for part, size in enumerate(sizes) for number in range(size)])
    numbers = repeated(ids, np.repeat(weights, sizes))
    counts = np.bincount(numbers, minlength=len(ids))
    expected = np.repeat(np.array(weights) / min(weights), sizes)
    assert counts.min() >= 1 and (np.abs(counts - expected) < 1).all() and (np.diff(numbers) >= 0).all()
    for part, size in enumerate(sizes):
        own = np.array([name.startswith(f'{part}-') for name in ids])
        assert abs(counts[own].mean() - expected[own][0]) < 2.5 / np.sqrt(size) + 1e-9


def test_a_mixture_is_its_parts(data_dir: Path):
    config = DataConfig(corpus='smoke', data_dir=str(data_dir), labelled='train_labelled,dev*2')
    mixed = load_training_split(config, labelled=True)
    parts = [load_split(data_dir, 'smoke', name) for name in ('train_labelled', 'dev')]
    assert len(mixed) == len(parts[0]) + 2 * len(parts[1]) and mixed.name == 'train_labelled,dev'
    assert mixed.hours == pytest.approx(parts[0].hours + 2 * parts[1].hours)
    assert set(mixed.ids.tolist()) == {*parts[0].ids.tolist(), *parts[1].ids.tolist()}
    for index in (0, 63, 64, 65, len(mixed) - 1):
        record = mixed.source[index]
        assert record['id'] == mixed.ids[index] and record['speaker'] == mixed.speakers[index]
        assert len(record['audio']) == mixed.samples[index] and len(record['text']) == mixed.characters[index]


def test_a_part_of_a_mixture(data_dir: Path):
    config = DataConfig(
        corpus='smoke', data_dir=str(data_dir), unlabelled='train_unlabelled,dev*3', unlabelled_hours=0.02
    )
    part = load_training_split(config, labelled=False)
    chosen, counts = np.unique(part.ids, return_counts=True)
    assert {int(count) for name, count in zip(chosen.tolist(), counts, strict=True) if name.startswith('dev')} == {3}
    assert 'text' not in part.source[len(part) - 1]


def test_utterances_of_several_corpora_are_told_apart(data_dir: Path):
    smoke = load_split(data_dir, 'smoke', 'dev')
    other = join([smoke, smoke.__class__(**{**vars(smoke), 'corpus': 'calls'})])
    assert len(set(other.ids.tolist())) == len(other) and other.ids[-1] == f'calls/{smoke.ids[-1]}'
    assert other.name == 'smoke/dev,calls/dev' and other.source[len(other) - 1]['id'] == smoke.ids[-1]


def test_the_tokenizer_knows_the_letters_of_all_its_splits(data_dir: Path):
    both = load_or_train_tokenizer(data_dir, 'smoke', split='dev,test')
    letters = {
        letter for name in ('dev', 'test') for letter in load_or_train_tokenizer(data_dir, 'smoke', split=name).names
    }
    assert set(both.names) == letters
    assert load_or_train_tokenizer(data_dir, 'smoke', split='dev,test').names == both.names
