r"""Prepares a large corpus on many machines: `bljust_jax.prepare`, whose shards are written by Apache Beam.

    python -m launch.prepare_beam --corpus=librispeech --source=/shared/LibriSpeech --data_dir=/shared/data \
        --beam=runner=FlinkRunner --beam=flink_master=localhost:8081

The flags are those of `python -m bljust_jax.prepare`, and `--beam=OPTION=VALUE` for each option of the Beam runner. By
default it runs on this machine (DirectRunner). All workers must see the source and `--data_dir` under the same paths,
on a shared disk or through a mounted bucket. Stopped at any moment, the same command goes on from the shards that are
there. docs/data.md has commands for Dataflow and Flink. Needs the extra `beam`.
"""

import functools
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from bljust_jax import cli, prepare
from bljust_jax.data.preparing.plan import Shard
from bljust_jax.data.preparing.pool import Note
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.preparing.shard_files import read_shard, write_shard_file
from bljust_jax.errors import UserError


def write_shards(
    shards: Iterable[Shard], folder: Path, rules: Rules, *, options: Sequence[str], workers: int, note: Note
) -> None:
    """Writes `shards` into `folder` as steps of a Beam pipeline; see `pool.write_shards`.

    What each shard is made of goes into a file of its own, so that neither this process nor the pipeline holds the plan
    of a large corpus.

    Args:
        shards, folder, rules, note: as there.
        options: of the Beam runner, such as `runner=DirectRunner`.
        workers: unused: the runner has its own number.

    Raises:
        UserError: Beam is not installed.
    """
    del workers
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError("Apache Beam is not installed: pip install 'bljust-jax[beam]'.") from error
    plan = folder / 'plan'
    plan.mkdir(exist_ok=True)
    paths = []
    for shard in shards:
        paths.append(str(write_shard_file(plan, shard)))
        note(shard, len(shard.records))
    if paths:
        with beam.Pipeline(options=PipelineOptions([f'--{option}' for option in options])) as pipeline:
            names = pipeline | 'Plan' >> beam.Create(paths) | 'Spread' >> beam.Reshuffle()
            names | 'Write' >> beam.Map(_write, str(folder), rules)
    shutil.rmtree(plan)


def _write(path: str, folder: str, rules: Rules) -> None:
    from bljust_jax.data.preparing.shards import write_shard

    write_shard(Path(folder), read_shard(Path(path)), rules)


def main(argv: list[str]) -> None:
    """Prepares what the flags say."""
    prepare.main(argv, functools.partial(write_shards, options=flags.FLAGS.beam))


if __name__ == '__main__':
    prepare.define_flags()
    flags.DEFINE_multi_string('beam', [], 'OPTION=VALUE of the Beam runner; may be repeated.')
    cli.run(main)
