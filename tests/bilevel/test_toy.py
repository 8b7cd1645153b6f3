"""V-PBGD on the toy problem of its paper, from a thousand random starts."""

import jax
import numpy as np

from benchmarks.bilevel import toy


def penalised(points, gamma):
    return np.asarray(toy.upper(*points.T) + gamma * toy.lower(*points.T))


def test_the_derivatives_are_those_of_the_problem():
    gradient = jax.grad(lambda x, y: toy.upper(x, y) + 7.0 * toy.lower(x, y), argnums=(0, 1))
    for x, y in np.random.default_rng(0).uniform([0.0, -4.0], [3.0, 1.0], [20, 2]):
        expected = toy.x_slope(x, y, 7.0), toy.y_slope(y, x, 7.0)
        np.testing.assert_allclose(gradient(x, y), expected, rtol=1e-3, atol=1e-3)


def test_the_local_solutions_are_all_the_minima_near_the_optima_of_the_lower_level():
    solutions = toy.local_solutions(10.0)
    for x, y in solutions:
        np.testing.assert_allclose([toy.x_slope(x, y, 10.0), toy.y_slope(y, x, 10.0)], 0.0, atol=1e-8)
        assert abs(x + y) < 0.05
    # A fine grid has a minimum next to each of them, and no other.
    x, u = np.meshgrid(np.linspace(0, 3, 601), np.linspace(-0.1, 0.1, 81), indexing='ij')
    points = np.stack([x, u - x], axis=-1)
    valley = penalised(points.reshape(-1, 2), 10.0).reshape(x.shape)
    best = valley.argmin(axis=1)
    along = valley.min(axis=1)
    lowest = 1 + np.flatnonzero((along[1:-1] < along[:-2]) & (along[1:-1] < along[2:]))
    found = points[lowest, best[lowest]]
    assert len(found) == len(solutions)
    np.testing.assert_allclose(found, solutions, atol=0.03)


def test_nearly_every_start_ends_at_a_local_solution():
    ends = toy.end_points(*toy.random_starts(1000))
    assert np.mean(toy.distances(ends, toy.local_solutions()) < 0.02) >= 0.99
