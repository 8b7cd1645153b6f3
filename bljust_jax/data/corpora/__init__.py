"""Corpora that `bljust_jax.prepare` builds: `CORPORA` maps each name to its description."""

from bljust_jax.data.corpora.amazon_queen import AMAZON_QUEEN
from bljust_jax.data.corpora.corpus import Corpus, Utterance
from bljust_jax.data.corpora.phone_prompts import PHONE_PROMPTS
from bljust_jax.data.corpora.smoke import SMOKE
from bljust_jax.data.corpora.synthetic_voices import SYNTHETIC_VOICES

CORPORA: dict[str, Corpus] = {corpus.name: corpus for corpus in (PHONE_PROMPTS, AMAZON_QUEEN, SYNTHETIC_VOICES, SMOKE)}

__all__ = ['CORPORA', 'Corpus', 'Utterance']
