"""One cell of a comparison, in a process of its own, which does not outlive the one that started it.

python -m bljust_jax.comparison.cell FOLDER, with the config as one line of JSON on standard input, which stays open.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from bljust_jax import cli
from bljust_jax.config import from_config_dict
from bljust_jax.errors import UserError
from bljust_jax.memory import keep_freed_memory


def main(argv: list[str]) -> None:
    """Reads the config and trains."""
    if len(argv) != 2:
        raise UserError('This is started by bljust_jax.compare: name the folder of the run.')
    with open(sys.stdin.fileno(), 'rb', buffering=0, closefd=False) as pipe:
        config = from_config_dict(json.loads(pipe.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    keep_freed_memory()
    from bljust_jax.compilation import keep_compiled_programs, logged_compilations
    from bljust_jax.train import train

    keep_compiled_programs()
    with logged_compilations():
        train(config, Path(argv[1]))


def _end_with_parent() -> None:
    """Waits for the end of standard input, which comes when the parent ends, however it does."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == '__main__':
    cli.run(main)
