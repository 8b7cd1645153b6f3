r"""Makes an n-gram language model over the labels of a run, as an ARPA file.

    python -m bljust_jax.lm --workdir=RUN --order=5 --output=FILE.arpa
    python -m bljust_jax.lm --workdir=RUN --text=FILE.txt --order=5 --output=FILE.arpa
    python -m bljust_jax.lm --text=FILE.txt --order=5 --output=FILE.arpa

The first reads the transcripts that the run was trained on, and no others. `--text` takes the lines of a file instead,
normalised as the run's transcripts were. With `--workdir` the words of the model are the labels of the run's tokenizer;
without, the characters of the text. Smoothing is interpolated modified Kneser-Ney.
"""

from pathlib import Path

from absl import flags, logging

from bljust_jax import cli
from bljust_jax.config import NormaliserConfig
from bljust_jax.data.dataset import texts_of
from bljust_jax.data.subset import load_training_split
from bljust_jax.data.text import CharTokenizer, Tokenizer, make_normaliser, outside_alphabet, read_normaliser
from bljust_jax.errors import UserError
from bljust_jax.lm.arpa import NgramModel, write_arpa
from bljust_jax.lm.kneser_ney import kneser_ney
from bljust_jax.workdir import read_config, read_tokenizer


def read_lines(path: Path, config: NormaliserConfig) -> list[str]:
    """The lines of a text file, normalised, without empty ones and those with other characters than transcripts."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f'--text={path} is no file.') from error
    except UnicodeDecodeError as error:
        raise UserError(f'--text={path} is not text in UTF-8.') from error
    texts = [text for text in map(make_normaliser(config), lines) if text]
    known = [text for text in texts if not outside_alphabet(text, config)]
    if len(known) < len(texts):
        logging.info(
            '%d of %d lines have other letters than transcripts and are left out.', len(texts) - len(known), len(texts)
        )
    if not known:
        raise UserError(f'--text={path} has no words in it.')
    return known


def estimate(texts: list[str], tokenizer: Tokenizer, order: int) -> NgramModel:
    """The n-gram model of `texts` over the labels of `tokenizer`."""
    names = tokenizer.names
    return kneser_ney([[names[label - 1] for label in tokenizer.encode(text)] for text in texts], names, order)


def main(argv: list[str]) -> None:
    """Reads, estimates and writes."""
    cli.refuse_arguments(argv)
    if not (_TEXT.value or _WORKDIR.value):
        raise UserError('Name a run by --workdir, a text by --text, or both (see --help).')
    output = Path(_OUTPUT.value).expanduser()
    if not output.parent.is_dir() or output.is_dir():
        raise UserError(f'--output={output} is no file in a folder that exists.')
    workdir = Path(_WORKDIR.value or '').expanduser()
    normaliser = read_normaliser(workdir) if _WORKDIR.value else NormaliserConfig()
    texts = read_lines(Path(_TEXT.value).expanduser(), normaliser) if _TEXT.value else []
    if _WORKDIR.value:
        data, tokenizer = read_config(workdir).data, read_tokenizer(workdir)
        texts = texts or texts_of(load_training_split(data, labelled=True))
    else:
        tokenizer = CharTokenizer.train(texts)
    logging.info('Counting the n-grams of %d sentences up to length %d.', len(texts), _ORDER.value)
    model = estimate(texts, tokenizer, _ORDER.value)
    write_arpa(output, model)
    sizes = [sum(len(ngram) == length for ngram in model.entries) for length in range(1, model.order + 1)]
    logging.info(
        'Wrote %s: %s n-grams of length 1 to %d.', output, ', '.join(f'{size:,}' for size in sizes), model.order
    )


if __name__ == '__main__':
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a run, whose labels the model is over.')
    _TEXT = flags.DEFINE_string('text', None, "Text file, a sentence a line, instead of the run's own transcripts.")
    _ORDER = flags.DEFINE_integer('order', 5, 'Length of the longest n-grams.', lower_bound=1, upper_bound=20)
    _OUTPUT = flags.DEFINE_string('output', None, 'The ARPA file to write.', required=True)
    cli.run(main)
