"""What compilation costs in the preset `mini`: of a first run, and of one that finds its programs in the cache.

    python -m benchmarks.compile_time

Both are runs of the main command with its phases shortened to a few steps, so that everything is compiled that a whole
run compiles: initial state, gradient of each level, update of each phase, recogniser for each shape of each split.
Tracing, lowering, and compiling or loading count. The targets are 60 s cold, 15 s warm and 4 GiB of memory; the ratio
is warm / cold. Neither run touches the user's own cache, and both have to arrive at the same losses, bit for bit.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import print_result

COLD_TARGET, WARM_TARGET, MEMORY_TARGET = 60.0, 15.0, 4096.0
_SHORT = {
    'strategy.labelled_steps': 12,
    'strategy.explore_steps': 4,
    'strategy.finetune_steps': 4,
    'strategy.cycles': 2,
    'optimizer.warmup_steps': 2,
    'eval.every_steps': 8,
    'log_every_steps': 1,
}


def run(folder: Path) -> dict[str, Any]:
    """Trains in a process of its own with its compilation cache in `folder`, and returns what it measured."""
    from bljust_jax.data.dataset import default_data_dir

    environment = {name: value for name, value in os.environ.items() if not name.startswith('JAX_')}
    environment |= {'BLJUST_DATA_DIR': str(default_data_dir()), 'XDG_CACHE_HOME': str(folder / 'cache')}
    with tempfile.TemporaryDirectory(dir=folder) as workdir:
        command = [sys.executable, '-m', 'benchmarks.compile_time', f'--measure={workdir}']
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def measure(workdir: Path) -> None:
    """What the main command does, and a line of JSON about it."""
    from bljust_jax.memory import keep_freed_memory

    keep_freed_memory()
    from bljust_jax.compilation import Compilations, keep_compiled_programs
    from bljust_jax.config import from_config_dict
    from bljust_jax.run_log import METRICS_FILE
    from bljust_jax.train import train
    from configs import conformer

    keep_compiled_programs()
    values = conformer.get_config('mini')
    values.update_from_flattened_dict(_SHORT)
    with Compilations() as compilations:
        train(from_config_dict(values), workdir)
    lines = [json.loads(line) for line in (workdir / METRICS_FILE).read_text().splitlines()]
    figures = {
        'seconds': compilations.seconds,
        'programs': len(compilations.names),
        'loaded': compilations.loaded,
        'peak_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        'losses': [value for line in lines for name, value in line.items() if name.startswith('loss/')],
    }
    print(json.dumps(figures))


def main() -> None:
    """Runs cold, then warm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--measure', type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = run(Path(folder)), run(Path(folder))
    if cold['losses'] != warm['losses']:
        raise SystemExit('error: the losses of the run with programs from the cache differ.')
    for name, figures in (('cold', cold), ('warm', warm)):
        print(
            f'{name}  {figures["seconds"]:.1f} s for {figures["programs"]} programs, {figures["loaded"]} of them '
            f'loaded; peak {figures["peak_mib"]:.0f} MiB'
        )
    peak_mib = max(cold['peak_mib'], warm['peak_mib'])
    for name, value, target in (
        ('cold s', cold['seconds'], COLD_TARGET),
        ('warm s', warm['seconds'], WARM_TARGET),
        ('peak MiB', peak_mib, MEMORY_TARGET),
    ):
        print(f'{name:<8}  {value:7.1f}  target {target:.0f}: {"met" if value <= target else "missed"}')
    print_result(
        'compile_time',
        warm['seconds'] / cold['seconds'],
        cold_seconds=round(cold['seconds'], 1),
        warm_seconds=round(warm['seconds'], 1),
        programs=cold['programs'],
        peak_mib=round(peak_mib),
    )


if __name__ == '__main__':
    main()
