"""`amazon_queen`: the voiced dialogue of the adventure *Flight of the Amazon Queen* (1995), 4.46 h of acted speech.

MP3 recordings at 11 kHz; there is nothing above 5.5 kHz. See `queen` for the file format.
"""

from collections.abc import Mapping
from pathlib import Path

from bljust_jax.data.corpora import queen
from bljust_jax.data.corpora.corpus import Corpus, Utterance
from bljust_jax.data.corpora.debian import DebianPackage, deb_files
from bljust_jax.data.corpora.digest import SplitDigest
from bljust_jax.data.corpora.splits import hash_fraction, is_usable, without_leaks
from bljust_jax.data.preparing.audio import duration
from bljust_jax.data.text import normalise
from bljust_jax.errors import UserError

_PACKAGE = DebianPackage(
    'flight-of-the-amazon-queen',
    '1.0.0-9',
    'pool/main/f/flight-of-the-amazon-queen',
    '40c08fd258d6fe95c46c1eaf5e9137f84ba330657995a281bd887c94a560a0f1',
)
_DATA_FILE = 'usr/share/scummvm/flight-of-the-amazon-queen/queen.1c'

UNSEEN_SPEAKERS = frozenset({'naomi', 'klunk', 'oracle', 'mary-lou', 'henry', 'laris', 'john', 'chef'})
_DEV_BELOW, _TEST_BELOW, _LABELLED_BELOW = 0.06, 0.14, 0.3

# The game's names for the same voice, by dialogue file (`and1.dog`) or object of a cutaway (`azura obj`).
_ALIASES = {
    'and': 'anderson',
    'ape': 'gorilla',
    'azura obj': 'princess azura',
    'bob': 'trader bob',
    'dog': 'guard dog',
    'jim': 'jimmy',
    'joe king': 'joe',
    'lou': 'mary-lou',
    'prin': 'princess azura',
    'sec': 'secretary',
    'showeram': 'showering amazon',
    'wedge': 'wedgewood',
    'witch': 'witch doctor',
    'zombie': 'zombie woman',
}
# Lines that a cutaway gives to a thing or a narrator are spoken by various people.
_MIXED = frozenset(
    (queen.NARRATOR, 'buttons', 'door', 'lily pad', 'note', 'path', 'rock', 'smoke', 'telephone', 'torch')
)


def speaker_name(raw: str) -> str:
    """The speaker as the corpus names it, such as `trader_bob`, from a name of the game, such as `bob`."""
    return 'mixed' if raw in _MIXED else _ALIASES.get(raw, raw).replace(' ', '_')


def split_of(text: str, speaker: str) -> str:
    """The split of an utterance with the normalised transcript `text`; one sentence has one split among the seen."""
    if speaker in UNSEEN_SPEAKERS:
        return 'test_unseen'
    fraction = hash_fraction(f'split:{text}')
    if fraction < _TEST_BELOW:
        return 'dev' if fraction < _DEV_BELOW else 'test'
    return 'train_labelled' if hash_fraction(f'lab:{text}') < _LABELLED_BELOW else 'train_unlabelled'


def utterances(packages: Mapping[str, Path]) -> list[Utterance]:
    """Returns every utterance of the corpus from its package (see `Corpus.utterances`)."""
    path = packages[_PACKAGE.name]
    content = next((content for name, content in deb_files(path) if name == _DATA_FILE), None)
    if content is None:
        raise UserError(f'{path} holds no {_DATA_FILE}: it is not the package {_PACKAGE.name}.')
    return game_utterances(content)


def game_utterances(content: bytes) -> list[Utterance]:
    """Returns the usable utterances in the bytes of `queen.1c`."""
    resources = queen.read_resources(content)
    utterances = []
    for name, (raw, speaker) in sorted(_voiced_segments(resources).items()):
        text, mp3 = normalise(raw), resources[name]
        if is_usable(raw, text, duration(mp3)):
            identity = name.removesuffix('.SB').lower()
            utterances.append(Utterance(identity, mp3, text, speaker, split_of(text, speaker)))
    return without_leaks(utterances)


def _voiced_segments(resources: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Maps each recording to (raw text, speaker), without those to which two different texts belong."""
    found: dict[str, tuple[str, str]] = {}
    ambiguous = set()
    for line in queen.read_lines(resources):
        for index, raw in enumerate(queen.segments(line.text)):
            name = queen.voice_name(line.prefix, index)
            if name not in resources or not normalise(raw):
                continue
            if name in found and normalise(found[name][0]) != normalise(raw):
                ambiguous.add(name)
            found.setdefault(name, (raw, speaker_name(line.speaker)))
    return {name: entry for name, entry in found.items() if name not in ambiguous}


AMAZON_QUEEN = Corpus(
    name='amazon_queen',
    version='1.0.0',
    packages=(_PACKAGE,),
    splits=('train_labelled', 'train_unlabelled', 'dev', 'test', 'test_unseen'),
    utterances=utterances,
    digests={
        'train_labelled': SplitDigest(1504, 1.0006, 'ba12fa814f068de23d67f09c3b7851084de2fe8e7f469735dc614f18a879d4ac'),
        'train_unlabelled': SplitDigest(
            3552, 2.4189, '774793fc72c431b4c4886a6718675150262b6a62d76641b8bca3e03d43927d69'
        ),
        'dev': SplitDigest(347, 0.2423, '1a30289d1533c1523700dd7898ea8d420a03e297d9eec807481993eb24fe3121'),
        'test': SplitDigest(411, 0.2835, '54972239503742da9e5f2bd0953da5a54beb6ae06e4098904390665ddb2b4618'),
        'test_unseen': SplitDigest(593, 0.5132, '0a074a8fac0066016a2ce3e65703b9b921edb0f08c0938abd2263de74769fbf0'),
    },
    description='Voiced dialogue of the adventure Flight of the Amazon Queen, 43 speakers, with transcripts.',
    licence='Flight of the Amazon Queen licence (freeware; modification and redistribution with the notice kept)',
    citation='Flight of the Amazon Queen, John Passfield and Steven Stamatiadis, 1995.',
    homepage='https://www.scummvm.org',
    known_leaks=frozenset({'c20f_05a', 'cintr341'}),  # the game has each twice, with different transcripts
)
