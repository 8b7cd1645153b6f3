"""Keeping a normaliser beside the transcripts that it has written, so that others are normalised alike."""

import dataclasses
import json
from pathlib import Path

from bljust_jax.config import NormaliserConfig
from bljust_jax.config.checks import check
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

_FILE = 'normaliser.json'


def save_normaliser(folder: Path, config: NormaliserConfig) -> None:
    """Writes `config` into the folder of a corpus or of a run."""
    write_atomically(folder / _FILE, json.dumps(dataclasses.asdict(config), indent=2, ensure_ascii=False) + '\n')


def read_normaliser(folder: Path) -> NormaliserConfig:
    """The normaliser of a corpus or a run by its folder; the default one where none was kept.

    Raises:
      UserError: the file is damaged.
    """
    path = folder / _FILE
    try:
        config = NormaliserConfig(**json.loads(path.read_text(encoding='utf-8')))
        check(config, 'text')
    except FileNotFoundError:
        return NormaliserConfig()
    except (ValueError, TypeError) as error:
        raise UserError(f'{path} is not a normaliser of bljust_jax: {error}') from error
    return config
