"""Training does not depend on the devices: eight simulated ones, in one process and in two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.mesh_worker import ROWS, STEPS
from tests.test_real_step import REAL

pytestmark = pytest.mark.slow

SHAPES = ('8x1', '4x2', '2x4', '1x8')


def start(devices, *arguments):
    environment = os.environ | {
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '0',  # which join sums into one
    }
    command = [sys.executable, '-m', 'tests.mesh_worker', *map(str, arguments)]
    root = Path(__file__).parents[1]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)


def result(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope='module')
def runs():
    return result(start(8, ','.join(['1x1', *SHAPES])))


@pytest.mark.parametrize('shape', SHAPES)
def test_ten_steps_on_eight_devices_have_the_losses_of_one(shape, runs):
    assert np.shape(runs[shape]['losses']) == (STEPS, 2)
    assert len(np.unique(runs['1x1']['losses'])) == 2 * STEPS
    np.testing.assert_allclose(runs[shape]['losses'], runs['1x1']['losses'], rtol=1e-5)


def test_gradients_of_a_level_are_summed_at_once(runs):
    """With whole parameters. On CPU, each depthwise convolution sums a spectrum [frequency, width] as well."""
    for level, found in runs['8x1']['collectives'].items():
        assert {kind for kind, _ in found} == {'all-reduce'}, level
        large = [shapes for _, shapes in found if any(np.prod(shape) > ROWS for shape in shapes)]
        spectrum, gradients = sorted(large, key=len)
        assert len(gradients) > 0.8 * runs['8x1']['parameters'], level
        assert {tuple(shape)[1:] for shape in spectrum} == {(REAL.conformer.width,)}, level


@pytest.mark.parametrize('shape', SHAPES)
def test_no_device_gathers_the_batch(shape, runs):
    """What has a row for each of the batch's stays in parts: samples, frames, and what the encoder makes of them."""
    for level, found in runs[shape]['collectives'].items():
        gathered = [shapes for kind, shapes in found if kind != 'all-reduce']
        assert not [shape for shapes in gathered for shape in shapes if shape[:1] == [ROWS]], level


def test_one_device_has_nobody_to_talk_to(runs):
    assert runs['1x1']['collectives'] == {'sup': [], 'unsup': []}


def test_two_processes_of_four_devices_have_the_losses_of_one(runs):
    with socket.socket() as one:
        one.bind(('localhost', 0))
        port = one.getsockname()[1]
    processes = [start(4, '8x1,2x4', process, 2, port) for process in range(2)]
    try:
        first, second = [result(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    for shape in ('8x1', '2x4'):
        assert first[shape]['processes'] == 2
        assert first[shape]['losses'] == second[shape]['losses']
        np.testing.assert_allclose(first[shape]['losses'], runs['1x1']['losses'], rtol=1e-5)
