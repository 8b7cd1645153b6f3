"""Compares training strategies, or other settings, over several seeds (docs/comparison.md).

python -m bljust_jax.compare --config=configs/conformer.py[:preset] [--config.field=value ...]
    --strategies=supervised,pretrain_finetune,joint,bl_just --seeds=0,1,2 --workdir=DIR
    [--reference=bl_just] [--match=labelled_hours|steps|flops|wall] [--sweep=levels.unsup.gamma_max=1e-2,1e-1,1]
    [--shard=i/n] [--only_results]
"""

import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from bljust_jax import cli
from bljust_jax.comparison import arms
from bljust_jax.errors import UserError


def main(argv: list[str]) -> None:
    """Reads the flags, runs what has no result yet, and writes the results."""
    cli.refuse_arguments(argv)
    if not _WORKDIR.value:
        raise UserError('--workdir is empty: name a folder.')
    base, sweep, shard = cli.config_of(_CONFIG), arms.parse_sweep(_SWEEP.value), arms.parse_shard(_SHARD.value)
    # jax is slow to import, and a mistaken flag should be told at once.
    import jax

    from bljust_jax.comparison.session import run_session
    from bljust_jax.strategies import STRATEGIES

    jax.config.update('jax_platforms', 'cpu')  # the devices are for the runs, which are other processes
    flag = flags.FLAGS[_CONFIG.name]
    source = config_flags.get_config_filename(flag)
    variants = arms.variants_of(source)
    comparison = arms.compare(
        source,
        base,
        config_flags.get_override_values(flag),
        known={name: {'strategy.name': name} for name in STRATEGIES} | variants,
        names=list(variants) if _STRATEGIES.value is None else _STRATEGIES.value,
        seeds=_SEEDS.value,
        reference=_REFERENCE.value,
        sweep=sweep,
        match=_MATCH.value,
    )
    workdir = Path(_WORKDIR.value).expanduser()
    sys.exit(run_session(comparison, workdir, shard=shard, only_results=_ONLY_RESULTS.value))


if __name__ == '__main__':
    _CONFIG = config_flags.DEFINE_config_file(
        'config',
        None,
        'Config file, with a preset after a colon; --config.FIELD=VALUE overrides any field of all arms.',
    )
    _STRATEGIES = flags.DEFINE_list(
        'strategies', None, 'Arms to compare: strategies, or VARIANTS of the config file; by default all VARIANTS.'
    )
    _SEEDS = flags.DEFINE_list('seeds', ['0', '1', '2'], 'Seeds of the runs of each arm.')
    _WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the comparison; what is in it goes on.', required=True)
    _REFERENCE = flags.DEFINE_string('reference', None, 'Arm that the others are compared with: bl_just, or the first.')
    _MATCH = flags.DEFINE_enum(
        'match', 'labelled_hours', ['labelled_hours', 'steps', 'flops', 'wall'], 'What all arms have equal amounts of.'
    )
    _SWEEP = flags.DEFINE_multi_string(
        'sweep', [], 'FIELD=VALUE,VALUE...: each arm with each value; dev chooses those that are scored on test.'
    )
    _SHARD = flags.DEFINE_string('shard', '1/1', 'i/n: the i-th of n parts of the runs, i from 1 to n.')
    _ONLY_RESULTS = flags.DEFINE_bool('only_results', False, 'Write the results of what has finished; run nothing.')
    flags.mark_flag_as_required('config')
    cli.run(main)
