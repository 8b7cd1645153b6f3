"""Features computed on the device, inside jit."""

from bljust_jax.features.logmel import log_mel
from bljust_jax.features.specaugment import spec_augment

__all__ = ['log_mel', 'spec_augment']
