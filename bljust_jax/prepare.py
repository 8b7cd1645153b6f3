r"""Builds a corpus once: read, checked, and written in the form that training reads; resumable.

One that is fetched (no root is needed; where `apt-get download` does not work, fetch the `.deb` files named in the
error by hand and pass `--source=FOLDER_OR_FILE`):

    python -m bljust_jax.prepare --corpus=phone_prompts

One that you have in the form in which it is published:

    python -m bljust_jax.prepare --corpus=librispeech --source=/data/LibriSpeech

Your own: tables (.csv, .tsv) of audio and text, JSON lines of NeMo or Lhotse, Kaldi folders, or plain folders of audio
for what is not transcribed. Each of these flags may be repeated:

    python -m bljust_jax.prepare --name=calls --labelled=train.csv --unlabelled=/data/recordings --dev=dev.csv

Then train with `--config.data.corpus=calls`. Records that are of no use are listed, with the reason, in
`rejected.jsonl`. A run that was stopped is finished by the same command.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags, logging

from bljust_jax import cli
from bljust_jax.config import NormaliserConfig
from bljust_jax.data import dataset
from bljust_jax.data.audit import audit_corpus
from bljust_jax.data.auditing.findings import Audit, read_audit
from bljust_jax.data.corpora import CORPORA
from bljust_jax.data.preparing.pool import Write, write_shards
from bljust_jax.data.preparing.rules import Rules
from bljust_jax.data.text import TOKENIZER_KINDS, check_tokenizer
from bljust_jax.data.text.flags import normaliser_from_flags, text_flags
from bljust_jax.errors import UserError
from bljust_jax.files import locked

_SOURCES = {
    'labelled': 'Transcribed speech to train on (split train_labelled): a manifest or a Kaldi folder.',
    'unlabelled': 'Untranscribed speech to train on (split train_unlabelled): a manifest or a folder of audio.',
    'dev': 'Transcribed speech to choose by.',
    'test': 'Transcribed speech to report on.',
    'manifest': 'A manifest whose rows name their split.',
}


def prepare_corpus(
    name: str, data_dir: str | os.PathLike, sources: Sequence[str | os.PathLike] = (), *, audit: bool = True
) -> Path:
    """Makes the corpus `name` under `data_dir` if it is one of `CORPORA` and not there, and returns its folder.

    Everything is made under a hidden name and renamed once verified, so a folder that exists is whole. Processes that
    prepare the same corpus wait for one another.

    Args:
        name: one of `CORPORA`, or of a corpus that is prepared.
        data_dir: made if needed; downloaded packages stay in its `downloads/`.
        sources: `.deb` files or folders of them to use instead of downloads.
        audit: looks for what its splits share, unless that is known.

    Raises:
        UserError: it is neither, a package cannot be had, or the corpus is not the pinned one.
    """
    if name not in CORPORA:
        return dataset.prepared_dir(data_dir, name)
    target = dataset.version_dir(data_dir, name)
    if not target.is_dir():
        data_dir = _made(data_dir)
        _wait_for_others(data_dir / name)
        with locked(data_dir / name):
            if not target.is_dir():
                from bljust_jax.data.preparing.pinned import prepare_pinned

                prepare_pinned(CORPORA[name], data_dir, sources)
    if audit:
        audited(target)
    return target


def audited(folder: Path) -> Audit:
    """What the splits of the corpus in `folder` share: found now, unless it is known."""
    return read_audit(folder) or audit_corpus(folder)


def _made(data_dir: str | os.PathLike) -> Path:
    """The folder of prepared corpora, which is made if needed."""
    data_dir = Path(data_dir).expanduser()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f'data_dir={data_dir} is or lies below a file: choose another folder.') from error
    return data_dir


def _wait_for_others(path: Path) -> None:
    with locked(path, wait=False) as free:
        if not free:
            logging.info('Another process prepares this corpus: waiting for it.')


def _prepare_own(values: flags.FlagValues, data_dir: Path, write: Write) -> tuple[str, str]:
    """Makes a corpus that is not pinned, as the flags say: its name, and a table of what became of its records."""
    from bljust_jax.data.preparing.finish import REJECTED, summary
    from bljust_jax.data.preparing.given import SPLITS, UNTRANSCRIBED, Options, prepare_layout, prepare_manifests

    options = Options(workers=values.workers, max_rejected=values.max_rejected, overwrite=values.overwrite, write=write)
    data_dir = _made(data_dir)
    name = values.name or values.corpus.partition(':')[2].partition('/')[0] or values.corpus
    _wait_for_others(data_dir / name)
    with locked(data_dir / name):
        if values.corpus:
            name, tallies = prepare_layout(values.corpus, values.source[0], _rules(values), data_dir, **options)
        else:
            given = {flag: paths for flag in _SOURCES if (paths := values[flag].value)}
            transcribed = tuple(split for split in SPLITS.values() if split != UNTRANSCRIBED)
            rules, audio_root = _rules(values, transcribed), values.audio_root
            tallies = prepare_manifests(name, given, rules, data_dir, audio_root=audio_root, **options)
    table = summary(tallies)
    if any(sums.rejected for sums in tallies.values()):
        table += f'\nEach of them, with the reason, is in {dataset.version_dir(data_dir, name) / REJECTED}.'
    return name, table


def _rules(values: flags.FlagValues, transcribed: tuple[str, ...] = ()) -> Rules:
    return Rules(
        normaliser=normaliser_from_flags(values),
        transcribed=transcribed,
        min_seconds=values.min_seconds,
        max_seconds=values.max_seconds,
    )


def summary(data_dir: str | os.PathLike, name: str) -> str:
    """A table of the prepared corpus: split, utterances, hours."""
    rows = [(split, dataset.load_split(data_dir, name, split)) for split in dataset.splits_of(data_dir, name)]
    width = max(len(split) for split, _ in rows)
    lines = [f'{"split":<{width}}  utterances   hours']
    lines += [f'{split:<{width}}  {len(content):>10,}  {content.hours:>6.2f}' for split, content in rows]
    return '\n'.join(lines)


def define_flags() -> None:
    """Defines the flags of `main`."""
    flags.DEFINE_string('corpus', None, f'A corpus that is known by name: {_corpora_help()}.')
    flags.DEFINE_string('name', None, 'What your own corpus is to be called: a-z, 0-9 and _, a letter first.')
    for flag, text in _SOURCES.items():
        flags.DEFINE_multi_string(flag, [], f'{text} For --name; may be repeated.')
    flags.DEFINE_string(
        'audio_root',
        None,
        'The folder that all audio of your manifests lies in and that names in them start from; by default that of the '
        'manifest.',
    )
    flags.DEFINE_multi_string(
        'source',
        [],
        'With --corpus: the folder that holds it, or a .deb file, or a folder of these, to use instead of downloading; '
        'may be repeated.',
    )
    flags.DEFINE_string(
        'data_dir', None, 'Where prepared corpora are kept (default: $BLJUST_DATA_DIR, else ~/.cache/bljust_jax/data).'
    )
    flags.DEFINE_integer('workers', len(os.sched_getaffinity(0)), 'Number of processes.', lower_bound=1)
    flags.DEFINE_float('max_rejected', 0.05, 'Stop if more than this share of the records is rejected.', 0.0, 1.0)
    flags.DEFINE_boolean('overwrite', False, 'Prepare again what was prepared from other sources or by other rules.')
    flags.DEFINE_boolean(
        'audit', True, 'Look for speech and transcripts that splits share: about 1,200 times real time, on one core.'
    )
    flags.DEFINE_float('min_seconds', Rules.min_seconds, 'Shorter recordings are rejected.', 0.0)
    flags.DEFINE_float('max_seconds', Rules.max_seconds, 'Longer transcribed recordings are rejected.', 0.0)
    text_flags()
    for field in dataclasses.fields(NormaliserConfig):
        flags.declare_key_flag(field.name)  # --help shows them
    flags.DEFINE_enum(
        'tokenizer', None, TOKENIZER_KINDS, 'Tokenizer to train on the labelled training transcripts as well.'
    )
    flags.DEFINE_string('tokenizer_split', dataset.LABELLED_SPLIT, 'The split, or several, that it is trained on.')
    flags.DEFINE_integer(
        'vocab_size', None, 'Number of labels of the tokenizer, blank included (for unigram and bpe).', lower_bound=2
    )


def _corpora_help() -> str:
    return f'{"|".join(CORPORA)}, which are fetched; {"|".join(_layouts())}|tfds:NAME, with --source'


def _layouts() -> list[str]:
    from bljust_jax.data.sources.layouts import LAYOUTS

    return list(LAYOUTS)


def _check_flags(values: flags.FlagValues) -> None:
    """Raises a `UserError` for flags that do not go together."""
    given = [f'--{flag}' for flag in _SOURCES if values[flag].value]
    if (values.corpus is None) == (values.name is None):
        raise UserError('Give either --corpus, of a corpus that is known, or --name, for your own (see --help).')
    if values.corpus and given:
        raise UserError(f'--corpus={values.corpus} comes with its own splits: {given[0]} is for --name.')
    known = [*CORPORA, *_layouts()]
    if values.corpus and values.corpus not in known and not values.corpus.startswith('tfds:'):
        raise UserError(
            f'--corpus={values.corpus} is unknown: choose one of {", ".join(known)}, tfds:NAME, or --name your own.'
        )
    if values.corpus and values.corpus not in CORPORA and len(values.source) != 1:
        raise UserError(f'--corpus={values.corpus} needs one --source: the folder or the archive where you have it.')
    if values.corpus and values.audio_root:
        raise UserError(f'--corpus={values.corpus} says itself where its audio is: --audio_root is for --name.')
    if values.name and values.source:
        raise UserError('--source is for --corpus: your own corpus has --labelled, --unlabelled, --dev and --test.')
    if values.name and not given:
        raise UserError(f'--name={values.name} needs one of {", ".join(f"--{flag}" for flag in _SOURCES)}.')
    if values.name and (not dataset.is_corpus_name(values.name) or values.name in known):
        raise UserError(
            f'--name={values.name!r} must be a-z, 0-9 and _, a letter first, and not that of a known corpus: choose '
            'another.'
        )
    if values.tokenizer:
        check_tokenizer(values.tokenizer, values.vocab_size)


def main(argv: list[str], write: Write = write_shards) -> None:
    """Prepares what the flags say, with `write` for the shards unless it is pinned, and prints what is there."""
    cli.refuse_arguments(argv)
    values = flags.FLAGS
    _check_flags(values)
    data_dir = Path(values.data_dir).expanduser() if values.data_dir else dataset.default_data_dir()
    name = values.name or values.corpus
    if values.corpus in CORPORA:
        prepare_corpus(name, data_dir, values.source, audit=values.audit)
        table = summary(data_dir, name)
    else:
        name, table = _prepare_own(values, data_dir, write)
    folder = dataset.version_dir(data_dir, name)
    print(f'{name} is ready in {folder}\n{table}')
    if values.audit:
        audit = audited(folder)
        print(f'\nLeakage audit:\n{audit.table()}')
        if audit.errors:
            print(
                'Training on the splits marked ERROR will be refused: take these recordings out of one of them and '
                'prepare again, or train with --allow_leakage.'
            )
    if values.tokenizer:
        tokenizer = dataset.load_or_train_tokenizer(
            data_dir, name, values.tokenizer, values.vocab_size, values.tokenizer_split
        )
        print(f'tokenizer: {values.tokenizer}, {tokenizer.vocab_size} labels including the blank')


if __name__ == '__main__':
    define_flags()
    cli.run(main)
