"""`phone_prompts`: the telephone prompts of the Asterisk exchange, read by one professional voice a language.

English comes with transcripts; Spanish, French, Italian and Russian are untranscribed. 8 kHz recordings.
"""

import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from bljust_jax.data.corpora.corpus import Corpus, Utterance
from bljust_jax.data.corpora.debian import DebianPackage, deb_files
from bljust_jax.data.corpora.digest import SplitDigest
from bljust_jax.data.corpora.splits import has_usable_length, hash_fraction, is_usable
from bljust_jax.data.preparing.audio import duration
from bljust_jax.data.text import normalise
from bljust_jax.errors import UserError

_VERSION, _FOLDER = '1.6.1-1', 'pool/main/a/asterisk-core-sounds'
_TEXT_PACKAGE = 'asterisk-core-sounds-en'
_TEXT_FILE = 'usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz'
_SOUNDS = 'usr/share/asterisk/sounds/'
_UNTRANSCRIBED = ('es', 'fr', 'it', 'ru')
_TEST_BELOW, _DEV_BELOW = 0.2, 0.3


def _wav_package(language: str) -> str:
    return f'asterisk-core-sounds-{language}-wav'


def read_transcripts(path: Path) -> dict[str, str]:
    """Returns the raw transcript of each English prompt by its name, such as `digits/h-1`."""
    for name, content in deb_files(path):
        if name == _TEXT_FILE:
            lines = gzip.decompress(content).decode('latin-1').splitlines()
            pairs = (line.partition(':') for line in lines if not line.startswith(';'))
            return {prompt.strip(): text.strip() for prompt, colon, text in pairs if colon}
    raise UserError(f'{path} holds no {_TEXT_FILE}: it is not the package {_TEXT_PACKAGE}.')


def read_prompts(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yields (voice, prompt name, WAV bytes) from a package; the voice is lower-case, such as `june`."""
    for name, content in deb_files(path):
        if name.startswith(_SOUNDS) and name.endswith('.wav'):
            folder, *rest = PurePosixPath(name.removeprefix(_SOUNDS)).with_suffix('').parts
            yield folder.split('_')[-1].lower(), '/'.join(rest), content


def split_of(text: str) -> str:
    """The split of an English prompt with the normalised transcript `text`."""
    fraction = hash_fraction(f'split:{text}')
    if fraction < _TEST_BELOW:
        return 'test'
    return 'dev' if fraction < _DEV_BELOW else 'train_labelled'


def utterances(packages: Mapping[str, Path]) -> Iterator[Utterance]:
    """Yields every utterance of the corpus from its packages (see `Corpus.utterances`)."""
    transcripts = read_transcripts(packages[_TEXT_PACKAGE])
    for voice, prompt, wav in read_prompts(packages[_wav_package('en')]):
        raw = transcripts.get(prompt, '')
        text = normalise(raw)
        if is_usable(raw, text, duration(wav)):
            name, split = prompt.replace('/', '-'), split_of(text)
            yield Utterance(name, wav, text, voice, split)
            if split == 'train_labelled':
                yield Utterance(f'en-{name}', wav, None, voice, 'train_unlabelled')
    # The other languages have the same prompts: where English has a beep or silence, so have they.
    wordless = {prompt for prompt, raw in transcripts.items() if not normalise(raw)}
    for language in _UNTRANSCRIBED:
        for voice, prompt, wav in read_prompts(packages[_wav_package(language)]):
            if prompt not in wordless and has_usable_length(duration(wav)):
                name = f'{language}-{prompt.replace("/", "-")}'
                yield Utterance(name, wav, None, f'{voice}-{language}', 'train_unlabelled')


PHONE_PROMPTS = Corpus(
    name='phone_prompts',
    version='1.0.0',
    packages=(
        DebianPackage(
            _TEXT_PACKAGE, _VERSION, _FOLDER, '973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50'
        ),
        *(
            DebianPackage(_wav_package(language), _VERSION, _FOLDER, sha256)
            for language, sha256 in (
                ('en', '2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d'),
                ('es', '9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903'),
                ('fr', '8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e'),
                ('it', '5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb'),
                ('ru', 'ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201'),
            )
        ),
    ),
    splits=('train_labelled', 'train_unlabelled', 'dev', 'test'),
    utterances=utterances,
    digests={
        'train_labelled': SplitDigest(352, 0.2205, '556524ea96907a6c7e7cc9b3b04d90cea6b16f79519b6725e338a05c98286819'),
        'train_unlabelled': SplitDigest(
            2474, 1.5624, '4c53256f1f0ade1cdb861d146177212d2d52e1c50c59a15ef2a345cf3a6544b6'
        ),
        'dev': SplitDigest(58, 0.0423, '7f7ba4333b6a5701e775bff6ba307c13fca944297b25cbcda5d0b67abc5a6f00'),
        'test': SplitDigest(106, 0.0708, 'de7afc85ae240999738cded7ffff37f4fbd734924f883dfad4ba1b71691d2412'),
    },
    description='Telephone prompts of the Asterisk exchange: English with transcripts, four languages without.',
    licence='CC-BY-SA-3.0',
    citation='Asterisk Core Sounds 1.6.1, Digium, Inc.',
    homepage='https://www.asterisk.org',
    known_leaks=frozenset({'if-correct-press'}),  # its word "press" sounds like the prompt of that word alone
)
