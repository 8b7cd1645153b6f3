"""Splits that a run needs and its corpus does not have."""

from pathlib import Path

import pytest

from bljust_jax.config import Config, DataConfig, EvalConfig
from bljust_jax.data.needed import check_splits
from bljust_jax.errors import UserError

pytest_plugins = ['tests.run_fixtures']


def config(data_dir: Path, evaluation: EvalConfig | None = None, **data: str) -> Config:
    evaluation = evaluation or EvalConfig()
    return Config(data=DataConfig(corpus='smoke', data_dir=str(data_dir), **data), eval=evaluation)


def test_what_is_there_passes(data_dir: Path):
    check_splits(config(data_dir), labelled=True, unlabelled=True)
    check_splits(config(data_dir, labelled='none', unlabelled='none'), labelled=False, unlabelled=False)


@pytest.mark.parametrize(
    ('evaluation', 'data', 'message'),
    [
        (EvalConfig(), {'labelled': 'train_labelled,more'}, r"config\.data\.labelled=.*smoke has no split 'more'"),
        (EvalConfig(), {'unlabelled': 'more'}, r'config\.data\.unlabelled=.*strategy\.name=supervised'),
        (EvalConfig(dev='valid'), {}, r"config\.eval\.dev='valid'.*there: .*dev.*--dev"),
        (EvalConfig(splits=('dev', 'other')), {}, r"config\.eval\.splits names 'other'.*splits=\"\('dev',\)\""),
    ],
)
def test_what_is_missing_is_told_with_its_field(data_dir: Path, evaluation, data, message):
    with pytest.raises(UserError, match=message):
        check_splits(config(data_dir, evaluation, **data), labelled=True, unlabelled=True)
