"""The joint bilevel step against its two halves, and against the reference design in PyTorch.

    python -m benchmarks.bilevel_step [--repeats=N]

Ours are the steps that training takes on CPU in the preset `mini`: from int16 audio to updated parameters, log-mel,
SpecAugment, masking, penalty, clipping and gauges included. The reference design (arXiv 2412.08548, the authors'
script) encodes both batches, takes three gradients of the retained graph (L_sup + γ L_unsup in the encoder, L_sup in
its head, L_unsup in its head) and has three optimisers; the gradients of the heads end there, so that three cost little
more than one. Here it is given its features, masks and codes, and nothing is clipped or logged: all in its favour.
"""

import argparse
import functools
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result
from bljust_jax.config import SAMPLE_RATE
from bljust_jax.memory import keep_freed_memory
from configs import conformer

if TYPE_CHECKING:
    from torch import nn

    from bljust_jax.build import System
    from bljust_jax.types import Batch

CONFIG = conformer.mini()
VOCAB = 30
SUP_ROWS, UNSUP_ROWS = 3, 1
SAMPLES = 8 * SAMPLE_RATE
# Of a batch of telephone prompts: four utterances a row, packed to 0.95 of its length; labels, and room for them.
SPEECH, UTTERANCES, LABELS, MOST_LABELS = int(0.95 * SAMPLES), 4, 100, 158
SEPARATE_TARGET, REFERENCE_TARGET = 1.03, 0.5


def make_system() -> 'System':
    """What the preset trains."""
    from bljust_jax.build import build

    return build(CONFIG, VOCAB)


def make_batches() -> 'dict[str, Batch]':
    """A batch of each level, of the preset's size."""
    from bljust_jax.types import Batch

    def batch(seed: int, rows: int, most_labels: int) -> Batch:
        random = np.random.default_rng(seed)
        ends = SPEECH * np.arange(1, 1 + UTTERANCES, dtype=np.int32) // UTTERANCES
        return Batch(
            audio=random.integers(-3000, 3000, (rows, SAMPLES), np.int16),
            lengths=np.full(rows, SPEECH, np.int32),
            labels=random.integers(1, VOCAB, (rows, most_labels), np.int32),
            label_lengths=np.full(rows, min(LABELS, most_labels), np.int32),
            ends=np.tile(ends, (rows, 1)),
        )

    return {'sup': batch(0, SUP_ROWS, MOST_LABELS), 'unsup': batch(1, UNSUP_ROWS, 0)}


def ours(active: tuple[str, ...]) -> Call:
    """Our step with the levels `active`, and its update, on the same batches whatever else is active."""
    keep_freed_memory()
    return timed_step(make_system(), active)


def timed_step(system: 'System', active: tuple[str, ...]) -> Call:
    """The step of `system` with the levels `active`, taken again and again on the same batches."""
    import jax

    step = system.make_steps()[active]
    batches = jax.device_put(make_batches())
    state = jax.jit(system.init_state)(0)

    def call() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(step(state, batches))

    return call


def reference() -> Call:
    """The joint step of the reference design, in PyTorch."""
    import torch
    from torch.nn import functional as F

    torch.manual_seed(0)
    encoder, sup_head, unsup_head = parts = _reference_parts()
    optimizers = [torch.optim.AdamW(part.parameters(), CONFIG.optimizer.learning_rate) for part in parts]
    gamma = CONFIG.levels.unsup.gamma_max
    hop = round(CONFIG.log_mel.hop * SAMPLE_RATE)
    time, valid = ((samples - CONFIG.log_mel.fft_size) // hop + 1 for samples in (SAMPLES, SPEECH))
    labelled, unlabelled = (torch.randn(rows, time, CONFIG.log_mel.mels) for rows in (SUP_ROWS, UNSUP_ROWS))
    labels = torch.randint(1, VOCAB, (SUP_ROWS, MOST_LABELS))
    label_lengths = torch.full((SUP_ROWS,), LABELS)
    hidden_shape = UNSUP_ROWS, -(-time // 4)
    codes = torch.randint(CONFIG.best_rq.codebook_size, hidden_shape)
    masked = torch.arange(hidden_shape[1]).expand(hidden_shape) // CONFIG.best_rq.mask_frames % 3 == 0

    def sup_loss() -> torch.Tensor:
        hidden, lengths = encoder(labelled, torch.full((SUP_ROWS,), valid))
        log_probabilities = sup_head(hidden).log_softmax(dim=-1).transpose(0, 1)
        loss = F.ctc_loss(log_probabilities, labels, lengths, label_lengths, reduction='sum')
        return loss / label_lengths.sum()

    def unsup_loss() -> torch.Tensor:
        hidden, _ = encoder(unlabelled, torch.full((UNSUP_ROWS,), valid))
        return F.cross_entropy(unsup_head(hidden)[masked], codes[masked])

    def call() -> None:
        sup, unsup = sup_loss(), unsup_loss()
        for loss, part in zip((sup + gamma * unsup, sup, unsup), parts, strict=True):
            parameters = list(part.parameters())
            grads = torch.autograd.grad(loss, parameters, retain_graph=True)
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad = grad
        for optimizer in optimizers:
            optimizer.step()

    return call


def check_sizes() -> int:
    """The number of our parameters.

    Raises:
      RuntimeError: if the reference's is another by more than 2%.
    """
    import jax

    params = jax.eval_shape(make_system().init_params, 0)
    our_size = sum(leaf.size for leaf in jax.tree.leaves(params))
    their_size = sum(parameter.numel() for part in _reference_parts() for parameter in part.parameters())
    if abs(their_size / our_size - 1) > 0.02:
        raise RuntimeError(f'The reference has {their_size} parameters, ours {our_size}: not the same model.')
    return our_size


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--repeats', type=int, default=15, help='timed calls of each program')
    repeats = parser.parse_args().repeats
    size = check_sizes()
    print(
        f'{size / 1e6:.2f}M parameters; {SUP_ROWS} labelled and {UNSUP_ROWS} unlabelled rows '
        f'of {SAMPLES / SAMPLE_RATE:.0f} s; {repeats} repeats'
    )
    joint, sup, unsup, theirs = alternate(
        {
            'joint step': functools.partial(ours, ('sup', 'unsup')),
            'supervised step': functools.partial(ours, ('sup',)),
            'unsupervised step': functools.partial(ours, ('unsup',)),
            'reference joint step': reference,
        },
        repeats=repeats,
    ).values()
    over_separate = joint.median / (sup.median + unsup.median)
    ratio = joint.median / theirs.median
    for name, value, target in (
        ('joint / (supervised + unsupervised)', over_separate, SEPARATE_TARGET),
        ('joint / reference', ratio, REFERENCE_TARGET),
    ):
        print(f'{name:<35}  {value:.3f}  target {target}: {"met" if value <= target else "missed"}')
    print_result(
        'bilevel_step',
        ratio=ratio,
        joint_over_separate=round(over_separate, 4),
        joint_seconds=round(joint.median, 4),
        supervised_seconds=round(sup.median, 4),
        unsupervised_seconds=round(unsup.median, 4),
        reference_seconds=round(theirs.median, 4),
        parameters=size,
        repeats=repeats,
    )


def _reference_parts() -> 'tuple[nn.Module, nn.Module, nn.Module]':
    """Encoder, supervised and unsupervised head."""
    from torch import nn

    from benchmarks.torch_conformer import Conformer

    width, best_rq = CONFIG.conformer.width, CONFIG.best_rq
    codes = best_rq.codebooks * best_rq.codebook_size
    return Conformer(CONFIG.conformer, CONFIG.log_mel.mels), nn.Linear(width, VOCAB), nn.Linear(width, codes)


if __name__ == '__main__':
    main()
