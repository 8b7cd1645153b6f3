import pytest
from absl import flags

from bljust_jax.config import NormaliserConfig
from bljust_jax.data.text import read_normaliser, save_normaliser
from bljust_jax.data.text.flags import normaliser_from_flags, text_flags
from bljust_jax.errors import UserError


def test_comes_back(tmp_path):
    config = NormaliserConfig('pt-BR', case='keep', alphabet='açã')
    save_normaliser(tmp_path, config)
    assert read_normaliser(tmp_path) == config
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_without_one_has_the_default(tmp_path):
    assert read_normaliser(tmp_path) == NormaliserConfig()


@pytest.mark.parametrize('content', ['', '[]', '{"tongue": "en"}', '{"case": "title"}', '{"language": 3}'])
def test_a_damaged_one_is_told(tmp_path, content):
    (tmp_path / 'normaliser.json').write_text(content)
    with pytest.raises(UserError, match='normaliser.json is not a normaliser'):
        read_normaliser(tmp_path)


@pytest.fixture
def values():
    values = flags.FlagValues()
    text_flags(values)
    return values


def test_flags_are_the_fields(values):
    values(['prepare'])
    assert normaliser_from_flags(values) == NormaliserConfig()


def test_flags_given(values):
    values(
        [
            'prepare',
            '--language=ru',
            '--case=upper',
            '--punctuation=keep',
            '--numbers=keep',
            '--accents=keep',
            '--alphabet=language',
        ]
    )
    assert normaliser_from_flags(values) == NormaliserConfig('ru', 'upper', 'keep', 'keep', 'keep', 'language')


def test_a_wrong_flag(values):
    values(['prepare', '--language=Russian'])
    with pytest.raises(UserError, match='text.language must be the code'):
        normaliser_from_flags(values)
