import gc
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging

from bljust_jax.checkpoint import abstract_like
from bljust_jax.config import MeshConfig
from bljust_jax.errors import UserError
from bljust_jax.sharding import make_mesh, state_shardings
from bljust_jax.types import TrainState
from tests.runs import assert_same_bits, on_one_device, open_checkpoints


def make_state(step: int) -> TrainState:
    kernel = jax.random.normal(jax.random.key(step), (100, 200))
    return TrainState(
        step=jnp.int32(step),
        params={'encoder': {'kernel': kernel}, 'heads': {'sup': {'bias': jnp.arange(3.0)}}},
        penalty=(jnp.int32(2 * step),),
        optimizer=({'mu': {'encoder': {'kernel': 2 * kernel}}},),
        drawn={'sup': jnp.int32(step)},
        seed=jnp.int32(7),
    )


# What orbax was reading when it met the damage complains that its event loop is closed.
pytestmark = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')

ABSTRACT = on_one_device(jax.eval_shape(lambda: make_state(0)))


def save(workdir: Path, scores: dict[int, float | None], **arguments) -> list[int]:
    """Saves states of these steps, with their CER on dev if it is not None; returns the steps that are kept."""
    with open_checkpoints(workdir, **arguments) as checkpoints:
        for step, score in scores.items():
            checkpoints.save(make_state(step), None if score is None else {'cer/dev': score, 'wer/dev': 1.0})
        checkpoints.wait()
        return checkpoints.steps


def latest(workdir: Path, abstract: TrainState = ABSTRACT) -> TrainState | None:
    with open_checkpoints(workdir) as checkpoints:
        return checkpoints.restore_latest(abstract)


def best_step(workdir: Path) -> int:
    with open_checkpoints(workdir) as checkpoints:
        step, params = checkpoints.restore_best_params(ABSTRACT.params)
    assert_same_bits(params, make_state(step).params)
    return step


@pytest.fixture
def warnings_logged() -> Iterator[list[str]]:
    """The warnings that the test logs."""
    messages: list[str] = []

    def note(record) -> bool:
        if record.levelno == 30 and record.pathname.endswith('bljust_jax/checkpoint.py'):
            messages.append(record.getMessage())
        return True

    logger = logging.get_absl_logger()
    logger.addFilter(note)
    yield messages
    logger.removeFilter(note)
    gc.collect()  # of the tasks that orbax leaves behind, whose errors are the test's


def test_the_state_comes_back_bit_for_bit(tmp_path: Path):
    assert latest(tmp_path) is None
    save(tmp_path, {3: None, 12: None})
    assert_same_bits(latest(tmp_path), make_state(12))


@pytest.mark.parametrize(
    ('keep', 'scores', 'kept', 'best'),
    [
        (2, {1: 0.5, 2: None, 3: 0.2, 4: None, 5: 0.9, 6: None, 7: None}, [3, 6, 7], 3),
        (1, {1: 0.5, 2: 0.4, 3: None}, [2, 3], 2),
        (1, {1: 0.5, 2: 0.3}, [2], 2),
        (3, {1: None, 2: None, 3: None, 4: None}, [2, 3, 4], 4),
    ],
)
def test_the_newest_and_the_best_are_kept(tmp_path: Path, keep: int, scores, kept: list[int], best: int):
    assert save(tmp_path, scores, keep=keep) == kept
    assert sorted(int(path.name) for path in (tmp_path / 'checkpoints').iterdir()) == kept
    assert best_step(tmp_path) == best


def test_the_best_is_still_known_after_a_restart(tmp_path: Path):
    save(tmp_path, {1: 0.5, 2: 0.1, 3: 0.7})
    assert save(tmp_path, {4: 0.6, 5: None, 6: None}) == [2, 5, 6]
    assert best_step(tmp_path) == 2


def test_of_equally_good_ones_the_earliest_that_is_kept(tmp_path: Path):
    save(tmp_path, {1: 0.5, 2: 0.5})
    assert best_step(tmp_path) == 1


def truncate(checkpoint: Path) -> None:
    for path in checkpoint.rglob('d/*'):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(checkpoint: Path) -> None:
    (checkpoint / 'state' / '_METADATA').write_text('nonsense')


def empty(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    checkpoint.mkdir()


Damage = Callable[[Path], None]


@pytest.mark.parametrize('damage', [truncate, overwrite, empty])
def test_a_damaged_newest_checkpoint(tmp_path: Path, warnings_logged: list[str], damage: Damage):
    save(tmp_path, {1: 0.5, 2: None, 3: None})
    damage(tmp_path / 'checkpoints' / '3')
    assert_same_bits(latest(tmp_path), make_state(2))
    assert len(warnings_logged) == 1
    assert warnings_logged[0].startswith(f'Checkpoint 3 in {tmp_path / "checkpoints"} is damaged')
    assert (tmp_path / 'damaged-checkpoint-3').is_dir()
    assert save(tmp_path, {3: None}) == [1, 2, 3]  # its step can be saved again
    assert_same_bits(latest(tmp_path), make_state(3))


def test_a_damaged_best_checkpoint(tmp_path: Path, warnings_logged: list[str]):
    save(tmp_path, {1: 0.2, 2: None, 3: 0.5})
    truncate(tmp_path / 'checkpoints' / '1')
    assert best_step(tmp_path) == 3
    assert len(warnings_logged) == 1 and 'Checkpoint 1 ' in warnings_logged[0]


def test_damaged_scores_leave_the_state(tmp_path: Path, warnings_logged: list[str]):
    save(tmp_path, {1: 0.5, 2: 0.2, 3: None}, keep=3)
    (tmp_path / 'checkpoints' / '2' / 'metrics' / 'metrics').write_text('{"cer/')
    assert best_step(tmp_path) == 1
    assert len(warnings_logged) == 1 and 'counts as not evaluated' in warnings_logged[0]
    assert int(latest(tmp_path).step) == 3


def test_damaged_scores_are_told_where_nothing_may_change(tmp_path: Path):
    save(tmp_path, {1: 0.5, 2: 0.2})
    scores = tmp_path / 'checkpoints' / '2' / 'metrics' / 'metrics'
    scores.write_text('{"cer/')
    with (
        pytest.raises(UserError, match='2/metrics/metrics is damaged: remove it'),
        open_checkpoints(tmp_path, cleanup=False),
    ):
        pass
    assert scores.exists()
    scores.unlink()  # as it says
    with open_checkpoints(tmp_path, cleanup=False) as checkpoints:
        assert checkpoints.restore_best_params(ABSTRACT.params)[0] == 1


@pytest.mark.parametrize('cleanup', [True, False])
def test_scores_that_are_being_written_are_not_damaged(tmp_path: Path, warnings_logged: list[str], cleanup: bool):
    save(tmp_path, {1: 0.5})
    half = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp' / 'metrics' / 'metrics'
    half.parent.mkdir(parents=True)
    half.touch()
    with open_checkpoints(tmp_path, cleanup=cleanup) as checkpoints:
        assert checkpoints.steps == [1]
    assert warnings_logged == [] and (half.exists() or cleanup)


@pytest.mark.usefixtures('warnings_logged')
def test_if_all_are_damaged_nothing_is_touched(tmp_path: Path):
    save(tmp_path, {1: 0.5, 2: None})
    for step in (1, 2):
        truncate(tmp_path / 'checkpoints' / str(step))
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    for restore in (latest, best_step):
        with pytest.raises(UserError, match='No checkpoint in .* can be read'):
            restore(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()} == before


def test_there_is_no_best_without_a_checkpoint(tmp_path: Path):
    with pytest.raises(UserError, match='There is no checkpoint in .* yet'):
        best_step(tmp_path)


@pytest.mark.parametrize('cleanup', [True, False])
def test_half_a_checkpoint_is_none(tmp_path: Path, cleanup: bool):
    save(tmp_path, {1: None, 2: None})
    half = tmp_path / 'checkpoints' / '2'
    half = half.rename(half.with_name('2.orbax-checkpoint-tmp'))
    with open_checkpoints(tmp_path, cleanup=cleanup) as checkpoints:
        assert checkpoints.steps == [1]
        assert int(checkpoints.restore_latest(ABSTRACT).step) == 1
    if cleanup:
        assert save(tmp_path, {2: None}) == [1, 2]
        assert not half.exists()
    else:
        assert half.exists()  # another process may be writing it


def test_a_full_disk_is_an_os_error_and_loses_nothing(tmp_path: Path):
    save(tmp_path, {1: None})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(OSError, match='File too large') as raised:
            save(tmp_path, {2: None})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert raised.value.filename == str(tmp_path / 'checkpoints')
    assert_same_bits(latest(tmp_path), make_state(1))
    assert save(tmp_path, {2: None}) == [1, 2]


@pytest.mark.parametrize('mesh', [MeshConfig(), MeshConfig(data=1, fsdp=2)])
def test_it_loads_on_other_devices(tmp_path: Path, mesh: MeshConfig):
    save(tmp_path, {1: None})
    abstract = jax.eval_shape(lambda: make_state(0))
    shardings = state_shardings(make_mesh(mesh), abstract)
    state = latest(tmp_path, abstract_like(abstract, shardings))
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings
    np.testing.assert_array_equal(state.params['encoder']['kernel'], make_state(1).params['encoder']['kernel'])
