"""Which splits a run needs: told all at once, with what to do, before anything is done."""

from bljust_jax.config import Config
from bljust_jax.data.dataset import data_dir_of, splits_of
from bljust_jax.data.mixture import parse_mixture
from bljust_jax.errors import UserError


def check_splits(config: Config, *, labelled: bool, unlabelled: bool) -> None:
    """Checks that the corpora of a run have the splits that it trains on, chooses by and is scored on.

    Args:
      config: of the run, whose corpora are prepared.
      labelled, unlabelled: whether it trains on transcribed and on untranscribed speech.

    Raises:
      UserError: naming the field and what to do.
    """
    data, scored = config.data, config.eval
    own = splits_of(data_dir_of(data), data.corpus)
    trained = [
        (used, field, getattr(data, field), remedy)
        for used, field, remedy in (
            (labelled, 'labelled', 'name one with transcripts'),
            (unlabelled, 'unlabelled', 'name one, or train without by --config.strategy.name=supervised'),
        )
    ]
    for used, field, written, remedy in trained:
        for one in parse_mixture(written, data.corpus, f'config.data.{field}') if used else ():
            there = splits_of(data_dir_of(data), one.corpus)
            if one.split not in there:
                raise UserError(
                    f'config.data.{field}={written!r}: {one.corpus} has no split {one.split!r} (there: '
                    f'{", ".join(there)}): {remedy}.'
                )
    if scored.dev not in own:
        raise UserError(
            f'config.eval.dev={scored.dev!r}: {data.corpus} has no such split (there: {", ".join(own)}), by which the '
            'best checkpoint is chosen: prepare it with --dev as well.'
        )
    if missing := [split for split in scored.splits if split not in own]:
        kept = tuple(split for split in scored.splits if split in own)
        raise UserError(
            f'config.eval.splits names {missing[0]!r}, which {data.corpus} does not have (there: {", ".join(own)}): '
            f'prepare it with that as well, or score without by --config.eval.splits="{kept}".'
        )
