"""Pieces of speech: where the speech is known, and what holds for any."""

import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
import soxr
from hypothesis import example, given, settings

from bljust_jax.data.corpora.espeak import Speaker
from bljust_jax.data.preparing import vad

RATE = 16_000
SENTENCES = (
    'The quick brown fox jumps over the lazy dog, and then it runs away.',
    'She sells sea shells on the sea shore every other morning.',
    'Nobody knows how many people were waiting at the station.',
)


def pieces(audio, least=2.0, most=20.0, cuts=()):
    return list(vad.speech_pieces(np.split(audio, cuts), min_seconds=least, max_seconds=most))


def noise(samples, level, seed=0):
    return level * np.random.default_rng(seed).standard_normal(samples)


def int16(audio):
    return np.clip(np.round(audio), -(2**15), 2**15 - 1).astype(np.int16)


def marked(intervals, samples):
    mask = np.zeros(samples, bool)
    for start, end in intervals:
        mask[start:end] = True
    return mask


@pytest.fixture(scope='module')
def spoken():
    """Sentences as eSpeak says them, float64 [samples] at 16 kHz, about 3 s each."""
    pytest.importorskip('espeakng_loader')
    speaker = Speaker()
    said = [speaker.say(text, 'en-us', words_per_minute=160).astype(np.float64) for text in SENTENCES]
    return [soxr.resample(audio, speaker.rate, RATE) for audio in said]


@pytest.fixture(scope='module')
def recording(spoken):
    """Sentences with pauses of 0.2 to 9 s between them, float64 [samples], and where each is."""
    parts, places, at = [], [], 0
    for number, pause in enumerate([3.0, 0.2, 5.0, 1.0, 9.0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 4.0]):
        sentence = spoken[number % len(spoken)]
        at += round(pause * RATE)
        parts += [np.zeros(round(pause * RATE)), sentence]
        places.append((at, at + len(sentence)))
        at += len(sentence)
    return np.concatenate([*parts, np.zeros(6 * RATE)]), places


@pytest.mark.parametrize('snr', [None, 20, 10, 0])
def test_speech_is_found_and_long_pauses_are_not(recording, snr):
    audio, places = recording
    speech = marked(places, len(audio))
    if snr is not None:
        audio = audio + noise(len(audio), np.sqrt(np.mean(audio[speech] ** 2) / 10 ** (snr / 10)))
    found = marked(pieces(int16(audio)), len(audio))
    assert found[speech].mean() >= (0.98 if snr != 0 else 0.9)
    assert speech[found].mean() >= 0.85
    assert not found[: 2 * RATE].any() and not found[-5 * RATE :].any()


def test_a_pause_parts_pieces_and_a_short_one_does_not(spoken):
    for pause, expected in ((0.2, 1), (1.0, 2)):
        audio = np.concatenate([np.zeros(RATE), spoken[0], np.zeros(round(pause * RATE)), spoken[1], np.zeros(RATE)])
        assert len(pieces(int16(audio))) == expected


@pytest.mark.parametrize('audio', [np.zeros(30 * RATE), noise(30 * RATE, 1000.0)], ids=['silence', 'noise'])
def test_without_speech_there_are_none(audio):
    assert pieces(int16(audio)) == []


def test_a_click_is_not_speech(spoken):
    audio = np.zeros(20 * RATE)
    audio[RATE * 5 : RATE * 5 + 400] = spoken[0][8000:8400]
    assert pieces(int16(audio)) == []


@settings(max_examples=10)
@given(st.lists(st.integers(0, 20 * RATE), max_size=30), st.integers(0, 255))
@example([1, 1, 2, 300], 7)
def test_how_a_recording_is_cut_into_blocks_changes_nothing(recording, cuts, lost):
    audio = int16(recording[0])[: 21 * RATE - lost]
    assert pieces(audio, cuts=sorted(cuts)) == pieces(audio)


def test_a_block_that_is_not_int16_samples_is_refused():
    for block in (np.zeros(1000), np.zeros((2, 1000), np.int16)):
        with pytest.raises(ValueError, match='int16'):
            list(vad.speech_pieces([block], min_seconds=2, max_seconds=20))


@pytest.mark.parametrize(('least', 'most'), [(2, 3.9), (0, 20), (-1, 20), (2, 2)])
def test_lengths_that_leave_speech_uncut_are_refused(least, most):
    with pytest.raises(ValueError, match='min_seconds'):
        list(vad.speech_pieces([], min_seconds=least, max_seconds=most))


def cut(speech, levels, least, most):
    cutter = vad._Cutter(least, most)
    for frame in zip(speech, levels, strict=True):
        cutter.add(*frame)
    cutter.finish()
    return list(cutter.pieces)


runs = st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=20)


@settings(max_examples=300)
@given(runs, st.integers(1, 130), st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_pieces_are_in_order_apart_within_bounds_and_hold_all_speech(runs, least, spare, seed):
    most = 2 * least + spare
    speech = [is_speech for is_speech, length in runs for _ in range(length)]
    found = cut(speech, np.random.default_rng(seed).random(len(speech)), least, most)
    edges = [edge for piece in found for edge in piece]
    assert edges == sorted(edges) and all(0 <= edge <= len(speech) for edge in edges)
    assert all(least <= end - start <= most for start, end in found)
    inside = marked(found, len(speech))
    at = 0
    for is_speech, together in _grouped(speech):
        if is_speech and together >= vad._SHORTEST_RUN and len(speech) >= least:
            assert inside[at : at + together].all()
        at += together


def _grouped(values):
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)] if len(values) else [0]
    return [(values[start], end - start) for start, end in itertools.pairwise(edges)]


def test_long_speech_is_cut_at_its_quietest_moment():
    levels = np.full(1500, 60.0)
    levels[690:712] = 20.0  # the longest pause
    levels[900:904] = 0.0  # a short one
    speech = np.ones(1500, bool)
    speech[690:712] = speech[900:904] = False
    [first, second] = cut(speech, levels, 100, 1000)
    assert 695 <= first[1] <= 707 and second == (first[1], 1500)


def test_short_speech_takes_in_what_surrounds_it():
    speech = np.zeros(1000, bool)
    speech[480:520] = True
    [(start, end)] = cut(speech, np.zeros(1000), 125, 1250)
    assert end - start == 125 and start < 480 - 30 and end > 520 + 30


def test_no_more_than_a_piece_is_kept_of_speech_without_a_pause():
    cutter = vad._Cutter(125, 1250)
    for number in range(60_000):
        cutter.add(True, float(number % 7))
        assert len(cutter._levels) <= 1250 + 125 + 10
    assert len(cutter.pieces) >= 60_000 // 1250


@pytest.mark.corpus
@pytest.mark.parametrize('snr', [None, 20, 10, 0])
def test_real_speech_is_found(snr):
    from bljust_jax.data.dataset import default_data_dir, load_split
    from bljust_jax.prepare import prepare_corpus

    prepare_corpus('phone_prompts', default_data_dir())
    source = load_split(default_data_dir(), 'phone_prompts', 'test').source
    random, parts, places, at = np.random.default_rng(0), [], [], 0
    for record in source:
        pause = round(random.uniform(0.2, 4) * RATE)
        audio = record['audio'].astype(np.float64)
        parts += [np.zeros(pause), audio]
        loud = np.flatnonzero(np.abs(audio) > np.abs(audio).max() / 30)
        places.append((at + pause + loud[0], at + pause + loud[-1]))
        at += pause + len(audio)
    audio = np.concatenate(parts)
    speech = marked(places, len(audio))
    if snr is not None:
        audio = audio + noise(len(audio), np.sqrt(np.mean(audio[speech] ** 2) / 10 ** (snr / 10)))
    found = marked(pieces(int16(audio)), len(audio))
    assert found[speech].mean() >= 0.95
    assert speech[found].mean() >= 0.7
