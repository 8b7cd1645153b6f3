"""CTC loss and gradient against PyTorch's: time, accuracy and memory. `python -m benchmarks.ctc` from the root.

Both sides take float32 logits, `log_softmax` included, and run on CPU with their default threads.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from benchmarks.side_by_side import Call, alternate, print_result
from bljust_jax.memory import keep_freed_memory


class Shape(NamedTuple):
    """Sizes of a batch whose rows are all full."""

    batch: int
    time: int
    vocab: int
    label: int


SHAPES = Shape(16, 400, 1000, 60), Shape(16, 400, 32, 60), Shape(4, 1500, 1000, 200)
REPEATS = 15


def random_rows(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits, logit lengths, labels and label lengths."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(shape.batch, shape.time, shape.vocab)).astype(np.float32)
    labels = rng.integers(1, shape.vocab, (shape.batch, shape.label), dtype=np.int32)
    full = np.ones(shape.batch, np.int32)
    return logits, full * shape.time, labels, full * shape.label


def compiled(shape: Shape) -> Any:
    """Our losses' sum and gradient, compiled."""
    import jax

    from bljust_jax.losses import ctc_loss

    return jax.jit(jax.value_and_grad(lambda *rows: ctc_loss(*rows).sum())).lower(*random_rows(shape)).compile()


def ours(shape: Shape) -> Call:
    """Our losses' sum and gradient, as the main command runs them."""
    keep_freed_memory()
    import jax

    loss_and_gradient, rows = compiled(shape), jax.device_put(random_rows(shape))
    return lambda: jax.block_until_ready(loss_and_gradient(*rows))


def theirs(shape: Shape, dtype: str = 'float32') -> Call:
    """PyTorch's, on logits that lie in memory as it wants them: time first."""
    import torch

    logits, *rest = map(torch.from_numpy, random_rows(shape))
    logits = logits.transpose(0, 1).contiguous().to(getattr(torch, dtype)).requires_grad_()
    logit_lengths, labels, label_lengths = (x.long() for x in rest)

    def loss_and_gradient() -> tuple[torch.Tensor, torch.Tensor]:
        log_probs = torch.nn.functional.log_softmax(logits, dim=-1)
        loss = torch.nn.functional.ctc_loss(log_probs, labels, logit_lengths, label_lengths, reduction='sum')
        return loss.detach(), torch.autograd.grad(loss, logits)[0].transpose(0, 1)

    return loss_and_gradient


def gradient_error(shape: Shape) -> float:
    """Largest deviation of our gradient from PyTorch's in float64; its entries lie between -1 and 1."""
    gradient, reference = ours(shape)()[1], theirs(shape, 'float64')()[1]
    return float(np.abs(np.asarray(gradient) - reference.numpy()).max())


def temporary_mib(shape: Shape) -> float:
    """What the compiled gradient allocates beside its arguments and results."""
    return compiled(shape).memory_analysis().temp_size_in_bytes / 2**20


def main() -> None:
    """Prints tables of time, accuracy and memory and, last, the result."""
    ratios = []
    for shape in SHAPES:
        print('batch {}, time {}, vocab {}, labels {}'.format(*shape))
        setups = {'ours': functools.partial(ours, shape), 'torch': functools.partial(theirs, shape)}
        timings = alternate(setups, repeats=REPEATS)
        ratios.append(timings['ours'].median / timings['torch'].median)
        print(f'ratio {ratios[-1]:.3f}\n')

    errors = [gradient_error(shape) for shape in SHAPES]
    print('gradient off float64 by at most', ', '.join(f'{error:.1e}' for error in errors), end='\n\n')

    print('temporary memory in MiB       ours     B*T*U     B*T*V   B*T*U*V')
    first = SHAPES[0]
    for shape in (*SHAPES, first._replace(vocab=4 * first.vocab), first._replace(label=4 * first.label)):
        batch, time, vocab, label = shape
        arrays = (4 * batch * time * size / 2**20 for size in (label, vocab, label * vocab))
        print(f'{tuple(shape)!s:<24}' + ''.join(f'{mib:10.1f}' for mib in (temporary_mib(shape), *arrays)))

    print_result('ctc', max(ratios), ratios=[round(ratio, 4) for ratio in ratios], gradient_error=max(errors))


if __name__ == '__main__':
    main()
