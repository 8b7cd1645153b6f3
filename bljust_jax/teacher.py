"""The frozen teacher of a level that learns from one: the best checkpoint of another run."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from bljust_jax.build import System, build_recognizer
from bljust_jax.data.text import Tokenizer
from bljust_jax.data.units import load_units
from bljust_jax.errors import UserError
from bljust_jax.evaluate import abstract_params, restore_best_params
from bljust_jax.objectives.ctc import WITH_POSTERIORS
from bljust_jax.types import Params
from bljust_jax.workdir import check_teacher, read_tokenizer, same_tokenizer


class Teacher(NamedTuple):
    """A teacher that is not trained.

    Attributes:
      params: its encoder and its CTC head, `{'encoder': ..., 'heads': {'sup': ...}}`.
      identity: what tells it from others, `step` of its checkpoint and `sha256` of its parameters.
    """

    params: Params
    identity: Mapping[str, Any]


def load_teacher(system: System, tokenizer: Tokenizer, mesh: Mesh, workdir: Path) -> Teacher:
    """Loads the teacher of `system` for the run in `workdir`, onto the devices of `mesh`.

    It is not saved with the run: a run that goes on loads it again.

    Args:
      system: with a frozen teacher.
      tokenizer: of the run.
      mesh: its devices, over which the parameters are spread as the student's are.
      workdir: of the run.

    Raises:
      UserError: if there is no checkpoint, if the teacher has no posteriors or they are over another vocabulary and
        they would be used, or if it is not the teacher that the run began with.
    """
    folder = _folder(system)
    assert system.teacher is not None
    try:
        theirs = read_tokenizer(folder)
        remedy = _learns_labels(system)
        objective = system.teacher.levels.sup.objective
        if remedy and objective not in WITH_POSTERIORS:
            raise UserError(f'Its config.levels.sup.objective is {objective}, which has no CTC posteriors: {remedy}.')
        if remedy and not same_tokenizer(theirs, tokenizer):
            raise UserError(
                f'Its vocabulary of {theirs.vocab_size} labels is not the one of {tokenizer.vocab_size} of this run: '
                f'{remedy}.'
            )
        step, params = restore_best_params(folder, _recognizer(system, theirs), mesh)
        sha256 = digest(params)
        _check_units(system, sha256)
    except UserError as error:
        raise UserError(f'config.teacher.workdir={folder} cannot teach. {error}') from error
    identity = {'step': step, 'sha256': sha256}
    check_teacher(workdir, folder, identity)
    logging.info('The teacher is the checkpoint of step %d in %s.', step, folder)
    return Teacher(params, identity)


def abstract_teacher(system: System, mesh: Mesh) -> Params:
    """Shapes, types and shardings of the frozen teacher's parameters."""
    return abstract_params(_recognizer(system, read_tokenizer(_folder(system))), mesh)


def digest(params: Params) -> str:
    """SHA-256 of names, types, shapes and values of all arrays."""
    total = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(jax.device_get(params)):
        total.update(f'{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}'.encode())
        total.update(np.ascontiguousarray(leaf).tobytes())
    return total.hexdigest()


def _learns_labels(system: System) -> str:
    """What to do if the teacher has other labels than the student; empty if nothing needs them."""
    objectives = {getattr(system.config.levels, level.name).objective for level in system.levels}
    if 'pseudo_label' in objectives:
        return 'pseudo-labels are read off its CTC head, so choose a teacher with one, and with the same labels'
    if 'distillation' in objectives and system.config.distillation.posterior_weight > 0:
        return 'set config.distillation.posterior_weight to 0, to learn from its features alone'
    return ''


def _check_units(system: System, sha256: str) -> None:
    """Units must be of the teacher that tells them."""
    config = system.config
    learns_units = any(getattr(config.levels, level.name).objective == 'hubert' for level in system.levels)
    if learns_units and config.hubert.layer and load_units(Path(config.hubert.units).expanduser()).teacher != sha256:
        raise UserError(f'config.hubert.units={config.hubert.units} are those of another run, or checkpoint.')


def _folder(system: System) -> Path:
    return Path(system.config.teacher.workdir).expanduser()


def _recognizer(system: System, tokenizer: Tokenizer) -> System:
    assert system.teacher is not None
    return build_recognizer(system.teacher, tokenizer.vocab_size)
