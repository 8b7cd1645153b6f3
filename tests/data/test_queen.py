import pytest

from bljust_jax.data.corpora import amazon_queen, queen
from bljust_jax.errors import UserError
from tests.data import fakes


def test_segments_are_cut_at_codes():
    assert queen.segments('Hello*03there*02') == ['Hello', 'there', '']
    assert queen.segments('*FLHello*XY12345678901there') == ['', 'Hello', 'there']
    assert queen.segments('go*GD on*01') == [' on', '']


def test_voice_names():
    assert queen.voice_name(' 2   6P', 1) == '020006P2.SB'
    assert queen.voice_name('c1a__01', 14) == 'C1A__01F.SB'


def test_lines_of_a_game():
    lines = {line.prefix: (line.text, line.speaker) for line in queen.read_lines(queen.read_resources(fakes.game()))}
    assert lines[' 7   1J'] == ('Hello Bob!*03', 'joe')
    assert lines[' 7   1P'][1] == 'bob'
    assert lines[' 7XXXXJ'] == ('Bye*02', 'joe')
    assert lines['c1a__01'] == ('Look at that!', 'joe')
    assert lines['c1a__02'] == ('At what?', 'sparky')
    assert lines['c1a__03'] == ('Knock knock', 'door')
    assert lines['c1a__04'] == ('Boom', 'narrator')
    assert lines['JOE0001'] == ('That does not work*03', 'joe')
    assert lines['JOE0041'] == ('It is a rock.*24', 'joe')


def test_utterances_of_a_game():
    found = {utterance.id: utterance for utterance in amazon_queen.game_utterances(fakes.game())}
    said = {name: (utterance.text, utterance.speaker) for name, utterance in found.items()}
    assert said['070001p2'] == ('nice to see you', 'trader_bob')
    assert said['c1a__021'] == ('at what', 'sparky')
    assert said['c1a__031'] == ('knock knock', 'mixed')
    assert said['joe00411'] == ('it is a rock', 'joe')


def test_recording_with_two_texts_is_dropped():
    clash = fakes.dialogue(7, [(1, 'Something else')], [(9, 'x')], ('0', '0'))
    found = [utterance.id for utterance in amazon_queen.game_utterances(fakes.game(**{'BOB2.DOG': clash}))]
    assert '070001j1' not in found and '070001p2' in found


@pytest.mark.parametrize('kept', [4, 14, 15, 60, 400, -1])
def test_truncated_game(kept):
    with pytest.raises(UserError, match='queen.1c is truncated'):
        queen.read_resources(fakes.game()[:kept])


@pytest.mark.parametrize('name', ['BOB1.DOG', 'C1A.CUT', 'QUEEN.JAS', 'QUEEN2.JAS'])
def test_truncated_resource(name):
    whole = queen.read_resources(fakes.game())[name]
    for kept in (0, 7, len(whole) // 2):
        with pytest.raises(UserError, match=f'queen.1c is damaged in .*{name}'):
            list(queen.read_lines(queen.read_resources(fakes.game(**{name: whole[:kept]}))))


def test_foreign_files():
    with pytest.raises(UserError, match='is no data file'):
        queen.read_resources(fakes.sound(0.1))
    uncompressed = bytearray(fakes.game())
    uncompressed[12] = 0
    with pytest.raises(UserError, match='compression 0'):
        queen.read_resources(bytes(uncompressed))
    with pytest.raises(UserError, match='holds no QUEEN.JAS'):
        list(queen.read_lines({}))


@pytest.mark.parametrize(
    ('text', 'speaker', 'split'),
    [
        ("you wouldn't like me when i'm angry", 'anderson', 'dev'),
        ('lederhosen', 'trader_bob', 'test'),
        ('thanks a lot bud', 'gorilla', 'train_labelled'),
        ('oh i give up', 'bud', 'train_unlabelled'),
        ('oh i give up', 'naomi', 'test_unseen'),
    ],
)
def test_splits(text, speaker, split):
    assert amazon_queen.split_of(text, speaker) == split
