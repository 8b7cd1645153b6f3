"""RNN-T loss and gradient against a plain recursion over frames and labels: time and memory.

`python -m benchmarks.rnnt` from the root. Both sides take float32 logits, `log_softmax` included; the plain one is a
scan over labels within a scan over frames, which JAX differentiates. Then both recursions alone, on log-probabilities;
and the loss that never holds all logits, of a joiner and its projections.
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


FULL = Shape(8, 400, 1000, 60)
SHAPES = FULL, FULL._replace(vocab=32), Shape(2, 1500, 32, 200)
WIDTH = 256
REPEATS = 7


def random_lattices(shape: Shape) -> tuple[np.ndarray, ...]:
    """Logits, logit lengths, labels and label lengths."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((shape.batch, shape.time, shape.label + 1, shape.vocab), np.float32)
    return logits, *random_labels(shape)


def random_labels(shape: Shape) -> tuple[np.ndarray, ...]:
    """Logit lengths, labels and label lengths."""
    labels = np.random.default_rng(1).integers(1, shape.vocab, (shape.batch, shape.label), dtype=np.int32)
    full = np.ones(shape.batch, np.int32)
    return full * shape.time, labels, full * shape.label


def random_projections(shape: Shape) -> tuple[np.ndarray, ...]:
    """The joiner's output weights, frames of the encoder and outputs of the prediction network."""
    rng = np.random.default_rng(2)
    sizes = (WIDTH, shape.vocab), (shape.batch, shape.time, WIDTH), (shape.batch, shape.label + 1, WIDTH)
    return tuple(rng.standard_normal(size, np.float32) * scale for size, scale in zip(sizes, (0.1, 1, 1), strict=True))


def join(weights: Any, encoded: Any, predicted: Any) -> Any:
    """A joiner: the sum of both projections, tanh, one product."""
    import jax.numpy as jnp

    return jnp.tanh(encoded[:, :, None] + predicted[:, None]) @ weights


def random_steps(shape: Shape) -> tuple[np.ndarray, ...]:
    """Log-probabilities of blanks and labels `[batch, time, label + 1]`, logit lengths and label lengths."""
    sizes = 2, shape.batch, shape.time, shape.label + 1
    blank, label = -np.random.default_rng(3).uniform(1, 5, sizes).astype(np.float32)
    lengths, _, label_lengths = random_labels(shape)
    return blank, label, lengths, label_lengths


def nested_scan_loss(logits: Any, logit_lengths: Any, labels: Any, label_lengths: Any) -> Any:
    """The recursion below; blanks and labels are picked before it, or it would never end."""
    import jax
    import jax.numpy as jnp

    log_probs = jax.nn.log_softmax(logits)
    label = jnp.take_along_axis(log_probs, jnp.pad(labels, ((0, 0), (0, 1)))[:, None, :, None], axis=-1)[..., 0]
    return nested_scans(log_probs[..., 0], label, logit_lengths, label_lengths)


def nested_scans(blank: Any, label: Any, logit_lengths: Any, label_lengths: Any) -> Any:
    """The forward recursion place by place, row by row."""
    import jax
    import jax.numpy as jnp

    def row_loss(blank: Any, label: Any, time: Any, size: Any) -> Any:
        label = label[:, :-1]

        def over_labels(left: Any, place: Any) -> Any:
            below, label = place
            alpha = jnp.logaddexp(below, left + label)
            return alpha, alpha

        def over_frames(alpha: Any, frame: Any) -> Any:
            blank, label = frame
            below = alpha + blank
            _, rest = jax.lax.scan(over_labels, below[0], (below[1:], label))
            alpha = jnp.concatenate([below[:1], rest])
            return alpha, alpha

        first = jnp.concatenate([jnp.zeros(1), jnp.cumsum(label[0])])
        _, rest = jax.lax.scan(over_frames, first, (blank[:-1], label[1:]))
        return -(jnp.concatenate([first[None], rest])[time - 1, size] + blank[time - 1, size])

    return jax.vmap(row_loss)(blank, label, logit_lengths, label_lengths)


def compiled(loss: str, shape: Shape) -> Any:
    """A loss's sum over the batch and its gradient, compiled."""
    import jax

    from bljust_jax.losses import rnnt_joint_loss, rnnt_loss
    from bljust_jax.losses.supervised.rnnt import rnnt_path_loss

    def joint(weights: Any, encoded: Any, predicted: Any, *rest: Any) -> Any:
        return rnnt_joint_loss(functools.partial(join, weights), encoded, predicted, *rest).sum()

    functions = {
        'ours': lambda *rows: rnnt_loss(*rows).sum(),
        'nested': lambda *rows: nested_scan_loss(*rows).sum(),
        'recursion, ours': lambda *rows: rnnt_path_loss(*rows).sum(),
        'recursion, nested': lambda *rows: nested_scans(*rows).sum(),
        'joint': joint,
        'joiner, all logits': lambda *rows: rnnt_loss(join(*rows[:3]), *rows[3:]).sum(),
    }
    arguments = {'join': (0, 1, 2), 'recu': (0, 1)}.get(loss[:4], 0)
    rows = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays(loss, shape)]
    return jax.jit(jax.value_and_grad(functions[loss], arguments)).lower(*rows).compile()


def arrays(loss: str, shape: Shape) -> tuple[np.ndarray, ...]:
    """What a loss is called with."""
    if loss.startswith('join'):
        return *random_projections(shape), *random_labels(shape)
    if loss.startswith('recursion'):
        return random_steps(shape)
    return random_lattices(shape)


def setup(loss: str, shape: Shape, calls: int = 1) -> Call:
    """A loss's sum and gradient, as the main command runs them, `calls` times without a rest."""
    keep_freed_memory()
    import jax

    loss_and_gradient, rows = compiled(loss, shape), jax.device_put(arrays(loss, shape))
    return lambda: [jax.block_until_ready(loss_and_gradient(*rows)) for _ in range(calls)][-1]


def largest_difference(shape: Shape) -> float:
    """Of the entries of both gradients, which lie between -1 and 1."""
    ours, theirs = (np.asarray(setup(loss, shape)()[1]) for loss in ('ours', 'nested'))
    return float(np.abs(ours - theirs).max())


def main() -> None:
    """Prints tables of time and memory and, last, the result."""
    ratios = []
    for shape in SHAPES:
        print('batch {}, time {}, vocab {}, labels {}'.format(*shape))
        setups = {loss: functools.partial(setup, loss, shape) for loss in ('ours', 'nested')}
        timings = alternate(setups, repeats=REPEATS)
        ratios.append(timings['ours'].median / timings['nested'].median)
        print(f'ratio {ratios[-1]:.3f}\n')

    recursions = []
    for shape in (FULL, SHAPES[2]):
        for calls in (1, 20):  # a single call comes after a rest
            print(f'the recursion alone, {calls} at once, batch {shape.batch}, time {shape.time}, labels {shape.label}')
            names = 'recursion, ours', 'recursion, nested'
            timings = alternate({name: functools.partial(setup, name, shape, calls) for name in names}, repeats=REPEATS)
            recursions.append(timings['recursion, ours'].median / timings['recursion, nested'].median)
            print(f'ratio {recursions[-1]:.3f}\n')

    differences = [largest_difference(shape) for shape in SHAPES[1:]]
    print('gradients differ by at most', ', '.join(f'{difference:.1e}' for difference in differences), end='\n\n')

    print(f'with a joiner of width {WIDTH}; batch {{}}, time {{}}, vocab {{}}, labels {{}}'.format(*FULL))
    alternate({loss: functools.partial(setup, loss, FULL) for loss in ('joint', 'joiner, all logits')}, repeats=3)

    print('\ntemporary memory, gradients and arguments in MiB')
    for loss in ('ours', 'nested', 'joint', 'joiner, all logits'):
        memory = compiled(loss, FULL).memory_analysis()
        sizes = memory.temp_size_in_bytes, memory.output_size_in_bytes, memory.argument_size_in_bytes
        print(f'{loss:<20}' + ''.join(f'{size / 2**20:10.1f}' for size in sizes))
        if loss == 'joint':
            joint_mib = sum(sizes) / 2**20

    print_result(
        'rnnt',
        max(ratios),
        ratios=[round(ratio, 4) for ratio in ratios],
        recursions=[round(ratio, 4) for ratio in recursions],
        joint_mib=round(joint_mib, 1),
    )


if __name__ == '__main__':
    main()
