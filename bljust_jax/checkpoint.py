"""Checkpoints of a run: the newest few and the best on dev. The only file that imports orbax."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from bljust_jax.errors import UserError
from bljust_jax.types import Params, PyTree, TrainState


class Checkpoints:
    """The checkpoints of a run, in `<workdir>/checkpoints/<step>`; each is whole or not there at all.

    Args:
      workdir: the run's folder.
      select: name of the metric whose lowest value makes the best checkpoint, such as `cer/dev`.
      keep: number of newest checkpoints kept, besides the best.
      cleanup: remove what a killed run has written half, and damaged scores; False changes nothing, as for a run
        that goes on.
    """

    def __init__(self, workdir: Path, *, select: str, keep: int = 2, cleanup: bool = True) -> None:
        self._directory = Path(workdir).absolute() / 'checkpoints'
        self._select = select
        policies = ocp.training.preservation_policies
        preservation = policies.AnyPreservationPolicy(
            [
                policies.LatestN(keep),
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics[select],
                    reverse=True,
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        )
        for scores in _damaged_scores(self._directory):
            if not cleanup:
                raise UserError(f'{scores} is damaged: remove it, and its checkpoint counts as not evaluated.')
            logging.warning('%s is damaged: its checkpoint counts as not evaluated.', scores)
            scores.unlink()
        self._checkpointer = ocp.training.Checkpointer(
            self._directory, preservation_policy=preservation, cleanup_tmp_directories=cleanup
        )

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that there are, ascending."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def save(self, state: TrainState, metrics: Mapping[str, float] | None = None) -> None:
        """Saves `state` under its step, in the background; `metrics` are those of an evaluation at this step."""
        scores = dict(metrics) if metrics else None
        with _disk_errors(self._directory):
            self._checkpointer.save_async(int(state.step), _stored(state), force=True, metrics=scores)

    def wait(self) -> None:
        """Waits for the checkpoint being written."""
        with _disk_errors(self._directory):
            self._checkpointer.wait()

    def restore_latest(self, abstract: TrainState) -> TrainState | None:
        """The newest state that can be read, laid out (shapes, types, shardings) like `abstract`.

        Newer ones, which are damaged, are moved aside, as training will save their steps again.

        Returns:
          The state, or None if there is no checkpoint.

        Raises:
          UserError: if there are checkpoints and none can be read; all of them stay where they are.
        """
        steps = self.steps
        if not steps:
            return None
        newest, stored = self._restore_first(reversed(steps), _stored(abstract))
        for step in steps:
            if step > newest:
                self._set_aside(step)
        return TrainState(**stored)

    def restore_best_params(self, abstract: Params) -> tuple[int, Params]:
        """Step and parameters of the lowest selection metric that can be read; only those in `abstract` are.

        Of equal ones it is the earliest, and the newest if none has been evaluated yet.

        Raises:
          UserError: if there is no checkpoint, or none can be read.
        """
        step, stored = self._restore_first(self._ranking(), {'params': abstract}, partial=True)
        return step, stored['params']

    def restore_params(self, abstract: Params, which: str = 'best') -> tuple[int, Params]:
        """Step and parameters of a checkpoint, `best`, `latest` or a step; only those in `abstract` are read.

        Raises:
          UserError: if there is no such checkpoint, or it cannot be read; of the first two kinds, if none can be.
        """
        if which == 'best':
            return self.restore_best_params(abstract)
        steps = self.steps
        chosen = steps[::-1] if which == 'latest' else [step for step in steps if str(step) == which]
        if not chosen:
            there = ', '.join(map(str, steps)) or 'none'
            raise UserError(f'There is no checkpoint {which} in {self._directory}; steps that there are: {there}.')
        step, stored = self._restore_first(chosen, {'params': abstract}, partial=True)
        return step, stored['params']

    def _ranking(self) -> Iterable[int]:
        """Steps from the best checkpoint on, those without scores last."""
        checkpoints = self._checkpointer.checkpoints
        if not checkpoints:
            raise UserError(f'There is no checkpoint in {self._directory} yet.')
        scored = sorted((c.metrics[self._select], c.step) for c in checkpoints if c.metrics)
        ranking = [step for _, step in scored] + self.steps[::-1]
        return dict.fromkeys(ranking)

    def _restore_first(self, steps: Iterable[int], abstract: PyTree, *, partial: bool = False) -> tuple[int, Any]:
        """The first of `steps` that can be read, with what is stored there; warns of each that cannot.

        With `partial`, what is stored may be more than `abstract`, and is not read.
        """
        context = ocp.Context()
        context.pytree.loading.partial_load = partial
        for step in steps:
            try:
                with context:  # entered for each: orbax forgets it in a load that fails
                    return step, self._checkpointer.load(step, abstract)
            except Exception as error:  # orbax and tensorstore raise all kinds of exceptions for damaged files
                reason = ' '.join(str(error).split())[:200]
                logging.warning('Checkpoint %d in %s is damaged (%s): trying another.', step, self._directory, reason)
        raise UserError(f'No checkpoint in {self._directory} can be read: move the folder away to start afresh.')

    def close(self) -> None:
        """Waits for what is being written."""
        with _disk_errors(self._directory):
            self._checkpointer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_aside(self, step: int) -> None:
        target = self._directory.with_name(f'damaged-checkpoint-{step}')
        shutil.rmtree(target, ignore_errors=True)
        (self._directory / str(step)).rename(target)
        self._checkpointer.reload()


def _stored(state: TrainState) -> dict[str, PyTree]:
    """What a checkpoint holds; a teacher or guards that there are not are no part of it."""
    return {name: value for name, value in state._asdict().items() if name not in ('teacher', 'guards') or value != ()}


def abstract_like(state: PyTree, shardings: PyTree) -> Any:
    """Shapes, types and shardings of `state`, to restore into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings
    )


def _damaged_scores(directory: Path) -> list[Path]:
    """The files of scores that cannot be read, and that orbax would not open the folder with."""
    damaged = []
    for path in directory.glob('*/metrics/metrics'):
        if path.parents[1].name.isdigit():  # others are being written
            try:
                json.loads(path.read_bytes())
            except ValueError:
                damaged.append(path)
    return damaged


@contextlib.contextmanager
def _disk_errors(directory: Path) -> Iterator[None]:
    """Turns the errors of tensorstore, which have the system's error number in their text, into `OSError`s."""
    try:
        yield
    except ValueError as error:
        number = re.search(r"os_error_code='(\d+)'", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(directory)) from error
