"""What the layers of a trained encoder know: linear probes, and their likeness to those of another run.

`python -m bljust_jax.probe --workdir=RUN` probes a run.
"""

from bljust_jax.probe.cka import layer_cka, linear_cka
from bljust_jax.probe.linear import Score, probe_layer
from bljust_jax.probe.outputs import Outputs, TrainedEncoder, load_encoder, outputs_of
from bljust_jax.probe.session import format_scores, probe_file, probe_run

__all__ = [
    'Outputs',
    'Score',
    'TrainedEncoder',
    'format_scores',
    'layer_cka',
    'linear_cka',
    'load_encoder',
    'outputs_of',
    'probe_file',
    'probe_layer',
    'probe_run',
]
