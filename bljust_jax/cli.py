"""What every command shares: absl flags, logging, and user errors as one sentence with exit code 2."""

import errno
import logging as std_logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from absl import app, flags, logging

from bljust_jax.config import Config, from_config_dict
from bljust_jax.errors import UserError

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def run(main: Callable[[list[str]], None]) -> None:
    """Runs `main` under absl; a `UserError`, a full disk or a lack of permission is one sentence and exit code 2."""

    def guarded(argv: list[str]) -> None:
        try:
            main(argv)
        except UserError as error:
            _fail(str(error))
        except KeyboardInterrupt:
            _fail('interrupted: the same command goes on from what is saved.', 130)
        except OSError as error:
            if error.errno in _FULL_DISK:
                _fail(f'The disk is full ({_where(error)}): free some space and run the same command again.')
            if error.errno in _FORBIDDEN:
                _fail(f'No permission for {_where(error)}: choose another folder or change its permissions.')
            raise

    try:
        app.run(guarded, flags_parser=_parse_flags)
    except UserError as error:
        _fail(str(error))


def refuse_arguments(argv: list[str]) -> None:
    """For a command that has flags only: `config.seed=1` without its dashes must not be passed over."""
    if argv[1:]:
        raise UserError(f'Unexpected argument {argv[1]!r}: flags are written --name=value (see --help).')


def config_of(flag: flags.FlagHolder) -> Config:
    """The checked config of a `--config` flag, overrides included.

    Raises:
      UserError: if its file cannot be read, and for what is wrong in it.
    """
    try:
        return from_config_dict(flag.value.to_dict())
    except OSError as error:  # ml_collections keeps a file that it could not load until it is used
        raise UserError('--config names a file that cannot be read: try --config=configs/conformer.py.') from error


def _parse_flags(argv: list[str]) -> list[str]:
    _log_what_matters()
    try:
        return app.parse_flags_with_usage(argv) if _wants_help(argv) else flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, SyntaxError, TypeError, ValueError) as error:
        # ml_collections raises AttributeError or KeyError for an unknown field, TypeError for a wrong type.
        raise UserError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    """The message alone, where ml_collections put a whole traceback around what a config file raised."""
    reason: Any = error
    while isinstance(reason, Exception) and reason.args:
        reason = reason.args[0]
    text = str(error if isinstance(error, SyntaxError) else reason)
    if missing := re.findall(r'flag (--\S+)=None: .* must have a value', text):
        return f'Missing: {" and ".join(missing)} (see --help).'
    if isinstance(error, AttributeError | KeyError):
        text = f'There is no such config field: {text}'.replace('\n', '. ')
    if 'Traceback' in text:
        text = text.strip().splitlines()[-1].partition(': ')[2]
    return ' '.join(text.split())


def _log_what_matters() -> None:
    """Logs this package's progress and everybody's warnings, each with the time of day."""
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(std_logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
    package = os.path.dirname(__file__)
    handler.addFilter(
        lambda record: (
            record.pathname.startswith(package)
            # Checkpointing logs tracebacks of every error that it raises, and of some that it gets over.
            or (record.levelno >= std_logging.WARNING and not {'orbax', 'asyncio'} & {*record.pathname.split(os.sep)})
        )
    )


def _wants_help(argv: list[str]) -> bool:
    return any(argument.startswith(('--help', '-help', '-h', '--h')) for argument in argv[1:])


def _where(error: OSError) -> str:
    return os.fspath(error.filename) if error.filename else str(error.strerror)


def _fail(sentence: str, code: int = 2) -> None:
    logging.flush()
    print(f'error: {sentence}', file=sys.stderr, flush=True)
    sys.exit(code)
