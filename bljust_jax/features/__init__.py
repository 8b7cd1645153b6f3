"""Features computed on the device, inside jit."""

from bljust_jax.features.logmel import log_mel, utterances_of_frames
from bljust_jax.features.specaugment import spec_augment

__all__ = ['log_mel', 'spec_augment', 'utterances_of_frames']
