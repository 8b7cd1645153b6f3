import pytest

from bljust_jax.build import build
from bljust_jax.config import from_config_dict
from configs import conformer
from configs.rnnt import PRESETS, get_config


@pytest.mark.parametrize('preset', PRESETS)
def test_every_preset_is_the_conformers_with_a_transducer_above(preset):
    config = from_config_dict(get_config(preset))
    assert [level.name for level in build(config, 30).levels] == ['sup', 'unsup']
    assert config.levels.sup.objective == 'rnnt'
    assert config.conformer == conformer.PRESETS[preset]().conformer
