"""What the penalty and its diagnostics cost in a training step.

    python -m benchmarks.bilevel.overhead [--repeats=N]

The joint step of the preset `mini` as training takes it on CPU, against the same step with the sum of both gradients in
place of the penalty, and so without γ, Gram matrix, cosines of every block, value gap and stationarity.
"""

import argparse

from benchmarks.bilevel_step import make_system, timed_step
from benchmarks.side_by_side import Call, alternate, print_result
from bljust_jax.memory import keep_freed_memory

ACTIVE = ('sup', 'unsup')
TARGET = 1.03


def penalty() -> Call:
    """The step as it is."""
    keep_freed_memory()
    return timed_step(make_system(), ACTIVE)


def plain_sum() -> Call:
    """The step without the penalty: its state stays as it is, and what is logged of it costs nothing."""
    keep_freed_memory()
    import jax
    import optax

    system = make_system()

    def update(grads, state, params, *, lower_grads, **_):  # type: ignore[no-untyped-def]
        return jax.tree.map(lambda *leaves: sum(leaves), grads, *lower_grads), state

    system = system._replace(combine=optax.GradientTransformationExtraArgs(system.combine.init, update))
    return timed_step(system, ACTIVE)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--repeats', type=int, default=51, help='timed calls of each program')
    repeats = parser.parse_args().repeats
    ours, plain = alternate({'penalty': penalty, 'plain sum': plain_sum}, repeats=repeats).values()
    ratio = ours.median / plain.median
    print(f'penalty / plain sum  {ratio:.3f}  target {TARGET}: {"met" if ratio <= TARGET else "missed"}')
    print_result(
        'bilevel.overhead',
        ratio=ratio,
        penalty_seconds=round(ours.median, 4),
        plain_seconds=round(plain.median, 4),
        repeats=repeats,
    )


if __name__ == '__main__':
    main()
