"""Centred kernel alignment: how alike two representations of the same frames are."""

import numpy as np

from bljust_jax.errors import UserError
from bljust_jax.probe.outputs import Outputs


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Linear CKA of two representations (Kornblith et al., ICML 2019, arXiv 1905.00414): 0 unlike, 1 alike.

    With columns centred to mean 0,

        CKA(x, y) = ‖yᵀ x‖² / (‖xᵀ x‖ ‖yᵀ y‖)        Frobenius norms

    which is the same for a rotated, mirrored or scaled x, but not for just any linear map of it. It is too high where
    there are not many more frames than features.

    Args:
      x: `[frame, width]`.
      y: the same frames, `[frame, other width]`.

    Returns:
      A number from 0 to 1; NaN if x or y is the same in all frames.

    Raises:
      ValueError: if x and y are not matrices with equally many rows.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f'linear_cka takes [frame, width] of the same frames twice, not {x.shape} and {y.shape}.')
    x, y = (side - side.mean(axis=0) for side in (x.astype(np.float64), y.astype(np.float64)))
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms) if norms else float('nan')


def layer_cka(one: Outputs, other: Outputs) -> np.ndarray:
    """Linear CKA of every layer of `one` with every layer of `other`, float64 `[layers of one, layers of other]`.

    Raises:
      UserError: if the two are not of the same frames.
    """
    if [list(lengths) for lengths in one.lengths] != [list(lengths) for lengths in other.lengths]:
        raise UserError(
            'The layers of two encoders can be compared frame by frame only on the same split, and if both have '
            'equally many frames: the same config.log_mel.hop and the same subsampling.'
        )
    theirs = [other.frames(name) for name in other.layers]
    return np.array([[linear_cka(mine, frames) for frames in theirs] for mine in map(one.frames, one.layers)])
