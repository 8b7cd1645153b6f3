from pathlib import Path

import pytest

from bljust_jax import trials
from bljust_jax.config import to_config_dict
from bljust_jax.errors import UserError
from bljust_jax.workdir import write_json
from configs import conformer


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch):
    """The configs that were trained, by a trainer that is quick."""
    configs = []

    def train(config, workdir):
        configs.append(config)
        print('much')
        summary = {'splits': {'dev': {'cer': config.seed / 10, 'wer': 0.5}}}
        write_json(workdir / 'config.json', to_config_dict(config).to_dict())
        write_json(workdir / 'summary.json', summary)
        return summary

    monkeypatch.setattr(trials, 'train', train)
    monkeypatch.setattr(trials, 'keep_compiled_programs', lambda: None)
    return configs


def test_variants_are_trained_once_each_with_a_line_to_tell(trained, tmp_path: Path, capsys):
    base = conformer.get_config('smoke')
    variants = {'one': {'seed': 1}, 'low': {'seed': 2, 'levels.unsup.gamma_max': 0.5}}
    runs = trials.train_variants(base, variants, tmp_path / 'runs')
    assert runs == {name: tmp_path / 'runs' / name for name in ('one', 'low')}
    assert [(config.seed, config.levels.unsup.gamma_max) for config in trained] == [(1, 1.0), (2, 0.5)]
    told = 'one: dev CER 10.0%, WER 50.0%\nlow: dev CER 20.0%, WER 50.0%\n'
    assert capsys.readouterr().out == told
    assert trials.train_variants(base, variants, tmp_path / 'runs') == runs
    assert len(trained) == 2 and capsys.readouterr().out == told
    assert base.seed == 0
    with pytest.raises(UserError, match='different config'):
        trials.train_variants(base, {'one': {'seed': 3}}, tmp_path / 'runs')
