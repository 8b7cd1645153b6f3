"""V-PBGD from a thousand random starts on the two-variable problem that it was published with.

    python -m benchmarks.bilevel.toy [--starts=1000] [--figure=docs/bilevel_toy.png]

    f(x, y) = cos(4y + 2) / (1 + exp(2 - 4x)) + ½ ln((4x - 2)² + 1),  0 ≤ x ≤ 3
    g(x, y) = (x + y)² + x sin²(x + y)                                (https://arxiv.org/abs/2302.05185)

For every x in the box the only stationary point of g(x, ·) is y = -x, where g = 0: the gap of values is g itself, and
the local solutions of the penalised problem, f + γ g near y = -x, are found by root finding on its optimality
conditions. Every end point is compared with the nearest of them. The ratio of the last line is the share of starts that
end elsewhere.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import optimize

from benchmarks.side_by_side import print_result
from bljust_jax.bilevel.solvers import Solver, solve, v_pbgd

GAMMA = 10.0
BOX = 0.0, 3.0
STEPS = 4000


def upper(x: jax.Array, y: jax.Array) -> jax.Array:
    """The upper level's objective f."""
    return jnp.cos(4 * y + 2) / (1 + jnp.exp(2 - 4 * x)) + 0.5 * jnp.log((4 * x - 2) ** 2 + 1)


def lower(x: jax.Array, y: jax.Array) -> jax.Array:
    """The lower level's objective g."""
    return (x + y) ** 2 + x * jnp.sin(x + y) ** 2


def toy_solver(gamma: float = GAMMA) -> Solver:
    """V-PBGD with one inner step. The largest curvature of g is 16 (at x = 3), and 8 along y; that of f is some 20."""
    step_size = 1 / (16 * gamma + 20)
    return v_pbgd(
        upper,
        lower,
        gamma,
        x_optimizer=optax.sgd(step_size),
        y_optimizer=optax.sgd(step_size),
        inner_optimizer=optax.sgd(1 / 8),
        project_x=lambda x: jnp.clip(x, *BOX),
    )


def random_starts(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values of x in the box and of y between -4 and 1, both `[number]`."""
    random = np.random.default_rng(seed)
    return random.uniform(*BOX, number).astype(np.float32), random.uniform(-4, 1, number).astype(np.float32)


def end_points(x: np.ndarray, y: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """Where the solver ends from each start, `[starts, 2]`."""
    state, _ = jax.jit(jax.vmap(lambda x, y: solve(toy_solver(), x, y, steps=steps)))(x, y)
    return np.stack([state.x, state.y], axis=-1)


def x_slope(x: float, y: float, gamma: float) -> float:
    """∂/∂x of f + γ g."""
    e, s, u = np.exp(2 - 4 * x), 4 * x - 2, x + y
    slope_of_g = 2 * u + x * np.sin(2 * u) + np.sin(u) ** 2
    return 4 * np.cos(4 * y + 2) * e / (1 + e) ** 2 + 4 * s / (s**2 + 1) + gamma * slope_of_g


def y_slope(y: float, x: float, gamma: float) -> float:
    """∂/∂y of f + γ g."""
    u = x + y
    return -4 * np.sin(4 * y + 2) / (1 + np.exp(2 - 4 * x)) + gamma * (2 * u + x * np.sin(2 * u))


def local_solutions(gamma: float = GAMMA) -> np.ndarray:
    """All local minima of f + γ g in the box near y = -x, `[solutions, 2]`.

    For each x there is one y near -x with ∂/∂y = 0, and it is a minimum. Along these points, a minimum is where ∂/∂x
    turns from negative to positive, or an end of the box at which it points outwards.
    """

    def best_y(x: float) -> float:
        return optimize.brentq(y_slope, -x - 0.5, -x + 0.5, args=(x, gamma), xtol=1e-12)

    def slope(x: float) -> float:
        return x_slope(x, best_y(x), gamma)

    low, high = BOX
    grid = np.linspace(low, high, 3001)
    slopes = np.array([slope(x) for x in grid])
    rising = np.flatnonzero((slopes[:-1] < 0) & (slopes[1:] >= 0))
    solutions = [optimize.brentq(slope, grid[i], grid[i + 1], xtol=1e-12) for i in rising]
    solutions = [low] * bool(slopes[0] > 0) + solutions + [high] * bool(slopes[-1] < 0)
    return np.array([(x, best_y(x)) for x in solutions])


def distances(points: np.ndarray, solutions: np.ndarray) -> np.ndarray:
    """From each point to the nearest solution, `[points]`."""
    return np.linalg.norm(points[:, None] - solutions, axis=-1).min(axis=1)


def draw(path: str, starts: np.ndarray, ends: np.ndarray, solutions: np.ndarray) -> None:
    """Starts, ends and solutions over the contours of f; and f along y = -x."""
    import matplotlib

    matplotlib.use('agg')
    from matplotlib import pyplot

    figure, (plane, line) = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    x, y = np.meshgrid(np.linspace(*BOX, 200), np.linspace(-4, 1, 200))
    contours = plane.contourf(x, y, upper(x, y), 20, cmap='Greys', alpha=0.6)
    figure.colorbar(contours, ax=plane, label='f(x, y)')
    plane.plot(BOX, np.negative(BOX), '--', color='#444444', linewidth=1, label='y = -x, where g is least')
    plane.plot(*starts.T, '.', color='#1f5fa8', markersize=2, label='starts')
    plane.plot(*ends.T, 'o', color='#c43c39', markersize=6, label='ends')
    plane.plot(*solutions.T, 'k+', markersize=12, label='local solutions')
    plane.set(xlabel='x', ylabel='y', title=f'V-PBGD, γ = {GAMMA:.0f}, {len(starts)} starts')
    plane.legend(loc='lower left', fontsize=8)
    x = np.linspace(*BOX, 500)
    line.plot(x, upper(x, -x), color='#444444', label='f(x, -x)')
    line.plot(ends[:, 0], upper(*ends.T), 'o', color='#c43c39', markersize=6, label='ends')
    line.plot(solutions[:, 0], upper(*solutions.T), 'k+', markersize=12, label='local solutions')
    line.set(xlabel='x', ylabel='f', title='The bilevel problem')
    line.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--starts', type=int, default=1000)
    parser.add_argument('--figure', default='', help='where to draw it (.png or .svg), which needs matplotlib')
    options = parser.parse_args()
    starts, solutions = random_starts(options.starts), local_solutions()
    begin = time.perf_counter(), time.process_time()
    ends = end_points(*starts)
    wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    away = distances(ends, solutions)
    nearest = np.linalg.norm(ends[:, None] - solutions, axis=-1).argmin(axis=1)
    figures: dict[str, Any] = {'within_0.02': float(np.mean(away < 0.02)), 'largest_distance': float(away.max())}
    for index, (x, y) in enumerate(solutions):
        print(f'x {x:.4f}  y {y:8.4f}  f {upper(x, y):8.4f}  gap {lower(x, y):.4f}  {np.sum(nearest == index):4} ends')
    print(f'within 0.02: {100 * figures["within_0.02"]:.1f} %, largest distance {figures["largest_distance"]:.1e}')
    print(f'{options.starts} starts, {STEPS} steps: {wall:.1f} s, of CPU {cpu:.1f} s')
    if options.figure:
        draw(options.figure, np.stack(starts, axis=-1), ends, solutions)
    print_result('bilevel.toy', 1 - figures['within_0.02'], **figures, seconds=round(wall, 1))


if __name__ == '__main__':
    main()
