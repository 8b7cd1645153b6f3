r"""Looks for leakage between the splits of prepared corpora, and into the text of a language model.

    python -m bljust_jax.audit --corpus=phone_prompts
    python -m bljust_jax.audit --corpus=calls --corpus=librispeech --lm_text=FILE.txt

One corpus by itself: what is found is kept in its `audit.json`, which training reads. The exit status is 1 if audio
that is tested on is in a split that is trained on, or a speaker of a split of unseen ones is; with `--strict`, if two
splits have anything in common.
"""

import sys
from pathlib import Path

from absl import flags

from bljust_jax import cli
from bljust_jax.data import dataset
from bljust_jax.data.audit import audit_folders


def _define_flags() -> None:
    flags.DEFINE_multi_string('corpus', None, 'A prepared corpus; several are compared with each other.', required=True)
    flags.DEFINE_string(
        'data_dir', None, 'Where prepared corpora are kept (default: $BLJUST_DATA_DIR, else ~/.cache/bljust_jax/data).'
    )
    flags.DEFINE_multi_string('lm_text', [], 'A text file that a language model is made of; may be repeated.')
    flags.DEFINE_boolean('strict', False, 'Exit with status 1 for notes as well.')


def main(argv: list[str]) -> None:
    """Audits what the flags say and prints what is found."""
    cli.refuse_arguments(argv)
    values = flags.FLAGS
    data_dir = Path(values.data_dir).expanduser() if values.data_dir else dataset.default_data_dir()
    folders = [dataset.prepared_dir(data_dir, name) for name in dict.fromkeys(values.corpus)]
    audit = audit_folders(folders, [Path(name).expanduser() for name in values.lm_text])
    if len(folders) == 1 and not values.lm_text:
        audit.save(folders[0])
    print(audit.table())
    sys.exit(1 if audit.errors or (values.strict and audit.findings) else 0)


if __name__ == '__main__':
    _define_flags()
    cli.run(main)
