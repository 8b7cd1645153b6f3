"""Linear probes of a run's encoder: what one projection, trained with CTC, can read off each frozen layer.

    python -m bljust_jax.probe --workdir=RUN [--layers=all|last] [--steps=300] [--hours=1] [--checkpoint=best]

Prints a table and writes `RUN/probe_<checkpoint>.json`. It judges an encoder that has been trained without transcripts,
or not enough: pass `--checkpoint=latest` for a run that is only pre-trained, as dev says nothing about which of its
checkpoints is the best, and `--checkpoint=initial` for what the same encoder knows untrained.
"""

from pathlib import Path

from absl import flags

from bljust_jax import cli
from bljust_jax.memory import keep_freed_memory


def main(argv: list[str]) -> None:
    """Probes the run in `--workdir`."""
    cli.refuse_arguments(argv)
    keep_freed_memory()
    from bljust_jax.compilation import keep_compiled_programs
    from bljust_jax.probe.session import format_scores, probe_file, probe_run

    keep_compiled_programs()
    workdir = Path(_WORKDIR.value).expanduser()
    scores = probe_run(
        workdir, layers=_LAYERS.value, steps=_STEPS.value, hours=_HOURS.value, checkpoint=_CHECKPOINT.value
    )
    print(f'{format_scores(scores)}\n\nWritten to {workdir / probe_file(_CHECKPOINT.value)}')


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run.', required=True)
    _LAYERS = flags.DEFINE_enum('layers', 'all', ['all', 'last'], 'Layers to probe.')
    _STEPS = flags.DEFINE_integer('steps', 300, 'Steps of training a probe.', lower_bound=1)
    _HOURS = flags.DEFINE_float('hours', 1.0, 'Most audio of a split; outputs of all layers are kept in memory.')
    _CHECKPOINT = flags.DEFINE_string('checkpoint', 'best', 'best, latest, initial (untrained), or a step.')
    cli.run(main)
