"""The augmentation of a stream: reverberation, then noise, then gain, drawn for each piece of each row of each step."""

import zlib
from collections.abc import Callable

import numpy as np

from bljust_jax.config import AugmentConfig
from bljust_jax.data.augment.gain import amplify
from bljust_jax.data.augment.noise import add_noise
from bljust_jax.data.augment.recordings import Recordings, find_recordings
from bljust_jax.data.augment.reverb import reverberate
from bljust_jax.errors import UserError

Augmenter = Callable[[np.ndarray, tuple[int, int, int]], np.ndarray]

_LONGEST_RESPONSE = 30.0  # seconds
_INT16 = np.iinfo(np.int16)


def make_augmenter(config: AugmentConfig, *, seed: int, stream: str) -> Augmenter | None:
    """The function `(audio, (step, row, piece)) -> audio` of one stream; None if nothing is asked for.

    It takes and gives int16 `[samples]`. What it draws depends on the seed, the name of the stream and the place alone,
    not on what was drawn before: a run that resumes hears the same. What is too loud for int16 saturates.

    Raises:
      UserError: a folder of the config is missing, has no audio in it, or some that is damaged.
    """
    noises = find_recordings(config.noise_dir, 'config.augment.noise_dir') if config.noise_dir else None
    rooms = find_recordings(config.reverb_dir, 'config.augment.reverb_dir') if config.reverb_dir else None
    gains = config.gain_db if any(config.gain_db) else None
    if not (noises or rooms or gains):
        return None
    if rooms and max(rooms.seconds) > _LONGEST_RESPONSE:
        longest = rooms.paths[int(np.argmax(rooms.seconds))]
        raise UserError(
            f'{longest}, in config.augment.reverb_dir, has {max(rooms.seconds):.0f} s: an impulse response has at most '
            f'{_LONGEST_RESPONSE:.0f} s.'
        )
    name = zlib.crc32(stream.encode())

    def augment(audio: np.ndarray, place: tuple[int, int, int]) -> np.ndarray:
        random = np.random.default_rng([seed, name, *place])
        # All numbers are drawn, used or not, so that one kind of augmentation changes nothing of another.
        chances, choices, where, ratio, gain = random.random(3), random.random(2), *random.random(3)
        wave = audio.astype(np.float32) / -_INT16.min
        if rooms and chances[0] < config.reverb_probability:
            wave = reverberate(wave, _response(rooms, int(choices[0] * len(rooms))))
        if noises and chances[1] < config.noise_probability:
            noise = noises.part(int(choices[1] * len(noises)), where, len(wave))
            wave = add_noise(wave, noise, _between(config.snr_db, ratio))
        if gains and chances[2] < config.gain_probability:
            wave = amplify(wave, _between(gains, gain))
        return np.clip(np.rint(wave * -_INT16.min), _INT16.min, _INT16.max).astype(np.int16)

    return augment


def _response(rooms: Recordings, index: int) -> np.ndarray:
    """An impulse response, which must not be silent."""
    response = rooms.whole(index)
    if not response.any():
        raise UserError(f'{rooms.paths[index]} is silent and no impulse response: remove it.')
    return response


def _between(limits: tuple[float, ...], place: float) -> float:
    """The number at `place` in [0, 1) between the two limits."""
    low, high = limits
    return low + place * (high - low)
