"""Whatever happens to the text files of a corpus, reading gives utterances and rejections, or one error for people."""

import random

import pytest

from bljust_jax.data.corpora import Utterance
from bljust_jax.data.preparing.rejection import Rejection
from bljust_jax.data.sources.layouts import LAYOUTS
from bljust_jax.errors import UserError
from tests.data.sources.trees import write_audio, write_text

CASES = 400  # for each of the files below
CALL = {'rate': 8000, 'channels': 2, 'format': 'NIST', 'subtype': 'ULAW'}
SCRAPS = (
    b'\x00', b'\xff\xfe', b'\xe2\x80\xa8', b'\xe2\x80\xae', b'\n', b'\r\n', b'\t', b' ', b'../', b'/etc/passwd', b'~',
    b'nan', b'inf', b'-1', b'1e308', b'9' * 400, b'[[', b'(((', b'{', b'</', b'\xd9\xa2', b'a' * 5000,
)  # fmt: skip
FILES = {
    ('librispeech', 'dev_clean'): ('LibriSpeech/dev-clean/1/2/1-2.trans.txt', '1-2-0 ONE TWO\n1-2-1 THREE\n'),
    ('tedlium2', 'train'): (
        'train/stm/a.stm',
        "a 1 a 0.10 0.42 <o,f0,male> it 's the(2) {NOISE}\na 1 a 0.5 0.6 <NA> <unk> (a-0.5-0.6)\n",
    ),
    ('switchboard', 'dev'): (
        't/sw2001A-ms98-a-trans.text',
        "sw2001A-ms98-a-0001 0.0 0.5 th[at]- [laughter-yes]\nsw2001A-ms98-a-0002 0.5 0.9 [it'n/isn't] {x}\n",
    ),
    ('switchboard', 'test_swb'): (
        'hub5e00.english.000405.stm',
        'sw_4390 A sw_4390_A 0.2 0.4 <O,en,F,en-F> { A / B } (%HM) OF\nsw_4390 B x 0.5 0.9 <O> YES\n',
    ),
    ('fleurs', 'dev'): ('dev.tsv', '1\ta.wav\tA.\ta\ta |\t16000\tMALE\n2\tb.wav\tB.\tb\tb |\t16000\tMALE\n'),
    ('common_voice', 'dev'): ('dev.tsv', 'client_id\tpath\tsentence\nx\ta.mp3\tA.\ny\tb.mp3\tB.\n'),
}


def mutated(content: bytes, chance: random.Random) -> bytes:
    """`content` with a few bytes replaced, cut out, doubled, or scraps between them."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(content) + 1)
        end = min(len(content), start + chance.choice((0, 1, 2, 8, 30)))
        middle = chance.choice((b'', content[start:end] * 2, chance.choice(SCRAPS), chance.randbytes(end - start)))
        content = content[:start] + middle + content[end:]
    return content


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('corpora')
    write_audio(folder, 'LibriSpeech/dev-clean/1/2/1-2-0.flac', 'LibriSpeech/dev-clean/1/2/1-2-1.flac')
    write_audio(folder, 'train/sph/a.sph', format='NIST', subtype='PCM_16')
    write_audio(folder, 'd/sw02001.sph', 'd/sw_4390.sph', **CALL)
    write_audio(folder, 'audio/dev/a.wav', 'audio/dev/b.wav', 'clips/a.mp3', 'clips/b.mp3')
    return folder


@pytest.mark.parametrize('corpus', FILES, ids='-'.join)
def test_mutated_text_is_survived(corpus, root):
    (name, split), (file, content) = corpus, FILES[corpus]
    write_text(root, {file: content})
    assert [type(record) for record in LAYOUTS[name].read(root, split)] == [Utterance, Utterance]
    outcomes = set()
    for case in range(CASES):
        changed = mutated(content.encode(), random.Random(f'{corpus} {case}'))
        write_text(root, {file: changed})
        try:
            records = list(LAYOUTS[name].read(root, split))
        except UserError:
            outcomes.add(UserError)
            continue
        for record in records:
            outcomes.add(type(record))
            assert record.split == split
            if isinstance(record, Rejection):
                assert record.source.startswith(str(root)) and record.detail and '\n' not in record.detail, changed
            else:
                assert record.recording.path.is_relative_to(root) and record.recording.path.is_file(), changed
    assert {Utterance, Rejection} <= outcomes
    assert (UserError in outcomes) == (name == 'common_voice')  # whose table lost a column
