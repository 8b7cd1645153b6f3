"""Data hyper-cleaning: which training labels are wrong, told by what helps on a few clean digits.

    python -m benchmarks.bilevel.hyper_cleaning [--seeds=5] [--inputs=features] [--figure=docs/hyper_cleaning.svg]
    python -m benchmarks.bilevel.hyper_cleaning --tune [--inputs=features]

Of 800 handwritten digits (8 x 8, scikit-learn's) to train on, half have a wrong label. The upper variables x are a
weight for each, σ(x_i); the lower ones y a softmax regression on 256 random Fourier features of the digits, or on their
pixels (`--inputs=pixels`), which is a weaker model:

    f(x, y) = cross-entropy of y on 300 clean digits, the validation split
    g(x, y) = 1/n Σ σ(x_i) cross-entropy of y on training digit i + ½ ρ |y|²

A method is judged on 397 test digits, the same for all seeds and used for nothing else, by two models: its own y, which
has seen the validation split through f, and the refit, the minimiser of g for the weights it found, which knows of the
validation split by the weights alone. A digit counts as found clean if its weight is above ½. For comparison the
same regression is trained with all weights 1: on the polluted labels, on the half of them that is right, on the
validation split alone and on clean labels.

`--tune` prints what was chosen from, by accuracy and then loss on the 300 digits of a fourth split, for three seeds
that are not reported: ρ is the best one for clean labels, γ and the step size of x those with the best y. The polluted
labels alone would be better off with a larger ρ: that is shown, too. The ratio of the last line is the share of the
gap between training on polluted and on clean labels that V-PBGD leaves, by its y.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from scipy import optimize
from sklearn import datasets

from benchmarks.side_by_side import print_result
from bljust_jax.bilevel import solvers

TRAIN, VALIDATION, SELECTION, CLASSES = 800, 300, 300, 10
FEATURES, BANDWIDTH = 256, 2**-0.5
STEP_SIZE = 0.02
TUNING_SEEDS = 1000, 1001, 1002

Model = dict[str, jax.Array]


class Split(NamedTuple):
    """Digits.

    Attributes:
      inputs: features, or pixels between 0 and 1, float32 `[digits, inputs]`.
      labels: int32 `[digits]`.
    """

    inputs: np.ndarray
    labels: np.ndarray


class Digits(NamedTuple):
    """The splits of one seed; of the training digits with their polluted and their true labels."""

    polluted: Split
    clean: Split
    validation: Split
    selection: Split
    test: Split


class Settings(NamedTuple):
    """What is chosen on the selection split: γ, and Adam's step size for x."""

    gamma: float
    x_step_size: float


DECAY = {'features': 1e-3, 'pixels': 1e-3}
DECAY_FOR_POLLUTED = {'features': 3e-2, 'pixels': 1e-2}
SETTINGS = {
    'features': {
        'v_pbgd': Settings(1.0, 0.3),
        'g_pbgd': Settings(100.0, 0.3),
        'f2sa': Settings(1.0, 0.3),
        'weighted_sum': Settings(0.1, 0.1),
    },
    'pixels': {
        'v_pbgd': Settings(10.0, 0.03),
        'g_pbgd': Settings(100.0, 0.1),
        'f2sa': Settings(10.0, 0.1),
        'weighted_sum': Settings(1.0, 0.03),
    },
}
GRID = [Settings(*point) for point in itertools.product((0.1, 1.0, 10.0, 100.0), (0.03, 0.1, 0.3))]
DECAYS = 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1


def fourier_features(pixels: np.ndarray) -> np.ndarray:
    """Features whose inner products are nearly a Gaussian kernel, of a width usual for these digits."""
    random = np.random.default_rng(0)
    frequencies = random.normal(scale=BANDWIDTH, size=(pixels.shape[-1], FEATURES))
    return 4 * np.sqrt(2 / FEATURES) * np.cos(pixels @ frequencies + random.uniform(0, 2 * np.pi, FEATURES))


def digits(seed: int, kind: str) -> Digits:
    """The splits, and which half of the training digits gets another label, drawn by `seed`; the test split is not."""
    inputs, labels = datasets.load_digits(return_X_y=True)
    inputs = fourier_features(inputs / 16) if kind == 'features' else inputs / 16
    inputs, labels = inputs.astype(np.float32), labels.astype(np.int32)
    random, ends = np.random.default_rng(seed), np.cumsum([TRAIN, VALIDATION, SELECTION])
    order = np.random.default_rng(0).permutation(len(labels))
    order[: ends[-1]] = random.permutation(order[: ends[-1]])
    clean, validation, selection, test = (Split(inputs[part], labels[part]) for part in np.split(order, ends))
    wrong = random.permutation(TRAIN) < TRAIN // 2
    shifted = (clean.labels + random.integers(1, CLASSES, TRAIN, np.int32)) % CLASSES
    polluted = Split(clean.inputs, np.where(wrong, shifted, clean.labels))
    return Digits(polluted, clean, validation, selection, test)


def first_model(split: Split) -> Model:
    """Softmax regression, all zeros."""
    return {'kernel': jnp.zeros([split.inputs.shape[-1], CLASSES]), 'bias': jnp.zeros([CLASSES])}


def logits(model: Model, split: Split) -> jax.Array:
    """`[digits, classes]`."""
    return split.inputs @ model['kernel'] + model['bias'][None]


def cross_entropy(model: Model, split: Split) -> jax.Array:
    """`[digits]`."""
    return optax.softmax_cross_entropy_with_integer_labels(logits(model, split), split.labels)


def weighted_loss(model: Model, weights: jax.Array, split: Split, decay: float) -> jax.Array:
    """Weighted cross-entropy plus decay; strongly convex."""
    return jnp.mean(weights * cross_entropy(model, split)) + 0.5 * decay * optax.tree.norm(model, squared=True)


def run(method: str, settings: Settings, decay: float, data: Digits, steps: int) -> tuple[jax.Array, Model]:
    """The x and y at which a method ends, with Adam for everything."""

    def upper(x: jax.Array, y: Model) -> jax.Array:
        return jnp.mean(cross_entropy(y, data.validation))

    def lower(x: jax.Array, y: Model) -> jax.Array:
        return weighted_loss(y, jax.nn.sigmoid(x), data.polluted, decay)

    inner = {'inner_optimizer': optax.adam(STEP_SIZE)} if method in ('v_pbgd', 'f2sa') else {}
    optimizers = {'x_optimizer': optax.adam(settings.x_step_size), 'y_optimizer': optax.adam(STEP_SIZE), **inner}
    solver = getattr(solvers, method)(upper, lower, settings.gamma, **optimizers)
    state, _ = solvers.solve(solver, jnp.zeros([TRAIN]), first_model(data.polluted), steps=steps)
    return state.x, state.y


def fit(weights: jax.Array, split: Split, decay: float) -> Model:
    """The minimiser of the weighted loss, by L-BFGS."""
    start, unravel = ravel_pytree(first_model(split))
    solution = optimize.minimize(
        lambda flat: _value_and_grad(flat, weights, split, decay), start, jac=True, method='L-BFGS-B'
    )
    return unravel(jnp.asarray(solution.x, jnp.float32))


@jax.jit
def _value_and_grad(flat: jax.Array, weights: jax.Array, split: Split, decay: float) -> tuple[jax.Array, jax.Array]:
    unravel = ravel_pytree(first_model(split))[1]
    return jax.value_and_grad(lambda flat: weighted_loss(unravel(flat), weights, split, decay))(flat)


def accuracy(model: Model, split: Split) -> float:
    """In per cent."""
    return 100 * float(jnp.mean(jnp.argmax(logits(model, split), axis=-1) == split.labels))


def f1(found: np.ndarray, true: np.ndarray) -> float:
    """Of the digits found to be clean, in per cent."""
    return 200 * float(np.sum(found & true)) / max(float(np.sum(found) + np.sum(true)), 1.0)


def is_right(data: Digits) -> np.ndarray:
    """Which of the training digits have their true label, bool `[digits]`."""
    return data.polluted.labels == data.clean.labels


def references(data: Digits, kind: str) -> dict[str, Model]:
    """Models trained with all weights 1 on other labels."""
    right, decay = is_right(data), DECAY[kind]
    return {
        'polluted': fit(jnp.ones(TRAIN), data.polluted, decay),
        'polluted, its ρ': fit(jnp.ones(TRAIN), data.polluted, DECAY_FOR_POLLUTED[kind]),
        'right half': fit(jnp.ones(TRAIN // 2), Split(data.clean.inputs[right], data.clean.labels[right]), decay),
        'validation': fit(jnp.ones(VALIDATION), data.validation, decay),
        'clean': fit(jnp.ones(TRAIN), data.clean, decay),
    }


def judge(x: jax.Array, y: Model, data: Digits, decay: float) -> dict[str, float]:
    """Test accuracy of y and of the refit, and F1 of the digits found clean."""
    weights = jax.nn.sigmoid(x)
    return {
        'accuracy': accuracy(y, data.test),
        'refit': accuracy(fit(weights, data.polluted, decay), data.test),
        'f1': f1(np.asarray(weights > 0.5), is_right(data)),
    }


def tune(kind: str, steps: int) -> None:
    """Prints mean accuracy and loss on the selection split for every ρ and every point of the grid."""
    every = [digits(seed, kind) for seed in TUNING_SEEDS]

    def show(name: str, models: Sequence[Model]) -> None:
        pairs = [(model, data.selection) for model, data in zip(models, every, strict=True)]
        loss = statistics.mean(float(jnp.mean(cross_entropy(*pair))) for pair in pairs)
        print(f'{name}: accuracy {statistics.mean(accuracy(*pair) for pair in pairs):.2f}, loss {loss:.4f}', flush=True)

    for decay, name in itertools.product(DECAYS, ('polluted', 'clean')):
        show(f'{name}, ρ {decay}', [fit(jnp.ones(TRAIN), getattr(data, name), decay) for data in every])
    for method in SETTINGS[kind]:
        for settings, models in zip(GRID, _grid_models(method, every, DECAY[kind], steps), strict=True):
            show(f'{method}, γ {settings.gamma}, step size {settings.x_step_size}', models)


def _grid_models(method: str, every: Sequence[Digits], decay: float, steps: int) -> list[list[Model]]:
    """The y of every point of the grid, for every seed; all of them at once."""
    grid, data = jax.tree.map(lambda *x: np.stack(x), *GRID), jax.tree.map(lambda *x: np.stack(x), *every)
    seeds = jax.vmap(lambda settings, data: run(method, settings, decay, data, steps)[1], in_axes=(None, 0))
    models = jax.jit(jax.vmap(seeds, in_axes=(0, None)))(grid, data)
    return [[_element(models, (i, j)) for j in range(len(every))] for i in range(len(GRID))]


def _element(models: Model, index: tuple[int, ...]) -> Model:
    return jax.tree.map(lambda leaf: leaf[index], models)


Run = Callable[[Digits], tuple[jax.Array, Model]]


def compile_run(method: str, settings: Settings, decay: float, example: Digits, steps: int) -> Run:
    """`run`, compiled for digits like the `example`."""
    executable = jax.jit(lambda data: run(method, settings, decay, data, steps)).lower(example).compile()
    return lambda data: jax.block_until_ready(executable(data))


def summary(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    values = list(values)
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values) if len(values) > 1 else 0.0:.1f}'


def draw(path: str, weights: dict[str, jax.Array], right: np.ndarray) -> None:
    """Histograms of the weights that each method gives to right and to wrong labels."""
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(weights), figsize=(10, 2.4), sharey=True, layout='constrained')
    for plot, (method, values) in zip(axes, weights.items(), strict=True):
        halves, colors = [np.asarray(values)[right], np.asarray(values)[~right]], ['#1f5fa8', '#c43c39']
        plot.hist(halves, np.linspace(0, 1, 11), color=colors, label=['right label', 'wrong label'])
        plot.set(title=method, xlabel='weight σ(x)', yscale='log')
    axes[0].set_ylabel('training digits')
    axes[-1].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def print_row(name: str, tests: Sequence[float], polluted: float, its_decay: float, clean: float, rest: str) -> None:
    """A row of the table of results; the last three accuracies are the means that the gaps are made of."""
    shares = [100 * (statistics.mean(tests) - base) / (clean - base) for base in (polluted, its_decay)]
    print(f'| {name} | {summary(tests)} | {shares[0]:.0f} % | {shares[1]:.0f} % | {rest} |', flush=True)


def main() -> None:
    """Runs every method on every seed and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5)
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--inputs', choices=tuple(SETTINGS), default='features')
    parser.add_argument('--tune', action='store_true', help='only print what every point of the grid comes to')
    parser.add_argument('--figure', default='', help='where to draw the weights (.png or .svg), which needs matplotlib')
    options = parser.parse_args()
    kind, decay = options.inputs, DECAY[options.inputs]
    if options.tune:
        tune(kind, options.steps)
        return
    every = [digits(seed, kind) for seed in range(options.seeds)]
    trained = [references(data, kind) for data in every]
    tests = {
        name: [accuracy(models[name], data.test) for models, data in zip(trained, every, strict=True)]
        for name in trained[0]
    }
    bases = [statistics.mean(tests[name]) for name in ('polluted', 'polluted, its ρ', 'clean')]
    print('| | test accuracy | of the gap | of the gap, its ρ | refit | F1 | seconds |\n|---|---|---|---|---|---|---|')
    for name, values in tests.items():
        print_row(name, values, *bases, '| |')
    figures: dict[str, Any] = {}
    weights = {}
    for method, settings in SETTINGS[kind].items():
        solve, scores, seconds = compile_run(method, settings, decay, every[0], options.steps), [], []
        for data in every:
            begin = time.perf_counter()
            x, y = solve(data)
            seconds.append(time.perf_counter() - begin)
            scores.append(judge(x, y, data, decay))
            weights.setdefault(method, jax.nn.sigmoid(x))
        columns = {name: [score[name] for score in scores] for name in scores[0]}
        rest = f'{summary(columns["refit"])} | {summary(columns["f1"])} | {statistics.median(seconds):.2f}'
        print_row(method, columns['accuracy'], *bases, rest)
        figures[method] = {name: round(statistics.mean(values), 2) for name, values in columns.items()}
        figures[method]['seconds'] = round(statistics.median(seconds), 2)
        figures[method]['gap_recovered'] = (statistics.mean(columns['accuracy']) - bases[0]) / (bases[2] - bases[0])
    if options.figure:
        draw(options.figure, weights, is_right(every[0]))
    print_result('bilevel.hyper_cleaning', 1 - figures['v_pbgd']['gap_recovered'], inputs=kind, **figures)


if __name__ == '__main__':
    main()
