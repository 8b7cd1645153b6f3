"""The fields of `NormaliserConfig` as flags of a command."""

import dataclasses
from typing import Any

from absl import flags

from bljust_jax.config import NormaliserConfig
from bljust_jax.config.checks import check


def text_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags that `normaliser_from_flags` reads."""
    texts = {
        'language': 'Language of the transcripts, such as en, pt-BR or hi.',
        'alphabet': "The characters that a transcript may have, 'language' for its letters; by default any.",
    }
    choices = {
        'case': (['lower', 'upper', 'keep'], 'Case of the letters of transcripts.'),
        'punctuation': (['drop', 'keep'], 'Of transcripts; apostrophes inside words stay.'),
        'numbers': (['words', 'keep'], 'Numbers in transcripts: in words or as they are.'),
        'accents': (
            ['auto', 'strip', 'keep'],
            'Strip transcripts to ASCII, or keep letters; auto strips in English only.',
        ),
    }
    default = NormaliserConfig()
    for name, words in texts.items():
        flags.DEFINE_string(name, getattr(default, name), words, flag_values=values)
    for name, (known, words) in choices.items():
        flags.DEFINE_enum(name, getattr(default, name), known, words, flag_values=values)


def normaliser_from_flags(values: flags.FlagValues) -> NormaliserConfig:
    """The normaliser that the flags ask for, checked.

    Raises:
      UserError: a field has a wrong value.
    """
    fields: dict[str, Any] = {field.name: values[field.name].value for field in dataclasses.fields(NormaliserConfig)}
    config = NormaliserConfig(**fields)
    check(config, 'text')
    return config
