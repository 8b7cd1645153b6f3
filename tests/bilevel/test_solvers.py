"""Tests of the solvers for general bilevel problems."""

import doctest
import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies
from jax.flatten_util import ravel_pytree

from bljust_jax.bilevel import solvers
from bljust_jax.bilevel.solvers import solve

METHODS = ('v_pbgd', 'f2sa', 'g_pbgd', 'weighted_sum')
WITH_OMEGA = ('v_pbgd', 'f2sa')
INNER = 0.7


def make(method, upper, lower, gamma, *, x=0.1, y=0.1, **options):
    if method in WITH_OMEGA:
        options |= {'inner_optimizer': optax.sgd(INNER)}
    return getattr(solvers, method)(upper, lower, gamma, x_optimizer=optax.sgd(x), y_optimizer=optax.sgd(y), **options)


class Quadratic:
    """f = ½|x - a|² + ½|y - b|² and g = ½ (y - A x)ᵀ H (y - A x) + ½ k |x|², on trees.

    y = A x is the lower level's optimum and v(x) = ½ k |x|² its value, so that minimising f + γ g is another problem.
    """

    x = (np.array([1.0, -2.0], np.float32), [np.float32(0.5)])
    y = (np.array([[0.5, 1.0]], np.float32), np.float32(-1.0))
    A = np.array([[0.5, -0.2, 0.3], [0.1, 0.7, -0.4], [-0.6, 0.2, 0.5]], np.float32)
    H = np.array([[1.0, 0.2, 0.0], [0.2, 1.2, 0.1], [0.0, 0.1, 0.8]], np.float32)
    k = 0.5

    @property
    def targets(self):
        return ravel_pytree(self.x)[0], ravel_pytree(self.y)[0]

    def upper(self, x, y):
        a, b = self.targets
        return 0.5 * jnp.sum((ravel_pytree(x)[0] - a) ** 2) + 0.5 * jnp.sum((ravel_pytree(y)[0] - b) ** 2)

    def lower(self, x, y):
        x, y = ravel_pytree(x)[0], ravel_pytree(y)[0]
        residual = y - self.A @ x
        return 0.5 * residual @ (self.H @ residual) + 0.5 * self.k * jnp.sum(x**2)

    def penalised_solution(self, method, gamma):
        """The minimiser of ½|z - c|² + ½ γ zᵀ Q z with z = (x, y)."""
        to_residual = np.concatenate([-self.A, np.eye(3)], axis=1, dtype=np.float64)
        metric = 2 * self.H @ self.H if method == 'g_pbgd' else self.H
        curvature = to_residual.T @ metric @ to_residual
        if method == 'weighted_sum':
            curvature += np.diag([self.k] * 3 + [0.0] * 3)
        return np.linalg.solve(np.eye(6) + gamma * curvature, np.concatenate(self.targets))

    def solution(self):
        """x of the bilevel problem: the minimiser of ½|x - a|² + ½|A x - b|²."""
        a, b = self.targets
        return np.linalg.solve(np.eye(3) + self.A.T @ self.A, a + self.A.T @ b)


def flat(state):
    return np.concatenate([ravel_pytree(state.x)[0], ravel_pytree(state.y)[0]])


def zeros():
    return jax.tree.map(np.zeros_like, (Quadratic.x, Quadratic.y))


def element(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


class TestQuadratic:
    problem = Quadratic()

    @pytest.mark.parametrize('method', METHODS)
    def test_ends_at_the_minimum_of_the_penalised_problem(self, method):
        gamma = 10.0
        rates = {'x': 0.2, 'y': 0.07, 'inner_steps': 10} if method == 'f2sa' else {'x': 0.025, 'y': 0.025}
        solver = make(method, self.problem.upper, self.problem.lower, gamma, **rates)
        state, history = jax.jit(lambda: solve(solver, *zeros(), steps=3000))()
        np.testing.assert_allclose(flat(state), self.problem.penalised_solution(method, gamma), atol=1e-4)
        np.testing.assert_allclose([history.x_norm[-1], history.y_norm[-1]], 0.0, atol=1e-4)
        assert jax.tree.structure((state.x, state.y)) == jax.tree.structure(zeros())

    @pytest.mark.parametrize('method', ['v_pbgd', 'f2sa', 'g_pbgd'])
    def test_a_rising_gamma_leads_to_the_solution_of_the_bilevel_problem(self, method):
        gamma = optax.linear_schedule(1.0, 300.0, 6000)
        rates = {'x': 1 / 1100, 'y': 1 / 1100}
        if method == 'f2sa':
            rates = {'x': 0.3, 'y': lambda count: 0.7 / (1 + gamma(count // 20)), 'inner_steps': 20}
        solver = make(method, self.problem.upper, self.problem.lower, gamma, **rates)
        state, history = jax.jit(lambda: solve(solver, *zeros(), steps=12_000))()
        x, y = np.split(flat(state), 2)
        np.testing.assert_allclose(flat(state), self.problem.penalised_solution(method, 300.0), atol=1e-3)
        np.testing.assert_allclose(x, self.problem.solution(), atol=0.02)
        np.testing.assert_allclose(y, self.problem.A @ self.problem.solution(), atol=0.02)
        np.testing.assert_allclose([history.gamma[0], history.gamma[-1]], [1.0, 300.0])

    def test_the_weighted_sum_leads_elsewhere(self):
        x = self.problem.penalised_solution('weighted_sum', 300.0)[:3]
        assert np.abs(x - self.problem.solution()).max() > 0.1

    @pytest.mark.parametrize('method', METHODS)
    def test_many_starts_at_once(self, method):
        solver = make(method, self.problem.upper, self.problem.lower, 1.0)
        rng = np.random.default_rng(0)
        starts = jax.tree.map(lambda leaf: rng.normal(size=(3, *np.shape(leaf))).astype(np.float32), zeros())

        @jax.jit
        def run(start):
            return solve(solver, *start, steps=5)[0]

        together = jax.vmap(run)(starts)
        for index in range(3):
            alone = run(element(starts, index))
            np.testing.assert_allclose(flat(element(together, index)), flat(alone), rtol=1e-4, atol=1e-5)


def bend(x, y):
    return jnp.sum(jnp.sin(x)) * jnp.sum(y**2) + jnp.sum(jnp.cos(x)) + jnp.sum(x) * jnp.sum(y)


def bowl(x, y):
    return jnp.sum((y - jnp.mean(x)) ** 2) + jnp.sum(jnp.cos(y)) * jnp.sum(x**2)


@functools.partial(jax.jit, static_argnums=0)
def by_hand(method, gamma, x, y, omega):
    """One step of the published algorithm on vectors, with the step sizes of `make` and one inner step."""
    f_x, f_y = jax.grad(bend, argnums=(0, 1))(x, y)
    g_x, g_y = jax.grad(bowl, argnums=(0, 1))(x, y)
    if method == 'weighted_sum':
        return x - 0.1 * (f_x + gamma * g_x), y - 0.1 * (f_y + gamma * g_y), None
    if method == 'g_pbgd':
        along = jax.grad(lambda x, y: jax.grad(bowl, argnums=1)(x, y) @ g_y, argnums=(0, 1))(x, y)
        return x - 0.1 * (f_x + 2 * gamma * along[0]), y - 0.1 * (f_y + 2 * gamma * along[1]), None
    omega = omega - INNER * jax.grad(bowl, argnums=1)(x, omega)
    new_y = y - 0.1 * (f_y + gamma * g_y)
    at = new_y if method == 'f2sa' else y
    f_x, g_x, v_x = jax.grad(bend)(x, at), jax.grad(bowl)(x, at), jax.grad(bowl)(x, omega)
    return x - 0.1 * (f_x + gamma * (g_x - v_x)), new_y, omega


class TestStep:
    @pytest.mark.parametrize('method', METHODS)
    @hypothesis.settings(max_examples=4)
    @hypothesis.given(
        seed=strategies.integers(0, 2**32 - 1),
        gamma=strategies.floats(0.01, 3.0),
        shapes=strategies.lists(strategies.sampled_from([(), (2,), (1, 3)]), min_size=2, max_size=4),
    )
    def test_equals_the_published_one_on_trees_of_any_shape(self, method, seed, gamma, shapes):
        rng = np.random.default_rng(seed)
        leaves = [rng.uniform(-0.5, 0.5, shape).astype(np.float32) for shape in shapes]
        x, y = {'a': leaves[0], 'b': tuple(leaves[2:])}, [leaves[1], {'c': leaves[0]}]
        solver = make(
            method,
            lambda x, y: bend(ravel_pytree(x)[0], ravel_pytree(y)[0]),
            lambda x, y: bowl(ravel_pytree(x)[0], ravel_pytree(y)[0]),
            gamma,
        )
        step, state = jax.jit(solver.step), solver.init(x, y)
        vectors = ravel_pytree(x)[0], ravel_pytree(y)[0], ravel_pytree(y)[0]
        for _ in range(2):  # the second begins with an ω of its own
            state, _ = step(state)
            vectors = by_hand(method, gamma, *vectors)
        for actual, expected in zip((state.x, state.y, state.omega), vectors, strict=True):
            if expected is not None:
                np.testing.assert_allclose(ravel_pytree(actual)[0], expected, rtol=2e-4, atol=1e-5)
        assert (state.omega is None) == (method not in WITH_OMEGA)

    def test_inner_steps_follow_one_another(self):
        problem = Quadratic()
        one, three = (make('v_pbgd', problem.upper, problem.lower, 1.0, x=0.0, inner_steps=n) for n in (1, 3))
        expected, _ = solve(one, *zeros(), steps=3)
        actual, _ = solve(three, *zeros(), steps=1)
        np.testing.assert_allclose(ravel_pytree(actual.omega)[0], ravel_pytree(expected.omega)[0], rtol=1e-6)

    @pytest.mark.parametrize('method', METHODS)
    def test_diagnostics_are_of_what_the_step_saw(self, method):
        problem = Quadratic()
        solver = make(method, problem.upper, problem.lower, 2.0)
        before = solver.init(problem.x, problem.y)
        after, seen = jax.jit(solver.step)(before)
        x, y = before.x, after.y if method == 'f2sa' else before.y
        value = problem.lower(x, y)
        penalties = {
            'weighted_sum': lambda x, y: problem.lower(x, y),
            'g_pbgd': lambda x, y: optax.tree.norm(jax.grad(problem.lower, argnums=1)(x, y), squared=True),
        }
        penalty = penalties.get(method, lambda x, y: problem.lower(x, y) - problem.lower(x, after.omega))
        norms = [
            optax.tree.norm(jax.grad(lambda x, y: problem.upper(x, y) + 2.0 * penalty(x, y), argnums=index)(x, y))
            for index in (0, 1)
        ]
        expected = [2.0, problem.upper(x, y), value, penalty(x, y), *norms]
        np.testing.assert_allclose(jnp.stack(seen), np.array(expected), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize('method', METHODS)
    def test_hands_its_data_on_to_both_levels(self, method):
        solver = make(method, lambda x, y, a, b: (y - a) ** 2 + x**2, lambda x, y, a, b: (y - b * x) ** 2, 1.0)
        state = solver.init(1.0, 2.0)
        _, seen = solver.step(state, jnp.float32(3.0), jnp.float32(4.0))
        y = solver.step(state, jnp.float32(3.0), jnp.float32(4.0))[0].y if method == 'f2sa' else 2.0
        np.testing.assert_allclose([seen.upper, seen.lower], [(y - 3.0) ** 2 + 1.0, (y - 4.0) ** 2], rtol=1e-5)

    @pytest.mark.parametrize('method', METHODS)
    def test_compiles_once_while_gamma_and_data_change(self, method):
        traces = 0
        gamma = optax.linear_schedule(0.0, 1.0, 10)
        solver = make(method, lambda x, y, target: (y - target) ** 2 + x**2, lambda x, y, _: (y - x) ** 2, gamma)

        def step(state, target):
            nonlocal traces
            traces += 1
            return solver.step(state, target)

        compiled, state, gammas = jax.jit(step, donate_argnums=0), solver.init(1.0, 2.0), set()
        for target in range(4):
            state, seen = compiled(state, jnp.float32(target))
            gammas.add(float(seen.gamma))
        assert (traces, len(gammas), int(state.count)) == (1, 4, 4)

    @pytest.mark.parametrize('method', WITH_OMEGA)
    def test_an_impossible_number_of_inner_steps_raises(self, method):
        with pytest.raises(ValueError, match='inner_steps must be at least 1: got 0'):
            make(method, bend, bowl, 1.0, inner_steps=0)

    @pytest.mark.standard_dtypes
    @pytest.mark.parametrize('method', METHODS)
    def test_takes_any_optax_optimizer(self, method):
        problem, gamma = Quadratic(), 10.0
        rate = optax.linear_schedule(0.03, 0.0, 3000)
        options = {'inner_optimizer': optax.sgd(INNER), 'inner_steps': 10} if method in WITH_OMEGA else {}
        optimizers = {'x_optimizer': optax.adam(rate), 'y_optimizer': optax.adam(rate)}
        solver = getattr(solvers, method)(problem.upper, problem.lower, gamma, **optimizers, **options)
        state, _ = jax.jit(lambda: solve(solver, *zeros(), steps=3000))()
        np.testing.assert_allclose(flat(state), problem.penalised_solution(method, gamma), atol=2e-3)


class TestConstraints:
    @pytest.mark.parametrize(('method', 'stiffness'), [('v_pbgd', 1), ('f2sa', 1), ('g_pbgd', 4), ('weighted_sum', 1)])
    def test_x_stays_in_its_set(self, method, stiffness):
        """f = (x - 3)² + y² and g = (y - x)², x between 0 and 1: x = 1, y = s γ / (1 + s γ), the penalty s g."""
        solver = make(
            method,
            lambda x, y: (x - 3.0) ** 2 + y**2,
            lambda x, y: (y - x) ** 2,
            5.0,
            x=0.02,
            y=0.02,
            project_x=lambda x: jnp.clip(x, 0.0, 1.0),
        )
        state, _ = solve(solver, 0.3, -2.0, steps=500)
        np.testing.assert_allclose([state.x, state.y], [1.0, 5 * stiffness / (1 + 5 * stiffness)], rtol=1e-4)

    def test_y_and_omega_stay_in_theirs(self):
        """f = (x + 2)² + (y - 1)², g = (y - x)², y ≥ 0: the lower level's optimum is max(x, 0), the solution (-2, 0).

        Without the constraint on ω its value would be 0 and not x², and x be drawn to 0.
        """
        solver = make(
            'v_pbgd',
            lambda x, y: (x + 2.0) ** 2 + (y - 1.0) ** 2,
            lambda x, y: (y - x) ** 2,
            5.0,
            x=0.02,
            y=0.02,
            project_y=lambda y: jnp.maximum(y, 0.0),
        )
        state, history = solve(solver, -1.0, 2.0, steps=500)
        np.testing.assert_allclose([state.x, state.y, state.omega], [-2.0, 0.0, 0.0], atol=1e-3)
        np.testing.assert_allclose(history.penalty[-1], 0.0, atol=1e-5)


def test_docstring_examples():
    results = doctest.testmod(solvers)
    assert results.attempted > 0
    assert results.failed == 0
