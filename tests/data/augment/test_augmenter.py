import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve

from bljust_jax.config import AugmentConfig, Config, from_config_dict
from bljust_jax.data.augment import add_noise, amplify, find_recordings, make_augmenter, reverberate
from bljust_jax.errors import UserError


def wave(samples=16000, seed=0, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def speech(samples=16000, seed=0):
    return np.rint(wave(samples, seed) * 32768).astype(np.int16)


def power(audio):
    return float(np.mean(np.square(audio.astype(np.float64))))


def decibels(ratio):
    return 10 * np.log10(ratio)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Noises at two rates, one in a folder below and one shorter than the speech, and impulse responses."""
    root = tmp_path_factory.mktemp('augment')
    (root / 'noise' / 'deep').mkdir(parents=True)
    (root / 'rooms').mkdir()
    soundfile.write(root / 'noise' / 'long.wav', wave(5 * 8000, 1), 8000)
    soundfile.write(root / 'noise' / 'deep' / 'short.flac', np.stack([wave(3000, 2), wave(3000, 3)], 1), 16000)
    (root / 'noise' / 'README.txt').write_text('not audio')
    for seed in range(2):
        soundfile.write(root / 'rooms' / f'{seed}.wav', wave(4000, seed) * np.exp(-np.arange(4000) / 500), 16000)
    return root


def everything(folders, **changes):
    fields = {'gain_db': (-6.0, 6.0), 'noise_dir': str(folders / 'noise'), 'reverb_dir': str(folders / 'rooms')}
    return AugmentConfig(**fields | changes)


@given(st.floats(-30, 40), st.integers(0, 100))
@settings(max_examples=40)
def test_the_ratio_of_speech_to_noise_is_the_one_asked_for(snr_db, seed):
    audio, noise = wave(seed=seed), wave(seed=seed + 1000, level=0.003)
    added = add_noise(audio.astype(np.float64), noise, snr_db) - audio
    assert decibels(power(audio) / power(added)) == pytest.approx(snr_db, abs=1e-3)


def test_silence_has_no_ratio():
    silent = np.zeros(16000, np.float32)
    np.testing.assert_array_equal(add_noise(silent, wave(), 5), silent)
    np.testing.assert_array_equal(add_noise(wave(), silent, 5), wave())
    with pytest.raises(ValueError, match=r'\(3,\), and audio \(4,\)'):
        add_noise(wave(4), wave(3), 5)


@given(st.floats(-40, 20))
def test_gain_is_in_decibels(gain):
    assert decibels(power(amplify(wave(), gain)) / power(wave())) == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize(('taps', 'delay'), [(1, 0), (800, 0), (800, 300)])
def test_a_single_echo_is_the_identity(taps, delay):
    response = np.zeros(taps, np.float32)
    response[delay] = 0.4
    np.testing.assert_allclose(reverberate(wave(), response), wave(), atol=1e-6)


def test_reverberation_is_a_convolution_as_loud_and_as_long_as_the_speech():
    audio, response = wave(), wave(2000, 1) * np.exp(-np.arange(2000) / 300)
    response[100] = 1.0
    wet = reverberate(audio, response.astype(np.float32))
    assert wet.shape == audio.shape
    assert power(wet) == pytest.approx(power(audio), rel=1e-4)
    expected = convolve(audio.astype(np.float64), response, method='direct')[100 : 100 + len(audio)]
    np.testing.assert_allclose(wet / wet.std(), expected / expected.std(), atol=1e-4)


def test_a_silent_response_is_an_error():
    with pytest.raises(ValueError, match=r'shape \(7,\) must not be silent'):
        reverberate(wave(), np.zeros(7, np.float32))
    np.testing.assert_array_equal(reverberate(np.zeros(9, np.float32), np.ones(2, np.float32)), np.zeros(9))


def test_nothing_asked_for_is_none():
    assert make_augmenter(AugmentConfig(), seed=0, stream='sup') is None


def test_the_measured_ratio_is_within_the_limits(folders):
    augment = make_augmenter(
        AugmentConfig(noise_dir=str(folders / 'noise'), noise_probability=1.0, snr_db=(3.0, 9.0)), seed=0, stream='sup'
    )
    audio = speech()
    ratios = [
        decibels(power(audio) / power(augment(audio, (step, 0, 0)).astype(np.float64) - audio)) for step in range(60)
    ]
    assert 2.95 < min(ratios) < 4.5 and 7.5 < max(ratios) < 9.05


def test_the_measured_gain_is_within_the_limits():
    augment = make_augmenter(AugmentConfig(gain_db=(-6.0, 6.0)), seed=0, stream='sup')
    gains = [decibels(power(augment(speech(), (step, 0, 0))) / power(speech())) for step in range(60)]
    assert -6.01 < min(gains) < -4 and 4 < max(gains) < 6.01


@pytest.mark.parametrize('kind', ['gain', 'noise', 'reverb'])
def test_probabilities(folders, kind):
    fields = {'gain_probability': 0.0, 'noise_probability': 0.0, 'reverb_probability': 0.0}
    augment = make_augmenter(everything(folders, **fields | {f'{kind}_probability': 0.3}), seed=0, stream='sup')
    audio = speech(500)
    changed = sum((augment(audio, (step, 0, 0)) != audio).any() for step in range(400))
    assert abs(changed - 120) < 4 * np.sqrt(400 * 0.3 * 0.7)


def test_what_is_drawn_depends_on_seed_stream_and_place_alone(folders):
    config = everything(folders, noise_probability=1.0)
    places = [(step, row, piece) for step in range(3) for row in range(2) for piece in range(2)]

    def heard(seed, stream, order):
        augment = make_augmenter(config, seed=seed, stream=stream)
        return {place: augment(speech(), place).tobytes() for place in order}

    first = heard(0, 'sup', places)
    assert len(set(first.values())) == len(places)
    assert heard(0, 'sup', places[::-1]) == first
    others = [heard(1, 'sup', places), heard(0, 'unsup', places)]
    assert not set(first.values()) & {audio for other in others for audio in other.values()}


@given(st.integers(0, 3000), st.floats(0.01, 1.0), st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_length_and_type_stay(folders, samples, level, step):
    audio = np.rint(wave(samples, level=level).clip(-1, 1) * 32767).astype(np.int16)
    augmented = make_augmenter(everything(folders), seed=0, stream='sup')(audio, (step, 0, 0))
    assert augmented.dtype == np.int16 and augmented.shape == audio.shape


def test_too_loud_saturates_and_does_not_wrap_around():
    square = np.where(np.arange(4000) // 50 % 2, 32767, -32768).astype(np.int16)
    augmented = make_augmenter(AugmentConfig(gain_db=(6.0, 20.0)), seed=0, stream='sup')(square, (0, 0, 0))
    np.testing.assert_array_equal(augmented, square)


def test_recordings_are_those_of_the_folder_in_order_at_16_khz(folders):
    noises = find_recordings(str(folders / 'noise'), 'field')
    assert [path.name for path in noises.paths] == ['short.flac', 'long.wav']
    assert noises.seconds == pytest.approx([3000 / 16000, 5.0])
    assert noises.whole(1).shape == (80000,)
    np.testing.assert_allclose(noises.whole(0), wave(3000, 2), atol=1e-4)
    assert noises.whole(0) is noises.whole(0)


def test_short_recordings_go_on_from_their_beginning(folders):
    noises = find_recordings(str(folders / 'noise'), 'field')
    part = noises.part(0, 0.5, 8000)
    np.testing.assert_array_equal(part, np.tile(noises.whole(0), 4)[1500 : 1500 + 8000])
    assert noises.part(0, 0.3, 0).shape == (0,)


@pytest.mark.parametrize('rate', [16000, 44100])
def test_a_part_of_a_long_recording_is_read_by_itself(tmp_path, rate):
    times = np.arange(70 * rate) / rate
    soundfile.write(tmp_path / 'long.wav', 0.5 * np.sin(2 * np.pi * (100 + 5 * times) * times), rate)
    noises = find_recordings(str(tmp_path), 'field')
    part = noises.part(0, 0.5, 16000)
    at = 34.5 + np.arange(16000) / 16000
    np.testing.assert_allclose(part[500:-500], 0.5 * np.sin(2 * np.pi * (100 + 5 * at) * at)[500:-500], atol=2e-2)
    assert noises.part(0, 0.999999, 16000).shape == (16000,)
    assert not noises._cache


def test_folders_that_do_not_do(tmp_path):
    def augmenter(**fields):
        return make_augmenter(AugmentConfig(**fields), seed=0, stream='sup')

    with pytest.raises(UserError, match='noise_dir=.*missing.* is not a folder'):
        augmenter(noise_dir=str(tmp_path / 'missing'))
    (tmp_path / 'notes.txt').write_text('none')
    with pytest.raises(UserError, match='reverb_dir=.* has no audio in it'):
        augmenter(reverb_dir=str(tmp_path))
    broken = tmp_path / 'broken.wav'
    broken.write_bytes(b'RIFF')
    with pytest.raises(UserError, match='broken.wav, in config.augment.noise_dir, cannot be read'):
        augmenter(noise_dir=str(tmp_path))
    soundfile.write(broken, np.zeros(0), 16000)
    with pytest.raises(UserError, match='broken.wav, in config.augment.noise_dir, is empty'):
        augmenter(noise_dir=str(tmp_path))
    soundfile.write(broken, np.zeros(31 * 8000), 8000)
    with pytest.raises(UserError, match='broken.wav, in config.augment.reverb_dir, has 31 s'):
        augmenter(reverb_dir=str(tmp_path))


def test_a_silent_response_is_told_by_its_name(tmp_path):
    soundfile.write(tmp_path / 'silent.wav', np.zeros(100), 16000)
    augment = make_augmenter(AugmentConfig(reverb_dir=str(tmp_path), reverb_probability=1.0), seed=0, stream='sup')
    with pytest.raises(UserError, match='silent.wav is silent'):
        augment(speech(), (0, 0, 0))


@pytest.mark.parametrize('limits', [(), (1.0,), (3.0, 1.0), (0.0, float('nan')), (0.0, 1.0, 2.0)])
@pytest.mark.parametrize('field', ['gain_db', 'snr_db'])
def test_limits_are_two_numbers_in_order(field, limits):
    with pytest.raises(UserError, match=rf'^config.augment.{field} must be two finite numbers'):
        Config(augment=AugmentConfig(**{field: limits}))


def test_configs_of_older_runs_augment_nothing():
    assert from_config_dict({'seed': 1}).augment == AugmentConfig()
