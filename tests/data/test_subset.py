"""Parts of a split: nested, in proportion, never over by an utterance; and a corpus that does not know its speakers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.config import SAMPLE_RATE, DataConfig
from bljust_jax.data.dataset import load_split, open_split, sidecar_path, speakers_of, texts_of
from bljust_jax.data.subset import choose, load_training_split
from bljust_jax.errors import UserError

pytest_plugins = ['tests.run_fixtures']

splits = st.lists(st.tuples(st.integers(1, 20 * SAMPLE_RATE), st.sampled_from('abcd')), min_size=1, max_size=60).map(
    lambda rows: (
        np.array([samples for samples, _ in rows], np.int32),
        np.array([speaker for _, speaker in rows]),
        np.array([f'utterance-{number}' for number in range(len(rows))]),
    )
)
fractions = st.floats(0.001, 1.0)


def hours_of(samples: np.ndarray) -> float:
    return float(samples.sum(dtype=np.int64)) / SAMPLE_RATE / 3600


@given(splits, fractions)
def test_a_part_is_over_by_less_than_an_utterance(split, fraction):
    samples = split[0]
    hours = fraction * hours_of(samples)
    over = hours_of(samples[choose(*split, hours)]) - hours
    assert -1e-9 <= over <= samples.max() / SAMPLE_RATE / 3600


@given(splits, fractions, fractions)
def test_a_part_is_inside_every_larger_one(split, one, other):
    total = hours_of(split[0])
    smaller, larger = (set(choose(*split, fraction * total)) for fraction in sorted((one, other)))
    assert smaller <= larger


@given(splits, fractions)
def test_speakers_keep_their_shares(split, fraction):
    """Each has the same fraction of his or her speech in it, but for one utterance."""
    samples, speakers, _ = split
    chosen = choose(*split, fraction * hours_of(samples))
    actual = samples[chosen].sum() / samples.sum()
    longest = samples.max() / samples.sum()
    for speaker in set(speakers):
        own = samples[speakers == speaker]
        part = samples[chosen][speakers[chosen] == speaker].sum()
        assert abs(part - actual * own.sum()) <= own.max() + own.sum() * len(set(speakers)) * longest


@given(splits, fractions, st.randoms(use_true_random=False))
def test_the_order_of_a_split_does_not_matter(split, fraction, random):
    samples, speakers, ids = split
    order = np.array(random.sample(range(len(ids)), len(ids)))
    hours = fraction * hours_of(samples)
    again = choose(samples[order], speakers[order], ids[order], hours)
    assert set(ids[order][again]) == set(ids[choose(*split, hours)])


def test_equal_utterances_of_two_speakers_are_taken_in_turn():
    speakers = np.array(['a'] * 6 + ['b'] * 3)
    chosen = choose(np.full(9, 3600 * SAMPLE_RATE, np.int32), speakers, np.arange(9).astype(str), 3.0)
    assert sorted(speakers[chosen]) == ['a', 'a', 'b']


def test_a_whole_split_is_left_as_it_is(data_dir: Path):
    config = DataConfig(corpus='smoke', data_dir=str(data_dir))
    assert len(load_training_split(config, labelled=True)) == 64


def test_a_part_of_a_corpus(data_dir: Path):
    config = DataConfig(corpus='smoke', data_dir=str(data_dir), labelled_hours=0.008, unlabelled_hours=0.01)
    part = load_training_split(config, labelled=True)
    whole = load_split(data_dir, 'smoke', 'train_labelled')
    assert 0.008 <= part.hours < 0.009 and len(part) < len(whole)
    for index, name in enumerate(part.ids):
        assert part.source[index]['id'] == name and len(part.source[index]['audio']) == part.samples[index]
        assert part.source[index]['speaker'] == part.speakers[index]
    assert [len(text) for text in texts_of(part)] == part.characters.tolist()
    assert 'text' not in load_training_split(config, labelled=False).source[0]


def test_more_than_there_is(data_dir: Path):
    config = DataConfig(corpus='smoke', data_dir=str(data_dir), unlabelled_hours=0.5)
    with pytest.raises(
        UserError, match=r'data.unlabelled_hours=0.5 is more than the 0.027 h of smoke train_unlabelled'
    ):
        load_training_split(config, labelled=False)


def test_a_corpus_prepared_before_speakers_were_noted(data_dir: Path, tmp_path: Path):
    folder = tmp_path / 'smoke' / '1.0.0'
    folder.mkdir(parents=True)
    for path in (data_dir / 'smoke' / '1.0.0').glob('*.*'):
        (folder / path.name).symlink_to(path)
    path = sidecar_path(folder, 'dev')
    with np.load(path) as sidecar:
        noted, columns = sidecar['speakers'], {name: sidecar[name] for name in sidecar if name != 'speakers'}
    path.unlink()
    np.savez(path, **columns)
    assert speakers_of(open_split(folder, 'smoke', 'dev')).tolist() == noted.tolist() == ['low', 'high'] * 6
