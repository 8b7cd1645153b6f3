"""Augmentation of waveforms on the host; features are masked on the device (`features/specaugment.py`)."""

from bljust_jax.data.augment.augmenter import Augmenter, make_augmenter
from bljust_jax.data.augment.gain import amplify
from bljust_jax.data.augment.noise import add_noise
from bljust_jax.data.augment.recordings import Recordings, find_recordings
from bljust_jax.data.augment.reverb import reverberate
from bljust_jax.data.augment.speed import change_speed

__all__ = [
    'Augmenter',
    'Recordings',
    'add_noise',
    'amplify',
    'change_speed',
    'find_recordings',
    'make_augmenter',
    'reverberate',
]
