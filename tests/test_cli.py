"""How a command ends, in processes of their own: absl keeps flags and handlers for the whole process."""

import subprocess
import sys

import pytest


def run(body: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command whose `main(argv)` has this body."""
    imports = 'from bljust_jax import cli\nfrom bljust_jax.errors import UserError'
    program = f'{imports}\ndef main(argv):\n    {body}\ncli.run(main)'
    return subprocess.run([sys.executable, '-c', program, *arguments], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ('body', 'code', 'sentence'),
    [
        ('raise UserError("Name a folder.")', 2, 'error: Name a folder.'),
        ('raise OSError(28, "No space left on device", "/data/x")', 2, 'error: The disk is full (/data/x): free'),
        ('raise OSError(27, "File too large")', 2, 'error: The disk is full (File too large): free'),
        ('raise PermissionError(13, "Permission denied", "/data/x")', 2, 'error: No permission for /data/x: '),
        ('raise OSError(30, "Read-only file system", "/data/x")', 2, 'error: No permission for /data/x: '),
        ('raise KeyboardInterrupt', 130, 'error: interrupted: the same command goes on'),
        ('cli.refuse_arguments(argv)', 2, "error: Unexpected argument 'seed=1'"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(body: str, code: int, sentence: str):
    result = run(body, 'seed=1')
    assert result.returncode == code
    assert result.stderr.startswith(sentence) and result.stderr.count('\n') == 1
    assert result.stdout == ''


def test_what_the_user_cannot_mend_keeps_its_traceback():
    for error in ('ValueError', 'FileNotFoundError'):
        result = run(f'raise {error}("ours")')
        assert result.returncode == 1 and 'Traceback' in result.stderr and f'{error}: ours' in result.stderr


def test_success():
    result = run('print("done")')
    assert (result.returncode, result.stdout, result.stderr) == (0, 'done\n', '')


def test_a_missing_flag_is_named():
    flag = 'flags.DEFINE_string("workdir", None, "", required=True)'
    program = f'from absl import flags; from bljust_jax import cli; {flag}; cli.run(print)'
    result = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, 'error: Missing: --workdir (see --help).\n')


def test_help_is_no_mistake():
    result = run('raise SystemExit(9)', '--help')
    assert 'flags' in result.stdout + result.stderr and 'error:' not in result.stderr


def test_progress_and_warnings_are_logged_but_not_the_chatter_of_libraries():
    body = (
        'import logging; from absl import logging as absl_logging; '
        'absl_logging.info("chatter"); absl_logging.warning("of note"); '
        'log = lambda level, path: logging.getLogger().handle('
        'logging.LogRecord("x", level, path, 1, "from " + path, (), None)); '
        'log(20, cli.__file__); log(40, "/lib/orbax/save.py"); log(40, "/lib/python/asyncio/tasks.py")'
    )
    lines = [line.split(' ', 1)[1] for line in run(body).stderr.splitlines()]
    assert lines[0] == 'of note' and lines[1].startswith('from ') and lines[1].endswith('cli.py') and len(lines) == 2
