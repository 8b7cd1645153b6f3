"""Quadratic problems whose solution is known: what descent along the penalty's direction leads to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bljust_jax.bilevel import by_prefix, penalty, shadow


class Bilevel:
    """Upper ½|θ - a|² + ½(φ - θ₀)², lower ½(u·θ - η)² + ½(η - c)².

    The lower level's optimum over η is ¼(u·θ - c)², so the constraint is u·θ = c, the bilevel solution the projection
    of a on that plane, and the penalty's minimiser for a fixed γ is θ = a - γ u (u·a - c) / (2 + γ |u|²).
    """

    a, u, c = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.5, -1.0]), 1.0
    scope = staticmethod(by_prefix({'encoder': None, 'sup': 0, 'unsup': 1}))
    start = {'encoder': jnp.zeros([3]), 'sup': jnp.zeros([]), 'unsup': jnp.zeros([])}  # noqa: RUF012

    def losses(self):
        def upper(params):
            return 0.5 * jnp.sum((params['encoder'] - self.a) ** 2) + 0.5 * (params['sup'] - params['encoder'][0]) ** 2

        def lower(params):
            return 0.5 * (self.u @ params['encoder'] - params['unsup']) ** 2 + 0.5 * (params['unsup'] - self.c) ** 2

        return upper, lower

    def curvature(self, gamma):
        return 2 + 2.5 * gamma

    def solution(self):
        return self.a - self.u * (self.u @ self.a - self.c) / (self.u @ self.u)

    def minimiser(self, gamma):
        return self.a - gamma * self.u * (self.u @ self.a - self.c) / (2 + gamma * self.u @ self.u)


class Trilevel:
    """½|θ - a|² + ½(φ - 1)²  above  ½(θ₁ - η)² + ½(η - d)² + ½(θ₁ + θ₂ - e)²  above  ½(θ₂ - ψ)² + ½(ψ - c)².

    The lowest level asks for θ₂ = c; on that plane the one above it for the θ₁ that minimises ¼(θ₁ - d)² +
    ½(θ₁ + c - e)², at which it still pulls at θ₂; the upper one is left with θ₀.
    """

    a, c, d, e = np.array([1.0, -2.0, 0.5]), 1.0, -1.0, 2.0
    scope = staticmethod(by_prefix({'encoder': None, 'sup': 0, 'unsup': 1, 'distil': 2}))
    start = {'encoder': jnp.zeros([3])} | {name: jnp.zeros([]) for name in ('sup', 'unsup', 'distil')}

    def losses(self):
        def upper(params):
            return 0.5 * jnp.sum((params['encoder'] - self.a) ** 2) + 0.5 * (params['sup'] - 1.0) ** 2

        def middle(params):
            theta, eta = params['encoder'], params['unsup']
            return 0.5 * ((theta[1] - eta) ** 2 + (eta - self.d) ** 2 + (theta[1] + theta[2] - self.e) ** 2)

        def lowest(params):
            return 0.5 * (params['encoder'][2] - params['distil']) ** 2 + 0.5 * (params['distil'] - self.c) ** 2

        return upper, middle, lowest

    def curvature(self, gamma):
        return 2 + 3 * gamma + gamma**2

    def solution(self):
        return np.array([self.a[0], (self.d / 2 + self.e - self.c) / 1.5, self.c])

    def minimiser(self, gamma):
        """With each head at the optimum of its own level."""
        matrix, right = np.eye(3), self.a.copy()
        matrix[1, 1] += gamma / 2
        right[1] += gamma / 2 * self.d
        matrix[1:, 1:] += gamma
        right[1:] += gamma * self.e
        matrix[2, 2] += gamma**2 / 2
        right[2] += gamma**2 / 2 * self.c
        return np.linalg.solve(matrix, right)


def solver(problem, schedule=None, **options):
    """`solve(gamma, rate, steps)`: gradient descent, compiled once for all of them."""
    upper, *lower = problem.losses()

    @jax.jit
    def solve(gamma, rate, steps):
        gammas = (gamma if schedule is None else schedule,) * len(lower)
        optimizer = optax.chain(penalty(gammas, scope=problem.scope, **options), optax.scale(-rate))

        def step(_, carry):
            params, state = carry
            values, grads = zip(*(jax.value_and_grad(loss)(params) for loss in lower), strict=True)
            updates, state = optimizer.update(
                jax.grad(upper)(params), state, params, lower_grads=grads, lower_values=values
            )
            return optax.apply_updates(params, updates), state

        params, state = jax.lax.fori_loop(0, steps, step, (problem.start, optimizer.init(problem.start)))
        return params, state[0]

    return lambda gamma, rate, steps: solve(jnp.asarray(gamma, jnp.float32), jnp.asarray(rate, jnp.float32), steps)


@pytest.mark.parametrize(('problem', 'gammas'), [(Bilevel(), (8, 16, 32, 64)), (Trilevel(), (8, 16, 24))])
def test_the_distance_to_the_solution_is_of_order_one_over_gamma(problem, gammas):
    solve, distances = solver(problem), []
    for gamma in gammas:
        curvature = problem.curvature(gamma)
        params, state = solve(gamma, 1 / curvature, int(30 * curvature))
        np.testing.assert_allclose(params['encoder'], problem.minimiser(gamma), atol=1e-3)
        assert state.stationarity < 1e-2 * state.norms[0]
        distances.append(np.linalg.norm(params['encoder'] - problem.solution()))
    slope = np.polyfit(np.log(gammas), np.log(distances), 1)[0]
    assert slope == pytest.approx(-1, abs=0.15)


def test_a_rising_gamma_leads_to_the_constrained_solution():
    problem = Bilevel()
    params, state = solver(problem, optax.linear_schedule(0.0, 256.0, 5_000))(0.0, 1.5e-3, 20_000)
    np.testing.assert_allclose(params['encoder'], problem.solution(), atol=1e-2)
    np.testing.assert_allclose(params['encoder'], problem.minimiser(256.0), atol=3e-4)
    np.testing.assert_allclose(params['sup'], params['encoder'][0], atol=3e-4)
    np.testing.assert_allclose(params['unsup'], problem.c, atol=1e-2)
    np.testing.assert_allclose(state.gammas, [256.0])
    assert state.values[0] < 1e-4


def test_a_normalized_step_is_stable_with_one_step_size_for_any_gamma():
    """And with `scale_owned` it goes to the same place: the stationary points are those of the penalty problem."""
    problem = Bilevel()
    solve = solver(problem, normalize=True, scale_owned=True)
    for gamma in (1.0, 30.0):
        params, _ = solve(gamma, 0.25, int(100 * (1 + gamma)))
        np.testing.assert_allclose(params['encoder'], problem.minimiser(gamma), atol=1e-3)


def test_with_a_shadow_it_is_v_pbgd():
    """½(x - 1)² + ½(y + 2)² above ½(y - x)² + x²: y = x, so x = y = -½; the optimal value x² moves with x."""

    def upper(params):
        return 0.5 * (params['x'] - 1) ** 2 + 0.5 * (params['y'] + 2) ** 2

    def lower(y, x):
        return 0.5 * (y - x) ** 2 + x**2

    gamma = 50.0
    inner = shadow(lower, optax.sgd(0.5), steps=3)
    optimizer = optax.chain(penalty(gamma, normalize=True), optax.sgd(0.2))

    def step(_, carry):
        params, state, omega = carry
        optimum, omega = inner.update(omega, params['x'])

        def above_optimum(params):
            value = lower(params['y'], params['x'])
            return value - lower(jax.lax.stop_gradient(omega.params), params['x']), value

        grads, value = jax.grad(above_optimum, has_aux=True)(params)
        updates, state = optimizer.update(
            jax.grad(upper)(params), state, lower_grads=(grads,), lower_values=(value,), lower_optima=(optimum,)
        )
        return optax.apply_updates(params, updates), state, omega

    @jax.jit
    def solve():
        params = {'x': jnp.asarray(3.0), 'y': jnp.asarray(0.0)}
        return jax.lax.fori_loop(0, 3000, step, (params, optimizer.init(params), inner.init(params['y'])))

    params, (state, _), omega = solve()
    # Stationary where x - 1 = γ(y - x) = -(y + 2).
    distance = 1.5 / (1 + 2 * gamma)
    np.testing.assert_allclose([params['x'], params['y']], [-0.5 + distance, -0.5 - distance], atol=1e-3)
    np.testing.assert_allclose(omega.params, params['x'], atol=1e-3)
    np.testing.assert_allclose(state.gaps, [0.5 * (params['y'] - params['x']) ** 2], atol=1e-4)
