"""N-gram language models over a tokenizer's labels; `python -m bljust_jax.lm` makes one."""

from bljust_jax.lm.arpa import NgramModel, read_arpa, write_arpa
from bljust_jax.lm.kneser_ney import kneser_ney
from bljust_jax.lm.table import NgramTable, ngram_table

__all__ = ['NgramModel', 'NgramTable', 'kneser_ney', 'ngram_table', 'read_arpa', 'write_arpa']
