import itertools
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bljust_jax.config import NormaliserConfig
from bljust_jax.data.text import has_long_number, make_normaliser, normalise, outside_alphabet
from bljust_jax.data.text.numbers import make_speller
from bljust_jax.errors import UserError


@pytest.mark.parametrize(
    ('raw', 'expected'),
    [
        ("Don't PANIC!", "don't panic"),
        ('It\u2019s a caf\u00e9\u2026', "it's a cafe"),
        ("'Tis the dogs' day", 'tis the dogs day'),
        ('Rock & roll', 'rock and roll'),
        ('Well <gulp> hello (sigh) there [beep]', 'well hello there'),
        ('an (unclosed aside', 'an unclosed aside'),
        ('H.323', 'h three hundred twenty three'),
        ('3D audio', 'three d audio'),
        ('13th July, 1922', 'one three th july nineteen twenty two'),
        (
            '1844 1100 1900 1905 2000',
            'eighteen forty four one thousand one hundred one thousand nine hundred nineteen oh five two thousand',
        ),
        ('19:00 hours', 'nineteen zero hours'),
        ('99999', 'ninety nine thousand nine hundred ninety nine'),
        ('123456', 'one two three four five six'),
        ('...', ''),
        ('', ''),
    ],
)
def test_normalise(raw, expected):
    assert normalise(raw) == expected


@given(st.text() | st.text(alphabet="aZ'09 (<[)]>&\u00e9\u2019"))
def test_normalise_gives_words_and_is_idempotent(raw):
    text = normalise(raw)
    assert normalise(text) == text
    assert set(text) - set("abcdefghijklmnopqrstuvwxyz' ") == set(outside_alphabet(text, NormaliserConfig()))
    assert text == ' '.join(text.split())
    assert all(word[0].isalnum() and word[-1].isalnum() for word in text.split())


@pytest.mark.parametrize(
    ('raw', 'expected'),
    [
        ('well—I, yes–no, twenty‑one', 'well i yes no twenty one'),
        ('a•b 3×4', 'a b three four'),
        ('1½ cups', 'one one two cups'),
        ('Schöne Grüße, søster Łódź', 'schone grusse soster lodz'),
    ],
)
def test_what_is_not_ascii_is_a_space_or_its_letters(raw, expected):
    assert normalise(raw) == expected


def test_letters_that_have_no_ascii_form_are_told():
    text = normalise('Привет, 21!')
    assert outside_alphabet(text, NormaliserConfig()) == sorted(set('привет'))


def test_numbers_of_a_language_that_only_begins_like_another():
    with pytest.raises(UserError, match="language='fil'"):
        make_normaliser(NormaliserConfig('fil'))
    assert make_normaliser(NormaliserConfig('pt-BR'))('21') == 'vinte e um'


def test_has_long_number():
    assert has_long_number('call 555123 now')
    assert not has_long_number('call 55512 or 34')


def reference(text):
    """The default form as the pinned corpora have it, in one go: the digests of these depend on it."""
    text = unicodedata.normalize('NFKD', text.replace('\u2019', "'")).encode('ascii', 'ignore').decode().lower()
    text = re.sub(r'<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)', ' ', text).replace('&', ' and ')
    text = re.sub(r'(?<=[a-z])[0-9]+|[0-9]+(?=[a-z])', lambda number: f' {" ".join(number[0])} ', text)
    spell = make_speller('en')
    words = []
    for token in re.findall(r"[a-z]+(?:'[a-z]+)*|[0-9]+", text):
        digits = [token] if len(token) < 6 else token
        words += [spell(int(digit)) for digit in digits] if token.isdigit() else [token]
    return ' '.join(words)


@given(st.text(alphabet="aZk'09 (<[)]>&\u00e9\u2019_-.,!?\x00\u212a\ufb01\uff10\u00a0"))
def test_the_default_is_the_form_of_the_pinned_corpora(raw):
    assert normalise(raw) == make_normaliser(NormaliserConfig())(raw) == reference(raw)


@pytest.mark.parametrize(
    ('config', 'raw', 'expected'),
    [
        (NormaliserConfig('ru'), '«Привет, мир!» — всё-таки йод.', 'привет мир всё таки йод'),
        (NormaliserConfig('ru'), 'ему 21 год', 'ему двадцать один год'),
        (NormaliserConfig('uk'), 'Сім\u2019я & об\u02bcєкт', "сім'я і об'єкт"),
        # KSSA with a joiner that keeps its parts apart, a decomposed vowel sign, a full stop of its own (danda)
        (NormaliserConfig('hi', numbers='keep'), 'क्\u200dषण में, हिन्दी है। १२', 'क्\u200dषण में हिन्दी है १२'),
        (NormaliserConfig('hi', numbers='keep'), '\u0958लम', '\u0915\u093cलम'),
        (NormaliserConfig('bn'), 'র\u200d্যাব', 'র\u200d্যাব'),
        (NormaliserConfig('fa'), 'می\u200cخواهم، ۳ کتاب', 'می\u200cخواهم سه کتاب'),
        (NormaliserConfig('zh', numbers='keep'), '你好，世界！ 我有3个 iPhone。', '你好世界我有3个 iphone'),
        (NormaliserConfig('zh', numbers='keep'), '２０２４年', '2024年'),
        (NormaliserConfig('ja'), '私は３個の りんご、カメラ・レンズ。', '私は三個のりんごカメラレンズ'),
        (NormaliserConfig('ko'), '안녕하세요, 세계!', '안녕하세요 세계'),
        (NormaliserConfig('th'), '\u0e19\u0e49\u0e33 ๓', '\u0e19\u0e49\u0e33 สาม'),
        (NormaliserConfig('ar', numbers='keep'), 'مـــرحبا، بالعالم؟', 'مرحبا بالعالم'),
        (NormaliserConfig('he', numbers='keep'), 'צה״ל ״שלום״', 'צה״ל שלום'),
        (NormaliserConfig('tr'), 'IĞDIR, İstanbul', 'ığdır istanbul'),
        (NormaliserConfig('tr', case='upper'), 'ılık iyi', 'ILIK İYİ'),
        (NormaliserConfig('de', case='upper'), 'Straße im März', 'STRASSE IM MÄRZ'),
        (NormaliserConfig('de'), '3D, 21 und 123456', 'drei d einundzwanzig und eins zwei drei vier fünf sechs'),
        (NormaliserConfig('fr'), 'L\u2019e\u0301te\u0301 a 22 jours (bruit)', "l'été a vingt deux jours"),
        (NormaliserConfig('fr', accents='strip'), 'Où ça ? Là !', 'ou ca la'),
        (NormaliserConfig('pt-BR'), '16', 'dezesseis'),
        (NormaliserConfig('pt'), '16', 'dezasseis'),
        (NormaliserConfig(case='keep', punctuation='keep', numbers='keep'), 'Well, "I\u2019m" 5%!', 'Well, "I\'m" 5%!'),
        (NormaliserConfig(punctuation='keep'), 'In 1922, at 5.', 'in nineteen twenty two, at five.'),
        (NormaliserConfig(), 'Ek is \u0149 mens', 'ek is n mens'),
        (NormaliserConfig(numbers='keep'), 'The 3rd of 12', 'the 3rd of 12'),
        (NormaliserConfig(accents='keep'), 'A na\u00efve caf\u00e9', 'a na\u00efve caf\u00e9'),
        (NormaliserConfig('ru'), 'a\u00adb\u200bc\ufeff\u200e\u200dd', 'abcd'),  # nothing to shape in Latin letters
        (NormaliserConfig('ru'), '\U0001f469\u200d\U0001f680 да \u2764\ufe0f', 'да'),
    ],
)
def test_languages_and_fields(config, raw, expected):
    assert make_normaliser(config)(raw) == expected


LANGUAGES = ('en', 'ru', 'tr', 'ja', 'de', 'ar', 'hi')
FIELDS = itertools.product(LANGUAGES, ('lower', 'upper', 'keep'), ('drop', 'keep'), ('keep',), ('auto', 'keep'))
NORMALISERS = [make_normaliser(NormaliserConfig(*fields)) for fields in FIELDS]
HARD = (
    "aİIiıßΣςά०१२३ک\u200cکक्\u200dष\u200cर্য\u0301\u0327'\u2019(&)<>9 ,.-\u00bdⅣ〇你好，世ーｶﾞกำ\u0e4d\u0e32"
    '\ufe0f\u00ad\u200b\u05f4צ\u0149\u01f0\u0390ᾳ\u0345ა\u1100\u1161\ud800\x00'
)


@given(st.sampled_from(NORMALISERS), st.text() | st.text(alphabet=HARD))
def test_every_form_is_composed_single_spaced_and_final(normaliser, raw):
    text = normaliser(raw)
    assert normaliser(text) == text
    assert text == ' '.join(text.split())
    assert unicodedata.is_normalized('NFC', text)
    assert not re.search('[\x00-\x1f\ud800-\udfff\ufeff]', text)


def test_numbers_of_a_language_that_has_none_in_words():
    with pytest.raises(UserError, match="numbers='words' is not there for language='hi'.*choose numbers='keep'"):
        make_normaliser(NormaliserConfig('hi'))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (NormaliserConfig('English'), "text.language must be the code of a language, .* not 'English'"),
        (NormaliserConfig(case='title'), "text.case must be one of lower, upper, keep, not 'title'"),
        (NormaliserConfig('ru', accents='strip'), "accents='strip' leaves nothing but ASCII"),
        (NormaliserConfig('xh', accents='strip', alphabet='абв'), "accents='strip' leaves nothing but ASCII"),
        (NormaliserConfig('xh', alphabet='language'), "alphabet='language' is known for .*, not for language='xh'"),
    ],
)
def test_mistakes(config, message):
    with pytest.raises(UserError, match=message):
        make_normaliser(config)


@pytest.mark.parametrize(
    ('config', 'text', 'outside'),
    [
        (NormaliserConfig(), 'anything гоes', ['г', 'о']),
        (NormaliserConfig(accents='keep'), 'anything гоes', []),
        (NormaliserConfig(alphabet='abc'), 'a cab', []),
        (NormaliserConfig(alphabet='abc', case='upper'), 'A CAB D', ['D']),
        (NormaliserConfig(alphabet='abc', numbers='keep'), "a 3 'b", ["'", '3']),
        (NormaliserConfig('de', alphabet='language'), "straße geht's 5 ñ", ['ñ']),
        (NormaliserConfig('de', alphabet='language', case='keep'), 'Äpfel É', ['É']),
        (NormaliserConfig('ru', alphabet='language'), 'ёлка iphone', list('ehinop')),
        (NormaliserConfig('hi', alphabet='language', numbers='keep'), '\u0915\u093cलम क्\u200dष १२ abc', list('abc')),
        (NormaliserConfig('zh', alphabet='language', numbers='keep'), '二〇二四年 3 か', ['か']),
        (NormaliserConfig('tr', alphabet='language', case='upper'), 'IĞDIR İ', []),
    ],
)
def test_outside_the_alphabet(config, text, outside):
    assert outside_alphabet(text, config) == outside
