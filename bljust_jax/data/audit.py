"""Leakage audit: what the splits of prepared corpora have in common that they should not.

What is tested on must not be trained on. Every utterance is read once. All splits are compared by the hashes of their
ids, audio, speakers and transcripts; fingerprints of what is tested on (`is_tested`) are kept, and those of everything
else are looked up among them.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from bljust_jax.data import dataset
from bljust_jax.data.auditing import traits
from bljust_jax.data.auditing.findings import AUDIO, Audit, Finding, Kind, read_audit
from bljust_jax.data.auditing.fingerprint import Fingerprint, Index, fingerprint
from bljust_jax.data.corpora import CORPORA
from bljust_jax.errors import UserError

_COMPARED = (Kind.SAME_AUDIO, Kind.SIMILAR_AUDIO, Kind.SAME_ID, Kind.SAME_SPEAKER, Kind.SAME_TEXT)
_TESTED = re.compile(r'(dev|test|eval|valid(ation)?(?![a-z]))')  # not `validated`, which is a training split
_EXAMPLES = 5
_PHRASE = 5  # words, from which a sentence is also looked for within a line of an LM's text


class _Split(NamedTuple):
    """What is kept of a split.

    Attributes:
        name: `CORPUS/SPLIT`.
        ids, speakers: str `[utterances]`.
        hashes: what the utterances are compared by, uint64 `[utterances]` for each kind.
        texts: the words of each transcript, if it is tested on.
    """

    name: str
    ids: Sequence[str]
    speakers: Sequence[str]
    hashes: Mapping[Kind, np.ndarray]
    texts: Sequence[str]

    @property
    def tested(self) -> bool:
        return is_tested(self.name)


def is_tested(split: str) -> bool:
    """Whether a split, `CORPUS/SPLIT` or `SPLIT`, is for tests, as its name says; all others can be trained on.

    Its name begins with dev, test or eval, or is or begins with the word valid or validation.
    """
    return _TESTED.match(split.rpartition('/')[2]) is not None


def audit_corpus(folder: Path) -> Audit:
    """Audits the prepared corpus in `folder`, its version folder, and writes `audit.json` into it."""
    audit = audit_folders([folder])
    audit.save(folder)
    return audit


def audit_folders(folders: Iterable[Path], lm_texts: Sequence[Path] = ()) -> Audit:
    """Audits prepared corpora with each other, and the sentences that are tested on with texts of language models.

    Args:
        folders: their version folders.
        lm_texts: text files in UTF-8, of a sentence a line or of running text.

    Raises:
        UserError: a corpus is damaged, or a text cannot be read.
    """
    opened = [split for folder in folders for split in _open(folder)]
    tested = _Tested()
    splits = [_read(split, tested) for split in sorted(opened, key=lambda split: not is_tested(split.name))]
    findings = [
        finding
        for one, other in itertools.combinations(splits, 2)
        for kind in _COMPARED
        if (finding := _compare(kind, one, other, tested)) is not None
    ]
    findings += [
        finding
        for path in lm_texts
        for split, found in _sentences_in(path, [split for split in splits if split.tested])
        if (finding := _finding(Kind.IN_LM_TEXT, split, str(path), found, len(set(split.texts) - {''}))) is not None
    ]
    return Audit({split.name: len(split.ids) for split in splits}, tuple(findings))


class _Tested:
    """What sounds like what is tested on.

    Attributes:
        similar: to two splits, the one that is tested on first, the numbers of utterances in each that sound alike.
    """

    def __init__(self) -> None:
        self.similar: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self._index = Index()
        self._places: list[tuple[str, int]] = []  # the split of each fingerprint, and its number there

    def look_up(self, split: str, prints: Iterable[Fingerprint]) -> None:
        """Looks the utterances of a split up among those of the splits before; keeps them if it is tested on."""
        kept: list[Fingerprint] = []
        for number, print_ in enumerate(prints):
            for match in self._index.find(print_):
                other, there = self._places[match.number]
                self.similar.setdefault((other, split), []).append((there, number))
            if is_tested(split):
                kept.append(print_)
        for number, print_ in enumerate(kept):
            self._index.add(print_)
            self._places.append((split, number))


def _open(folder: Path) -> list[dataset.Split]:
    names = sorted(path.name.removesuffix('.lengths.npz') for path in folder.glob('*.lengths.npz'))
    return [dataset.open_split(folder, folder.parent.name, name) for name in names]


def _read(split: dataset.Split, tested: _Tested) -> _Split:
    """Reads a split once."""
    name = f'{split.corpus}/{split.name}'
    logging.info('Auditing %s: %d utterances, %.1f h.', name, len(split), split.hours)
    speakers: list[str] = []
    texts: list[str] = []
    hashes: list[tuple[int, ...]] = []

    def prints() -> Iterator[Fingerprint]:
        for number in range(len(split)):
            record = split.source[number]
            speaker, text = record.get('speaker', ''), traits.words(record.get('text', ''))
            speakers.append(speaker)
            texts.append(text if is_tested(name) else '')
            audio = record['audio']
            hashes.append((*map(traits.of_text, (record['id'], speaker, text)), traits.of_audio(audio)))
            yield fingerprint(audio)

    tested.look_up(name, prints())
    columns = np.array(hashes, np.uint64).reshape(-1, 4).T
    kinds = (Kind.SAME_ID, Kind.SAME_SPEAKER, Kind.SAME_TEXT, Kind.SAME_AUDIO)
    return _Split(name, split.ids.tolist(), speakers, dict(zip(kinds, columns, strict=True)), texts)


def _compare(kind: Kind, one: _Split, other: _Split, tested: _Tested) -> Finding | None:
    """What `one` has in common with `other`, which is tested on only if `one` is."""
    if kind in one.hashes:
        values = np.setdiff1d(one.hashes[kind], [traits.NONE])
        _, here, there = np.intersect1d(one.hashes[kind], other.hashes[kind], return_indices=True)
        shared = [pair for pair in zip(here, there, strict=True) if one.hashes[kind][pair[0]] != traits.NONE]
        total = len(values)
    else:
        audio = Kind.SAME_AUDIO
        shared = [
            (here, there)
            for here, there in tested.similar.get((one.name, other.name), [])
            if one.hashes[audio][here] != other.hashes[audio][there]
        ]
        total = len(one.ids)
    shown = (lambda split: split.speakers) if kind is Kind.SAME_SPEAKER else (lambda split: split.ids)
    examples = {shown(one)[here]: shown(other)[there] for here, there in sorted(shared)}
    leaks = one.tested and not other.tested
    unexpected = kind in AUDIO and not examples.keys() <= _known_leaks(one.name)
    unseen = kind is Kind.SAME_SPEAKER and 'unseen' in one.name.rpartition('/')[2]
    error = leaks and (unexpected or unseen)
    return _finding(kind, one, other.name, examples, total, error=error)


def _known_leaks(split: str) -> frozenset[str]:
    """Ids in a split, `CORPUS/SPLIT`, that are known to be trained on: pinned content stays as it is."""
    corpus = CORPORA.get(split.partition('/')[0])
    return corpus.known_leaks if corpus else frozenset()


def _finding(
    kind: Kind, split: _Split, other: str, shared: Mapping[str, str], total: int, *, error: bool = False
) -> Finding | None:
    examples = tuple(itertools.islice(shared.items(), _EXAMPLES))
    return Finding(kind, error, split.name, other, len(shared), total, examples) if shared else None


def _sentences_in(path: Path, splits: Sequence[_Split]) -> Iterator[tuple[_Split, dict[str, str]]]:
    """Yields, for each split, its sentences that the text in the file has, and the line that each ends in.

    A sentence may go over several lines. One of fewer words than `_PHRASE` has to be a line by itself: within others it
    says little.
    """
    sentences = {text for split in splits for text in split.texts if text}
    beginnings: dict[tuple[str, ...], list[list[str]]] = {}
    for sentence in sentences:
        parts = sentence.split()
        if len(parts) >= _PHRASE:
            beginnings.setdefault(tuple(parts[:_PHRASE]), []).append(parts)
    found: dict[str, str] = {}
    longest = max((len(sentence.split()) for sentence in sentences), default=1)
    words: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        whole = traits.words(line)
        within = [whole] if whole in sentences else []
        words = [*words[len(words) - longest + 1 :], *whole.split()]  # with the end of what comes before
        for start in range(len(words) - _PHRASE + 1):
            for candidate in beginnings.get(tuple(words[start : start + _PHRASE]), ()):
                if words[start : start + len(candidate)] == candidate:
                    within.append(' '.join(candidate))
        for sentence in within:
            found.setdefault(sentence, f'line {number}')
    for split in splits:
        yield split, {text: found[text] for text in dict.fromkeys(split.texts) if text in found}


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding='utf-8') as file:
            yield from file
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f'--lm_text={path} is not a file.') from error
    except UnicodeDecodeError as error:
        raise UserError(f'--lm_text={path} is not text in UTF-8 ({error}).') from error


def check_training(folders: Mapping[str, Path], trained: Iterable[str], *, allow_leakage: bool = False) -> None:
    """Refuses to train on what is tested on, as far as audits know.

    Args:
        folders: version folders of the corpora that are trained on, by name.
        trained: the splits that are trained on, as `CORPUS/SPLIT`.
        allow_leakage: warn, and go on.

    Raises:
        UserError: one of them is for tests, or audio that is tested on is in it.
    """
    trained = list(trained)
    for split in filter(is_tested, trained):
        if not allow_leakage:
            raise UserError(f'{split} is for tests, as its name says: train on another split, or with --allow_leakage.')
        logging.warning('%s is trained on, and is for tests, as its name says.', split)
    if len(folders) > 1:
        logging.warning(
            'Each of %s was audited by itself; whether one is tested on what another is trained on tells '
            '"python -m bljust_jax.audit %s".',
            ' and '.join(folders),
            ' '.join(f'--corpus={corpus}' for corpus in folders),
        )
    for corpus, folder in folders.items():
        audit = read_audit(folder)
        if audit is None:
            logging.info(
                '%s was not audited for leakage: see "python -m bljust_jax.audit --corpus=%s".', corpus, corpus
            )
            continue
        for leak in audit.leaks_into(trained):
            sentence = (
                f'{leak.count} of {leak.total} utterances of {leak.split} are in {leak.other}, which is trained on'
            )
            if not allow_leakage:
                raise UserError(
                    f'{sentence} ({leak.kind}, such as {leak.examples[0][0]}): '
                    'take them out of it and prepare it again, or go on with --allow_leakage.'
                )
            logging.warning('%s (%s).', sentence, leak.kind)
