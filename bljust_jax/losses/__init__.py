"""Losses on arrays, `supervised/` and `unsupervised/`."""

from bljust_jax.losses.supervised.attention import attention_loss
from bljust_jax.losses.supervised.ctc import ctc_loss
from bljust_jax.losses.supervised.rnnt import rnnt_joint_loss, rnnt_loss

__all__ = ['attention_loss', 'ctc_loss', 'rnnt_joint_loss', 'rnnt_loss']
