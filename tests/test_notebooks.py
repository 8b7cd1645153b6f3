"""The notebooks run, show what they show in the repository, and hold no logic."""

import ast
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from tests.runs import Run

pytest_plugins = ['tests.run_fixtures']

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / 'notebooks').glob('*.ipynb'))
NAMES = [path.stem for path in NOTEBOOKS]
QUICK = {'03_compare_strategies'}  # trains nothing
MOST_STATEMENTS = 10
MOST_LINES = 18  # the fields of a config have a line each
LARGEST = 300_000
# Folders of whoever ran it, and the time at which.
PERSONAL = re.compile(r'/(?:tmp|home|root|Users|mnt)/|\d\d:\d\d:\d\d')


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == 'code']


def texts(cell):
    """What a cell has written, pictures aside."""
    for output in cell.outputs:
        yield output.get('text', '')
        yield from (str(value) for kind, value in output.get('data', {}).items() if kind.startswith('text/'))


@pytest.fixture(scope='module', params=NOTEBOOKS, ids=NAMES)
def notebook(request: pytest.FixtureRequest):
    return nbformat.read(request.param, as_version=4)


def test_there_are_four():
    assert [name[:2] for name in NAMES] == ['01', '02', '03', '04']


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_it_runs(name: str, tmp_path: Path, run_process: Run):
    ignored = shutil.ignore_patterns('runs', '__pycache__')
    folder = shutil.copytree(ROOT / 'notebooks', tmp_path / 'notebooks', ignore=ignored)
    offline = dict.fromkeys(('http_proxy', 'https_proxy'), 'http://127.0.0.1:9')
    variables = {'PYTHONPATH': str(ROOT), **offline}
    result = run_process('-m', 'notebooks.execute', f'--folder={folder}', name, **variables)
    assert result.returncode == 0, result.stderr
    executed = nbformat.read(folder / f'{name}.ipynb', as_version=4)
    assert all(cell.execution_count for cell in code_cells(executed))
    assert any('image/png' in output.get('data', {}) for cell in code_cells(executed) for output in cell.outputs)


def test_it_is_committed_as_executed_from_top_to_bottom(notebook):
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert sum('image/png' in output.get('data', {}) for output in outputs) >= 1
    assert not any(output.output_type == 'error' or output.get('name') == 'stderr' for output in outputs)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=NAMES)
def test_it_is_small(path: Path):
    assert path.stat().st_size < LARGEST


def test_it_tells_nothing_of_the_machine(notebook):
    for cell in code_cells(notebook):
        for text in texts(cell):
            assert not PERSONAL.search(text), text


def test_it_holds_no_logic(notebook):
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= MOST_LINES, cell.source
        assert len(ast.parse(cell.source).body) <= MOST_STATEMENTS, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.If | ast.While | ast.Try | ast.Lambda), (
                cell.source
            )
            if isinstance(node, ast.For):
                assert node.end_lineno - node.lineno <= 3, cell.source


def test_every_picture_is_explained(notebook):
    """After a cell that shows something comes text."""
    for cell, following in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == 'code' and any('image/png' in output.get('data', {}) for output in cell.outputs):
            assert following.cell_type == 'markdown', cell.source
