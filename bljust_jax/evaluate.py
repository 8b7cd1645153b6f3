"""Word and character error rates of a run.

python -m bljust_jax.evaluate --workdir=DIR [--data=SPLIT,SPLIT...]
    [--decoder=beam --beam=8 --lm=FILE.arpa --lm_weight=0.5 --word_bonus=0 --ctc_weight=0.3]
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags, logging
from jax.sharding import Mesh

from bljust_jax import cli
from bljust_jax.build import System, build_recognizer
from bljust_jax.checkpoint import Checkpoints, abstract_like
from bljust_jax.compilation import keep_compiled_programs, logged_compilations
from bljust_jax.config import SAMPLE_RATE, Config, MeshConfig
from bljust_jax.data.dataset import Split, data_dir_of, load_split
from bljust_jax.data.pipeline import eval_batches, to_device
from bljust_jax.data.plan import EvalPlan, make_eval_plan
from bljust_jax.data.text import Tokenizer
from bljust_jax.decode import make_decoder
from bljust_jax.errors import UserError
from bljust_jax.features import log_mel
from bljust_jax.metrics import ErrorRates, error_rates
from bljust_jax.models import encode
from bljust_jax.sharding import batch_putter, make_mesh, state_shardings
from bljust_jax.strategies import UPPER
from bljust_jax.types import Batch, Params
from bljust_jax.workdir import read_config, read_tokenizer, write_lines

Recognize = Callable[[Params, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def make_recognizer(system: System, tokenizer: Tokenizer) -> Recognize:
    """Jitted `(params, audio [batch, samples], lengths [batch]) -> (labels [batch, label], numbers [batch])`.

    Raises:
      UserError: if the decoder's language model cannot be read, or is of another tokenizer.
    """
    config, decode = system.config, make_decoder(system.config, tokenizer)

    @jax.jit
    def recognize(params: Params, audio: jax.Array, lengths: jax.Array) -> tuple[jax.Array, jax.Array]:
        features, lengths = log_mel(audio, lengths, config.log_mel)
        hidden, lengths = encode(system.encoder, params, features, lengths, dtype=config.compute_dtype)
        return decode(params['heads'][UPPER], hidden, lengths)

    return recognize


class EvalSet(NamedTuple):
    """A split and the plan of its batches."""

    split: Split
    plan: EvalPlan


def open_eval_set(config: Config, split: str, row_multiple: int = 1) -> EvalSet:
    """Opens a split of the config's corpus for evaluation."""
    data = load_split(data_dir_of(config.data), config.data.corpus, split)
    plan = make_eval_plan(
        data.samples,
        None,
        batch_seconds=config.eval.batch_seconds,
        buckets=config.eval.buckets,
        row_multiple=row_multiple,
    )
    return EvalSet(data, plan)


def transcribe_set(
    recognize: Recognize, params: Params, eval_set: EvalSet, tokenizer: Tokenizer, put: Callable[[Batch], Batch]
) -> list[str]:
    """The hypothesis of every utterance, in the order of the split."""
    hypotheses = [''] * len(eval_set.split)

    def start(read: tuple[np.ndarray, Batch]) -> tuple[np.ndarray, tuple[jax.Array, jax.Array]]:
        records, batch = read
        on_device = put(batch)
        return records, recognize(params, on_device.audio, on_device.lengths)

    # The device works on the next batches while labels become text.
    for records, results in to_device(eval_batches(eval_set.split, eval_set.plan, None), start):
        labels, counts = map(np.asarray, results)
        for record, row, count in zip(records, labels, counts, strict=True):
            if record >= 0:
                hypotheses[record] = tokenizer.decode(row[:count].tolist())
    return hypotheses


def score_set(eval_set: EvalSet, hypotheses: Sequence[str]) -> tuple[ErrorRates, list[dict[str, Any]]]:
    """Corpus error rates, and a line for each utterance of `hypotheses/<split>.jsonl`."""
    split = eval_set.split
    lines: list[dict[str, Any]] = []
    for index, hypothesis in enumerate(hypotheses):
        record = split.source[index]
        lines.append(
            {
                'id': record['id'],
                'reference': record['text'],
                'hypothesis': hypothesis,
                'speaker': record['speaker'],
                'seconds': round(float(split.samples[index]) / SAMPLE_RATE, 3),
            }
        )
    return error_rates([line['reference'] for line in lines], list(hypotheses)), lines


def evaluate_splits(
    recognize: Recognize,
    params: Params,
    eval_sets: Mapping[str, EvalSet],
    tokenizer: Tokenizer,
    put: Callable[[Batch], Batch],
    workdir: Path,
) -> dict[str, ErrorRates]:
    """Scores `params` on each split and writes `hypotheses/<split>.jsonl`."""
    results = {}
    for name, eval_set in eval_sets.items():
        hypotheses = transcribe_set(recognize, params, eval_set, tokenizer, put)
        results[name], lines = score_set(eval_set, hypotheses)
        write_lines(workdir / 'hypotheses' / f'{name}.jsonl', lines)
    return results


def format_table(results: Mapping[str, ErrorRates]) -> str:
    """A table of splits: WER and CER in percent, and what they were counted on."""
    width = max(map(len, [*results, 'split']))
    rows = [f'{"split":<{width}}  {"WER %":>6}  {"CER %":>6}  {"utterances":>10}  {"words":>6}']
    rows += [
        f'{name:<{width}}  {100 * r.wer:6.1f}  {100 * r.cer:6.1f}  {r.utterances:>10}  {r.words:>6}'
        for name, r in results.items()
    ]
    return '\n'.join(rows)


def abstract_params(system: System, mesh: Mesh) -> Params:
    """Shapes, types and shardings of what recognising takes: the encoder and the head of the upper level."""
    params = jax.eval_shape(system.init_params, system.config.seed)
    needed = {'encoder': params['encoder'], 'heads': {UPPER: params['heads'][UPPER]}}
    return abstract_like(needed, state_shardings(mesh, needed))


def restore_best_params(workdir: Path, system: System, mesh: Mesh) -> tuple[int, Params]:
    """Step and `abstract_params` of the best checkpoint of the run in `workdir`, which may be going on."""
    config = system.config
    with Checkpoints(workdir, select=config.eval.criterion, keep=config.keep_checkpoints, cleanup=False) as checkpoints:
        return checkpoints.restore_best_params(abstract_params(system, mesh))


def _with_flags(config: Config) -> Config:
    """The run's own config, but for the decoder's fields that are given on the command line."""
    given: dict[str, Any] = {name: flag.value for name, flag in _DECODER.items() if flag.value is not None}
    objective = config.levels.sup.objective
    if 'ctc_weight' in given and objective != 'hybrid':
        raise UserError(
            f'--ctc_weight is for runs with config.levels.sup.objective=hybrid, and that of this is {objective}.'
        )
    decoder = given.get('decoder', config.eval.decoder)
    for name in ('lm', 'word_bonus'):
        if given.get(name) and decoder != 'beam':
            raise UserError(f'--{name}={given[name]} is for a beam search: give --decoder=beam as well.')
    return dataclasses.replace(config, eval=dataclasses.replace(config.eval, **given))


def main(argv: list[str]) -> None:
    """Evaluates the best checkpoint of `--workdir`."""
    cli.refuse_arguments(argv)
    keep_compiled_programs()
    workdir = Path(_WORKDIR.value).expanduser()
    config, tokenizer = read_config(workdir), read_tokenizer(workdir)
    config = _with_flags(config)
    mesh = make_mesh(MeshConfig())  # of the devices that are here, not those that it was trained on
    splits: Sequence[str] = _DATA.value or config.eval.splits
    eval_sets = {name: open_eval_set(config, name, mesh.size) for name in splits}
    system = build_recognizer(config, tokenizer.vocab_size)
    recognize, put = make_recognizer(system, tokenizer), batch_putter(mesh)
    step, params = restore_best_params(workdir, system, mesh)
    logging.info('Evaluating the checkpoint of step %d.', step)
    with logged_compilations():
        results = evaluate_splits(recognize, params, eval_sets, tokenizer, put, workdir)
    print(format_table(results))


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a trained run.', required=True)
    _DATA = flags.DEFINE_list('data', None, 'Splits of the corpus; by default those of the config.')
    _DECODER = {
        'decoder': flags.DEFINE_string(
            'decoder', None, 'greedy or beam; this and the following: else as the run has it.'
        ),
        'beam': flags.DEFINE_integer('beam', None, 'Width of the beam.'),
        'lm': flags.DEFINE_string(
            'lm', None, 'ARPA file of an n-gram model over the labels (python -m bljust_jax.lm).'
        ),
        'lm_weight': flags.DEFINE_float('lm_weight', None, 'Weight of its log-probabilities.'),
        'word_bonus': flags.DEFINE_float('word_bonus', None, 'Added for each word begun.'),
        'ctc_weight': flags.DEFINE_float('ctc_weight', None, "Weight of CTC's scores (hybrid)."),
    }
    cli.run(main)
