"""Trains, evaluates and reports.

python -m bljust_jax.main --config=configs/conformer.py[:preset] --workdir=DIR [--config.field=value ...]
"""

import dataclasses
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from bljust_jax import cli
from bljust_jax.errors import UserError
from bljust_jax.memory import keep_freed_memory


def main(argv: list[str]) -> None:
    """Reads the flags and trains."""
    cli.refuse_arguments(argv)
    if not _WORKDIR.value:
        raise UserError('--workdir is empty: name a folder.')
    config = cli.config_of(_CONFIG)
    if _ALLOW_LEAKAGE.value:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, allow_leakage=True))
    keep_freed_memory()
    # jax is slow to import, and a mistaken flag should be told at once.
    from bljust_jax.compilation import keep_compiled_programs, logged_compilations
    from bljust_jax.train import train

    keep_compiled_programs()
    with logged_compilations():
        train(config, Path(_WORKDIR.value).expanduser())


if __name__ == '__main__':
    _CONFIG = config_flags.DEFINE_config_file(
        'config', None, 'Config file, with a preset after a colon; --config.FIELD=VALUE overrides any field.'
    )
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; a run in it is resumed.', required=True)
    _ALLOW_LEAKAGE = flags.DEFINE_boolean(
        'allow_leakage',
        False,
        'Short for --config.data.allow_leakage: train on what is tested on, if an audit found that.',
    )
    flags.mark_flag_as_required('config')
    cli.run(main)
