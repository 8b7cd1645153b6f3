"""A run's folder: its config, its tokenizer and the files it ends with."""

import errno
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bljust_jax.config import Config, NormaliserConfig, from_config_dict, to_config_dict
from bljust_jax.data.text import Tokenizer, load_tokenizer, save_normaliser
from bljust_jax.errors import UserError
from bljust_jax.files import write_atomically

_TEACHER = 'teacher.json'

# What may change between two sittings of one run, since its result does not depend on it.
_FREE = (
    'data.data_dir',
    'teacher.workdir',  # it must be the same teacher, in whatever folder
    'data.workers',
    'data.allow_leakage',
    'mesh.',
    'log_every_steps',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'eval.splits',
)


def open_workdir(workdir: Path, config: Config) -> None:
    """Makes the run folder, or checks that the run in it is of the same config.

    Raises:
      UserError: if it holds a run of a different config, naming the fields, or cannot be written.
    """
    make_folder(workdir)
    if not os.access(workdir, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(workdir))
    check_same(workdir, config)


def make_folder(workdir: Path) -> None:
    """Makes the folder that `--workdir` names, unless it is there.

    Raises:
      UserError: if it cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f'--workdir={workdir} is or lies below a file: name a folder.') from error
    except FileNotFoundError as error:  # in /proc, for one
        raise UserError(f'--workdir={workdir} cannot be made: name another folder.') from error


def check_same(workdir: Path, config: Config) -> None:
    """Checks that the run in `workdir`, if there is one, is of `config`, but for what may change between sittings.

    Raises:
      UserError: if it is not, naming the fields.
    """
    if not (workdir / 'config.json').exists():
        return
    before, now = (_flatten(to_config_dict(c).to_dict()) for c in (read_config(workdir), config))
    changed = [name for name in now if before[name] != now[name] and not name.startswith(_FREE)]
    if changed:
        changes = ', '.join(f'config.{name} was {before[name]!r} and is {now[name]!r}' for name in changed[:3])
        more = f', and {len(changed) - 3} more' if len(changed) > 3 else ''
        raise UserError(
            f'--workdir={workdir} holds a run of a different config ({changes}{more}): '
            'name another folder, or the same config to resume.'
        )


def check_teacher(workdir: Path, folder: Path, identity: Mapping[str, Any]) -> None:
    """Checks that the teacher in `folder` is the one that the run in `workdir` began with.

    Raises:
      UserError: if it is another, as the run would then not be the one that it began as.
    """
    path = workdir / _TEACHER
    if path.exists() and (kept := json.loads(path.read_text())) != identity:
        raise UserError(
            f'config.teacher.workdir={folder} is not the teacher that the run in {workdir} began with: its best '
            f'checkpoint is of step {identity["step"]}, and was of step {kept["step"]} and with other parameters. '
            'Name the folder of the old one, or begin anew with another --workdir.'
        )


def tokenizer_of_run(workdir: Path, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer that the run in `workdir` began with; of a new one, `tokenizer`, which is that of its corpus.

    Raises:
      UserError: if the two differ, as the labels would then mean something else than the run has learnt.
    """
    if not (workdir / 'tokenizer.json').exists():
        return tokenizer
    kept = read_tokenizer(workdir)
    if not same_tokenizer(kept, tokenizer):
        raise UserError(
            f'--workdir={workdir} holds a run with another tokenizer than the corpus in config.data.data_dir gives: '
            'name the data_dir that the run began with, or another folder.'
        )
    return kept


def same_tokenizer(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether both give the same labels to the same text."""
    return _content(one) == _content(other)


def save_setup(
    workdir: Path,
    config: Config,
    tokenizer: Tokenizer,
    teacher: Mapping[str, Any] | None = None,
    normaliser: NormaliserConfig | None = None,
) -> None:
    """Keeps config and tokenizer with the run, so that its folder is all that decoding needs, and who its teacher is.

    `normaliser` is that of its transcripts, if not the default one; `read_normaliser` finds it.

    It is for a set-up that works: a mistaken config that was written down would be in the way of the right one. A
    tokenizer that is there stays as it is; see `tokenizer_of_run`.
    """
    write_json(workdir / 'config.json', to_config_dict(config).to_dict())
    if not (workdir / 'tokenizer.json').exists():
        tokenizer.save(workdir / 'tokenizer.json')
    if normaliser is not None and normaliser != NormaliserConfig():
        save_normaliser(workdir, normaliser)
    if teacher is not None:
        write_json(workdir / _TEACHER, teacher)


def read_config(workdir: Path) -> Config:
    """The config of the run in `workdir`.

    Raises:
      UserError: if there is no run, or its config is damaged.
    """
    path = workdir / 'config.json'
    try:
        return from_config_dict(json.loads(path.read_text()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f'There is no run in {workdir}: {path.name} is missing.') from error
    except ValueError as error:
        raise UserError(f'{path} is damaged: {error}') from error


def read_tokenizer(workdir: Path) -> Tokenizer:
    """The tokenizer of the run in `workdir`."""
    return load_tokenizer(workdir / 'tokenizer.json')


def write_json(path: Path, value: Any) -> None:
    """Writes `value` atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + '\n')


def write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, atomically."""
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines))


def _content(tokenizer: Tokenizer) -> str:
    """What `tokenizer` writes when it is saved."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'tokenizer.json')
        tokenizer.save(path)
        return path.read_text(encoding='utf-8')


def _flatten(values: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f'{prefix}{name}.') if isinstance(value, Mapping) else {prefix + name: value}
    return flat
