"""eSpeak NG through ctypes: text in, samples out. Its library and data come inside the wheel `espeakng-loader`."""

import ctypes
import threading
from pathlib import Path

import numpy as np

from bljust_jax.errors import UserError

# Values of espeak-ng's `speak_lib.h`.
_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _PITCH_RANGE = 1, 2, 3, 4
# Below eSpeak's usual 100, at which its louder voices clip.
_HEADROOM = 60
_SEED = 1

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Speaker:
    """The one voice box of this process.

    eSpeak keeps all its state in globals and is not thread-safe: a second `Speaker` is the same one, and threads take
    turns. Part of that state, such as the flutter of a voice, runs on from one text to the next: the same texts in the
    same order from the start of a process give the same samples.

    Attributes:
        rate: samples a second of what it says.

    Raises:
        UserError: the wheel is not installed, or its library cannot be loaded.
    """

    _turn = threading.Lock()

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise UserError("eSpeak NG is not installed: pip install 'bljust_jax[synth]'.") from error
        try:
            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise UserError(f"eSpeak NG cannot be loaded ({error}): pip install 'bljust_jax[synth]' again.") from error
        self._said: list[bytes] = []
        self._callback = _Callback(self._receive)  # kept: the library does not own it
        with self._turn:
            data = str(Path(espeakng_loader.get_data_path())).encode()
            self.rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, _DO_NOT_EXIT)
            if self.rate <= 0:
                raise UserError("eSpeak NG does not find its data: pip install 'bljust_jax[synth]' again.")

    def say(
        self, text: str, voice: str, *, words_per_minute: int = 175, pitch: int = 50, liveliness: int = 50
    ) -> np.ndarray:
        """Speaks `text`: int16 [samples] at `rate`.

        Args:
            text: what to say.
            voice: language and variant as eSpeak names them, such as `en-us+f3`.
            words_per_minute: from 80 to 450.
            pitch: from 0 to 100, within the range of the voice.
            liveliness: range of the pitch, from 0 (monotonous) to 100.

        Raises:
            ValueError: eSpeak has no such voice.
        """
        with self._turn:
            self._library.espeak_SetSynthCallback(self._callback)
            if self._library.espeak_SetVoiceByName(voice.encode()):
                raise ValueError(f'eSpeak NG has no voice {voice!r}')
            settings = {_RATE: words_per_minute, _PITCH: pitch, _PITCH_RANGE: liveliness, _VOLUME: _HEADROOM}
            for parameter, value in settings.items():
                self._library.espeak_SetParameter(parameter, value, 0)
            self._said.clear()
            self._library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # else breath is seeded by the clock
            encoded = text.encode() + b'\0'
            self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
            return np.frombuffer(b''.join(self._said), np.int16)

    def _receive(self, samples: int | None, count: int, events: int | None) -> int:
        del events
        if samples and count:
            self._said.append(ctypes.string_at(samples, count * np.dtype(np.int16).itemsize))
        return 0  # go on
