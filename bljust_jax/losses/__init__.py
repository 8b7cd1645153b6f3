"""Losses on arrays (`supervised/`, `unsupervised/`) and the objectives built from them (`objectives.py`)."""

from bljust_jax.losses.supervised.ctc import ctc_loss

__all__ = ['ctc_loss']
