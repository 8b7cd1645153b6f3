"""A few small runs in one process, for notebooks: quiet, and not repeated if they are there already.

`bljust_jax.compare` is for comparisons that are to be believed: seeds, matched budgets, intervals.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from bljust_jax.compilation import keep_compiled_programs
from bljust_jax.config import from_config_dict, with_overrides
from bljust_jax.report import read_object
from bljust_jax.train import train
from bljust_jax.workdir import open_workdir


def train_variants(base: ConfigDict, variants: Mapping[str, Mapping[str, Any]], folder: str | Path) -> dict[str, Path]:
    """Trains each variant of a config, one after the other, and prints a line for each.

    Args:
      base: what `get_config` of a config file returns.
      variants: what each changes, such as `{'joint': {'strategy.name': 'joint'}}`.
      folder: in which each run has a folder, called like its variant.

    Returns:
      The folder of each run, in the same order.

    Raises:
      UserError: for a mistaken config, or a folder that holds another variant of the same name.
    """
    keep_compiled_programs()
    runs = {}
    for name, overrides in variants.items():
        checked, run = with_overrides(from_config_dict(base), overrides), Path(folder) / name
        open_workdir(run, checked)
        summary = read_object(run / 'summary.json')
        if not summary:
            with _quiet():
                summary = train(checked, run)
        rates = summary['splits'][checked.eval.dev]
        print(f'{name}: {checked.eval.dev} CER {100 * rates["cer"]:.1f}%, WER {100 * rates["wer"]:.1f}%')
        runs[name] = run
    return runs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without progress and warnings: what matters is in the run's report."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.set_verbosity(verbosity)
