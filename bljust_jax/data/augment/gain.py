"""Louder or quieter."""

import numpy as np


def amplify(audio: np.ndarray, decibels: float) -> np.ndarray:
    """`audio`, floats `[samples]`, times 10^(decibels / 20)."""
    return audio * np.float32(10 ** (decibels / 20))
