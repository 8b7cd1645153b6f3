import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bljust_jax.data.augment import change_speed


def tone(hertz, samples=16000):
    return (10000 * np.sin(2 * np.pi * hertz * np.arange(samples) / 16000)).astype(np.int16)


def pitch(audio):
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio))))
    return spectrum.argmax() * 16000 / len(audio)


@settings(max_examples=60)
@given(st.integers(0, 4000), st.floats(0.5, 2.0))
def test_length_is_exact(samples, factor):
    changed = change_speed(tone(300, samples), factor)
    assert changed.dtype == np.int16
    assert changed.shape == (round(samples / factor),)


@pytest.mark.parametrize('factor', [0.9, 1.1])
@pytest.mark.parametrize('hertz', [200, 1000, 6000])
def test_pitch_follows_speed_without_aliases(factor, hertz):
    changed = change_speed(tone(hertz), factor)
    assert pitch(changed) == pytest.approx(hertz * factor, rel=0.01)
    power = np.abs(np.fft.rfft(changed * np.hanning(len(changed)))) ** 2
    peak = power.argmax()
    assert power[max(peak - 5, 0) : peak + 6].sum() > 0.999 * power.sum()


def test_factor_one_returns_the_input():
    audio = tone(300)
    assert change_speed(audio, 1.0) is audio


def test_same_input_same_output():
    audio = tone(440)
    np.testing.assert_array_equal(change_speed(audio, 1.1), change_speed(audio.copy(), 1.1))


def test_loud_audio_is_clipped_not_wrapped():
    square = np.where(np.arange(4000) // 50 % 2, 32767, -32768).astype(np.int16)
    changed = change_speed(square, 0.9)
    inside = (np.arange(4000) % 50 == 25) & (square > 0)
    assert (changed[np.rint(np.flatnonzero(inside) / 0.9).astype(int)] > 20000).all()


def test_empty_audio():
    assert change_speed(np.zeros(0, np.int16), 0.9).shape == (0,)


@pytest.mark.parametrize(
    ('audio', 'factor', 'message'),
    [
        (np.zeros(9, np.float32), 1.0, 'float32'),
        (np.zeros((9, 2), np.int16), 0.9, r'\(9, 2\)'),
        (np.zeros(9, np.int16), 0, 'factor must be positive, not 0'),
        (np.zeros(9, np.int16), float('nan'), 'factor must be positive, not nan'),
    ],
)
def test_wrong_arguments(audio, factor, message):
    with pytest.raises(ValueError, match=message):
        change_speed(audio, factor)
