"""Executes notebooks and keeps their outputs in them.

    python -m notebooks.execute [--folder=notebooks] [01_bljust_in_ten_minutes ...]

By default all of the folder, each from its beginning in a process of its own; their runs go to `runs/` beside them and
are made anew. It needs the extra `notebooks`.
"""

import argparse
import shutil
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMEOUT = 1800  # seconds for a cell, on a busy machine


def execute(path: Path) -> None:
    """Executes the notebook in `path` and writes it with its outputs, without the time that it took."""
    notebook = nbformat.read(path, as_version=4)
    resources = {'metadata': {'path': str(path.parent)}}
    client = NotebookClient(
        notebook, timeout=TIMEOUT, startup_timeout=TIMEOUT, record_timing=False, resources=resources
    )
    client.execute()
    notebook.metadata['language_info'] = {'name': 'python'}  # the version does not matter
    nbformat.write(notebook, path)


def main() -> None:
    """Executes what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', type=Path, default=Path(__file__).parent)
    parser.add_argument('names', nargs='*')
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in options.folder.glob('*.ipynb'))
    shutil.rmtree(options.folder / 'runs', ignore_errors=True)
    for name in names:
        began = time.monotonic()
        print(f'{name} ...', flush=True)
        execute(options.folder / f'{name}.ipynb')
        print(f'{name}: {time.monotonic() - began:.0f} s', flush=True)


if __name__ == '__main__':
    main()
