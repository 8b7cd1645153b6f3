"""Every file of `configs/ablations` describes arms that can be trained."""

import importlib
from pathlib import Path

import pytest

from bljust_jax.comparison.arms import compare, variants_of
from bljust_jax.comparison.plan import arm_configs, training_jobs
from bljust_jax.config import from_config_dict
from bljust_jax.errors import UserError
from configs import conformer, lstm

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / 'configs' / 'ablations'
FILES = [path.stem for path in sorted(FOLDER.glob('*.py')) if path.stem != 'variants']
PRESETS = ('mini', 'smoke', 'amazon_queen')


def load(name):
    return importlib.import_module(f'configs.ablations.{name}')


@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('name', FILES)
@pytest.mark.standard_dtypes
def test_every_variant_can_be_built_and_differs(
    name: str, preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(
        'BLJUST_DATA_DIR', str(tmp_path / 'data')
    )  # corpora that are there may be too small for a variant
    file, source = load(name), f'{FOLDER / name}.py:{preset}'
    base = from_config_dict(file.get_config(preset))
    assert base.data == conformer.PRESETS[preset]().data
    variants = variants_of(source)
    comparison = compare(source, base, {}, known=variants, names=list(variants), seeds=['0', '1'])
    configs = arm_configs(comparison, tmp_path)
    assert list(configs) == list(file.VARIANTS) and len({repr(config) for config in configs.values()}) == len(configs)
    for variant, config in configs.items():
        assert from_config_dict(file.get_config(f'{preset},{variant}')) == config
    assert len(training_jobs(comparison, configs)) == 2 * len(configs)
    assert f'configs/ablations/{name}.py' in file.__doc__


def test_variants_are_what_they_are_called():
    exploration = {name: from_config_dict(load('exploration').get_config(f'smoke,{name}')) for name in
                   ('whole', 'none', 'half', 'double', 'no_finetuning')}  # fmt: skip
    steps = {
        name: (config.strategy.explore_steps, config.strategy.finetune_steps) for name, config in exploration.items()
    }
    assert steps == {'whole': (8, 10), 'none': (0, 10), 'half': (4, 10), 'double': (16, 10), 'no_finetuning': (8, 0)}
    for preset in PRESETS:
        assert from_config_dict(load('encoder').get_config(f'{preset},lstm')) == lstm.PRESETS[preset]()


def test_unknown_presets_and_variants_are_named():
    with pytest.raises(UserError, match="no preset 'tiny': choose one of mini, smoke"):
        load('combine').get_config('tiny')
    with pytest.raises(UserError, match="no variant 'pc': choose one of penalty, pcgrad, mgda"):
        load('combine').get_config('smoke,pc')
    with pytest.raises(UserError, match='names a variant: write --config=.*combine.py:smoke --strategies=pcgrad'):
        variants_of(f'{FOLDER / "combine.py"}:smoke,pcgrad')
