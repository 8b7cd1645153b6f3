"""How fast the preset `mini` recognises speech: the audio of dev over the time from its records to its hypotheses.

    python -m benchmarks.decoding [--workdir=DIR] [--repeats=9]

Reading, padding, log-mel, encoder, greedy decoding and the text of the labels count, scoring does not. The parameters
are random ones, on which the encoder's time does not depend, or those of a trained run. The target is 300 times real
time, and a program for each shape of the plan, however many batches there are; the ratio is the time taken over the
time that the target allows.
"""

import argparse
import statistics
import time
from pathlib import Path

from benchmarks.side_by_side import print_result
from bljust_jax.memory import keep_freed_memory
from configs import conformer

SPEED_TARGET = 300.0


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--workdir', type=Path, help='a trained run, whose config and best parameters are taken')
    parser.add_argument('--repeats', type=int, default=9, help='timed passes over dev')
    options = parser.parse_args()
    keep_freed_memory()
    import jax

    from bljust_jax.build import build_recognizer
    from bljust_jax.compilation import Compilations
    from bljust_jax.config import SAMPLE_RATE, MeshConfig
    from bljust_jax.data.dataset import data_dir_of, load_or_train_tokenizer
    from bljust_jax.evaluate import make_recognizer, open_eval_set, restore_best_params, transcribe_set
    from bljust_jax.prepare import prepare_corpus
    from bljust_jax.sharding import batch_putter, make_mesh
    from bljust_jax.workdir import read_config, read_tokenizer

    config = read_config(options.workdir) if options.workdir else conformer.mini()
    data_dir, corpus = data_dir_of(config.data), config.data.corpus
    prepare_corpus(corpus, data_dir)
    mesh = make_mesh(MeshConfig())
    if options.workdir:
        tokenizer = read_tokenizer(options.workdir)
        system = build_recognizer(config, tokenizer.vocab_size)
        _, params = restore_best_params(options.workdir, system, mesh)
    else:
        tokenizer = load_or_train_tokenizer(data_dir, corpus)
        system = build_recognizer(config, tokenizer.vocab_size)
        params = jax.jit(system.init_params)(config.seed)
    dev = open_eval_set(config, config.eval.dev, mesh.size)
    recognize, put = make_recognizer(system, tokenizer), batch_putter(mesh)

    def transcribe() -> float:
        start = time.perf_counter()
        transcribe_set(recognize, params, dev, tokenizer, put)
        return time.perf_counter() - start

    with Compilations() as compilations:
        first = transcribe()
        seconds = [transcribe() for _ in range(options.repeats)]
    audio = float(dev.split.samples.sum()) / SAMPLE_RATE
    speed = audio / statistics.median(seconds)
    programs, shapes = compilations.names.count('jit(recognize)'), len(dev.plan.shapes)
    batches = [dev.plan.shapes[batch.bucket] for batch in dev.plan.batches]
    filled = audio * SAMPLE_RATE / sum(shape.rows * shape.samples for shape in batches)
    print(
        f'{audio:.0f} s of audio, {len(dev.split)} utterances in {len(batches)} batches of {shapes} shapes, '
        f'{filled:.2f} of it speech; first pass {first:.2f} s, then median '
        f'{statistics.median(seconds):.3f} s ({min(seconds):.3f} to {max(seconds):.3f})'
    )
    for name, value, target, met in (
        ('times real time', speed, SPEED_TARGET, speed >= SPEED_TARGET),
        ('programs', programs, shapes, programs == shapes),
    ):
        print(f'{name:<15}  {value:7.1f}  target {target:.0f}: {"met" if met else "missed"}')
    print_result(
        'decoding',
        SPEED_TARGET / speed,
        times_real_time=round(speed),
        programs=programs,
        shapes=shapes,
        batches=len(batches),
        repeats=options.repeats,
    )


if __name__ == '__main__':
    main()
