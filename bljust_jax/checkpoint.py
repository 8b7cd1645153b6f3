"""Checkpoints of a run: the newest few and the best on dev. The only file that imports orbax."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from bljust_jax.errors import UserError
from bljust_jax.types import PyTree, TrainState


class Checkpoints:
    """The checkpoints of a run, in `<workdir>/checkpoints/<step>`; each is whole or not there at all.

    Args:
      workdir: the run's folder.
      select: name of the metric whose lowest value makes the best checkpoint, such as `cer/dev`.
      keep: number of newest checkpoints kept, besides the best.
    """

    def __init__(self, workdir: Path, *, select: str, keep: int = 2) -> None:
        self._directory = Path(workdir).absolute() / 'checkpoints'
        self._select = select
        policies = ocp.training.preservation_policies
        self._preservation = policies.AnyPreservationPolicy(
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
        self._open()

    def _open(self) -> None:
        self._checkpointer = ocp.training.Checkpointer(
            self._directory, preservation_policy=self._preservation, cleanup_tmp_directories=True
        )

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints that there are, ascending."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the lowest selection metric, the earliest if there are several; None if there is none."""
        scored = [(c.metrics[self._select], c.step) for c in self._checkpointer.checkpoints if c.metrics]
        return min(scored)[1] if scored else None

    def save(self, state: TrainState, metrics: Mapping[str, float] | None = None) -> None:
        """Saves `state` under its step, in the background; `metrics` are those of an evaluation at this step."""
        self._checkpointer.save_async(int(state.step), state, force=True, metrics=dict(metrics) if metrics else None)

    def wait(self) -> None:
        """Waits for the checkpoint being written."""
        self._checkpointer.wait()

    def restore_latest(self, abstract: TrainState) -> TrainState | None:
        """The newest state that can be read, laid out like `abstract`; None if there is no checkpoint.

        A damaged checkpoint is moved aside, with a warning, and the one before it is tried.

        Raises:
          UserError: if there are checkpoints and none can be read.
        """
        steps = self.steps
        for step in reversed(steps):
            try:
                return self.restore(step, abstract)
            except Exception as error:  # orbax and tensorstore raise all kinds of exceptions for damaged files
                reason = ' '.join(str(error).split())[:200]
                logging.warning('Checkpoint %d in %s is damaged (%s): trying the one before it.', step, self._directory, reason)
                self._set_aside(step)
        if steps:
            raise UserError(f'None of the checkpoints in {self._directory} can be read: remove the folder to start afresh.')
        return None

    def restore(self, step: int, abstract: TrainState) -> TrainState:
        """The state of `step`, laid out (shapes, types, shardings) like `abstract`."""
        return self._checkpointer.load(step, abstract)

    def restore_params(self, step: int) -> PyTree:
        """The parameters alone, as numpy or jax arrays, wherever they were trained."""
        return self._checkpointer.load(step)['params']

    def close(self) -> None:
        """Waits for what is being written."""
        self._checkpointer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_aside(self, step: int) -> None:
        self._checkpointer.close()
        target = self._directory.with_name(f'damaged-checkpoint-{step}')
        shutil.rmtree(target, ignore_errors=True)
        (self._directory / str(step)).rename(target)
        self._open()


def abstract_like(state: PyTree, shardings: PyTree) -> Any:
    """Shapes, types and shardings of `state`, to restore into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), state, shardings
    )
