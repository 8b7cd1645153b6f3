"""The units that HuBERT predicts, as a file: the centroids of k-means, and what they are centroids of."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically


class Units(NamedTuple):
    """Units of speech.

    Attributes:
      centroids: `[unit, feature]`, float32.
      source: which features these are, in words that are the same for the same ones.
      teacher: SHA-256 of the parameters of the run whose layer they are of; empty for MFCC.
    """

    centroids: np.ndarray
    source: str
    teacher: str


def save_arrays(path: Path, **arrays: object) -> None:
    """Writes an `.npz` file in one move."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **{name: np.asarray(array) for name, array in arrays.items()})
    write_atomically(path, content.getvalue())


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file.

    Raises:
      UserError: it is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # a single array is no context manager
        raise UserError(f'{path} is damaged, or not a file of arrays.') from error


def load_units(path: Path) -> Units:
    """The units of a file that `python -m bljust_jax.units` made.

    Raises:
      UserError: it is no such file.
    """
    try:
        arrays = load_arrays(path)
        return Units(np.asarray(arrays['centroids'], np.float32), str(arrays['source']), str(arrays['teacher']))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f'There is no file {path}.') from error
    except KeyError as error:
        raise UserError(f'{path} holds no units: {error} is missing.') from error
