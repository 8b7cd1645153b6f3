"""Penalty methods for general bilevel problems, in which the lower level depends on the upper variables.

    min over x, y   f(x, y)     s.t.   y ∈ argmin over y' of g(x, y')

`penalty` trains levels that share an encoder; there the lower level's optimal value is a constant. Here it is a
function v(x) = min g(x, ·), and the methods differ in how they keep y near its minimum. All of them need gradients only
(`g_pbgd` the derivative of one along a direction) and work on any pytrees x and y. γ is the penalty weight:

    v_pbgd         ω descends g(x, ·);  then x and y descend  f + γ (g(x, y) - g(x, ω))
    f2sa           ω descends g(x, ·) and y descends f + γ g(x, ·);  then x descends  f + γ (g(x, y) - g(x, ω))
    g_pbgd         x and y descend  f + γ |∇y g(x, y)|²
    weighted_sum   x and y descend  f + γ g(x, y):  no bilevel method, but what to compare the others with
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from bljust_jax.bilevel.schedules import value_at
from bljust_jax.types import PyTree

Weight: TypeAlias = jax.typing.ArrayLike | optax.Schedule
Objective = Callable[..., jax.Array]
Projection = Callable[[PyTree], PyTree]


class SolverState(NamedTuple):
    """State of a solver.

    Attributes:
      count: number of steps so far, int32 scalar.
      x: upper variables.
      y: lower variables.
      omega: near the minimum of g(x, ·), a tree like y; None for a method that does not look for it.
      x_optimizer: state of the optimiser of x.
      y_optimizer: state of the optimiser of y.
      omega_optimizer: state of the optimiser of omega, or None.
    """

    count: jax.Array  # type: ignore[assignment]  # hides tuple.count
    x: PyTree
    y: PyTree
    omega: PyTree
    x_optimizer: optax.OptState
    y_optimizer: optax.OptState
    omega_optimizer: optax.OptState


class Diagnostics(NamedTuple):
    """What a step saw, all scalars: at the (x, y) it began with; for `f2sa` at the x it began with and the new y.

    Attributes:
      gamma: the penalty weight.
      upper: f(x, y).
      lower: g(x, y).
      penalty: what γ multiplies: the gap g(x, y) - g(x, ω), the squared norm |∇y g|², or g(x, y).
      x_norm: norm of the gradient of f + γ penalty with regard to x. Where nothing confines x and y, both norms are 0
        at a solution of the penalised problem.
      y_norm: the same with regard to y.
    """

    gamma: jax.Array
    upper: jax.Array
    lower: jax.Array
    penalty: jax.Array
    x_norm: jax.Array
    y_norm: jax.Array


class Solver(NamedTuple):
    """A pair of pure functions, which may be jitted, scanned and vmapped.

    Attributes:
      init: `init(x, y) -> SolverState`.
      step: `step(state, *data) -> (SolverState, Diagnostics)`; `data` goes to f(x, y, *data) and g(x, y, *data).
    """

    init: Callable[[PyTree, PyTree], SolverState]
    step: Callable[..., tuple[SolverState, Diagnostics]]


def v_pbgd(
    upper: Objective,
    lower: Objective,
    gamma: Weight,
    *,
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    inner_optimizer: optax.GradientTransformation,
    inner_steps: int = 1,
    project_x: Projection | None = None,
    project_y: Projection | None = None,
) -> Solver:
    """Penalty-based bilevel gradient descent on the gap of values.

    A step takes `inner_steps` steps on ω, from where the last step left it, and then moves x and y together:

      `omega <- omega - beta * grad_omega g(x, omega)`
      `(x, y) <- (x, y) - alpha * grad (f(x, y) + gamma * (g(x, y) - g(x, omega)))`

    The gradient with regard to x needs no derivative of ω, since that of g(x, ·) is 0 at its minimum.

    For example, `min (x - 3)**2 + y**2` where y = x is the lower level's optimum; it is solved by x = y = 1.5:

      >>> import jax.numpy as jnp, optax
      >>> from bljust_jax.bilevel import solve, v_pbgd
      >>> solver = v_pbgd(
      ...   lambda x, y: (x - 3.0) ** 2 + y**2,
      ...   lambda x, y: (y - x) ** 2,
      ...   gamma=100.0,
      ...   x_optimizer=optax.sgd(4e-3),
      ...   y_optimizer=optax.sgd(4e-3),
      ...   inner_optimizer=optax.sgd(0.5),
      ... )
      >>> state, history = solve(solver, jnp.array(0.0), jnp.array(0.0), steps=2000)
      >>> print(f'x {state.x:.2f}, y {state.y:.2f}, gap {history.penalty[-1]:.4f}')
      x 1.51, y 1.49, gap 0.0002

    Args:
      upper: f(x, y, *data) -> scalar.
      lower: g(x, y, *data) -> scalar.
      gamma: the penalty weight: a number, or an optax schedule of the number of steps made so far.
      x_optimizer: turns the gradient of x, which grows with γ, into its step.
      y_optimizer: the same for y.
      inner_optimizer: turns the gradient of ω, which does not grow with γ, into its step.
      inner_steps: steps on ω in a step of the solver.
      project_x: onto the set that confines x, such as `lambda x: jnp.clip(x, 0.0, 1.0)`.
      project_y: onto the set that confines y, and so ω. It must not depend on x.

    Returns:
      The solver.

    Raises:
      ValueError: if `inner_steps` is less than 1.

    References:
      Shen and Chen, `On Penalty-based Bilevel Gradient Descent Method <https://arxiv.org/abs/2302.05185>`_, 2023
    """
    _check_inner_steps(inner_steps)
    move_x, move_y = _mover(x_optimizer, project_x), _mover(y_optimizer, project_y)
    move_omega = _mover(inner_optimizer, project_y)
    gradients = _gradients(upper, lower, _gap, gamma)

    def step(state: SolverState, *data: Any) -> tuple[SolverState, Diagnostics]:
        def descend(_: int, omega: tuple[PyTree, optax.OptState]) -> tuple[PyTree, optax.OptState]:
            return move_omega(jax.grad(lower, argnums=1)(state.x, omega[0], *data), *omega)

        omega, omega_optimizer = jax.lax.fori_loop(0, inner_steps, descend, (state.omega, state.omega_optimizer))
        (x_grads, y_grads), diagnostics = gradients(state.count, state.x, state.y, omega, data)
        x, x_optimizer = move_x(x_grads, state.x, state.x_optimizer)
        y, y_optimizer = move_y(y_grads, state.y, state.y_optimizer)
        return SolverState(state.count + 1, x, y, omega, x_optimizer, y_optimizer, omega_optimizer), diagnostics

    return Solver(functools.partial(_init, x_optimizer, y_optimizer, inner_optimizer), step)


def f2sa(
    upper: Objective,
    lower: Objective,
    gamma: Weight,
    *,
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    inner_optimizer: optax.GradientTransformation,
    inner_steps: int = 1,
    project_x: Projection | None = None,
) -> Solver:
    """Fully first-order stochastic approximation: ω follows the minimum of g, y that of f + γ g, x their difference.

    A step takes `inner_steps` steps on ω and y, from where the last step left them, and then one on x:

      `omega <- omega - beta * grad_omega g(x, omega)`
      `y <- y - alpha * grad_y (f(x, y) + gamma * g(x, y))`
      `x <- x - xi * grad_x (f(x, y) + gamma * (g(x, y) - g(x, omega)))`

    Where y and ω have come to their minima, x moves along the gradient of `min over y of f + gamma * (g - v)`. In the
    paper γ, there λ, rises without end, by ever smaller amounts, and the step size of y falls with 1 / γ.

    Args:
      upper: f(x, y, *data) -> scalar.
      lower: g(x, y, *data) -> scalar; the theory asks for strong convexity in y.
      gamma: the penalty weight: a number, or an optax schedule of the number of steps made so far.
      x_optimizer: turns the gradient of x into its step.
      y_optimizer: turns the gradient of y, which grows with γ, into its step; it counts the inner steps.
      inner_optimizer: turns the gradient of ω, which does not grow with γ, into its step.
      inner_steps: steps on y and ω in a step of the solver.
      project_x: onto the set that confines x.

    Returns:
      The solver.

    Raises:
      ValueError: if `inner_steps` is less than 1.

    References:
      Kwon et al., `A Fully First-Order Method for Stochastic Bilevel Optimization
      <https://arxiv.org/abs/2301.10945>`_, 2023
    """
    _check_inner_steps(inner_steps)
    move_x, move_y, move_omega = _mover(x_optimizer, project_x), _mover(y_optimizer), _mover(inner_optimizer)
    gradients = _gradients(upper, lower, _gap, gamma)

    def step(state: SolverState, *data: Any) -> tuple[SolverState, Diagnostics]:
        def penalised(y: PyTree) -> jax.Array:
            return upper(state.x, y, *data) + value_at(gamma, state.count) * lower(state.x, y, *data)

        def descend(_: int, carry: tuple[Any, Any]) -> tuple[Any, Any]:
            y, omega = carry
            y = move_y(jax.grad(penalised)(y[0]), *y)
            return y, move_omega(jax.grad(lower, argnums=1)(state.x, omega[0], *data), *omega)

        begin = (state.y, state.y_optimizer), (state.omega, state.omega_optimizer)
        (y, y_optimizer), (omega, omega_optimizer) = jax.lax.fori_loop(0, inner_steps, descend, begin)
        (x_grads, _), diagnostics = gradients(state.count, state.x, y, omega, data)
        x, x_optimizer = move_x(x_grads, state.x, state.x_optimizer)
        return SolverState(state.count + 1, x, y, omega, x_optimizer, y_optimizer, omega_optimizer), diagnostics

    return Solver(functools.partial(_init, x_optimizer, y_optimizer, inner_optimizer), step)


def g_pbgd(
    upper: Objective,
    lower: Objective,
    gamma: Weight,
    *,
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    project_x: Projection | None = None,
) -> Solver:
    """Penalty-based bilevel gradient descent on the squared norm of the lower level's gradient.

      `(x, y) <- (x, y) - alpha * grad (f(x, y) + gamma * |grad_y g(x, y)|**2)`

    No inner iterate is needed, but the derivative of the gradient along itself, for about the cost of one more
    gradient; and a lower level without constraints, all of whose stationary points are optima.

    Args:
      upper: f(x, y, *data) -> scalar.
      lower: g(x, y, *data) -> scalar, twice differentiable.
      gamma: the penalty weight: a number, or an optax schedule of the number of steps made so far.
      x_optimizer: turns the gradient of x, which grows with γ, into its step.
      y_optimizer: the same for y.
      project_x: onto the set that confines x.

    Returns:
      The solver.

    References:
      Shen and Chen, `On Penalty-based Bilevel Gradient Descent Method <https://arxiv.org/abs/2302.05185>`_, 2023
    """
    return _single_loop(upper, lower, _squared_norm, gamma, x_optimizer, y_optimizer, project_x)


def weighted_sum(
    upper: Objective,
    lower: Objective,
    gamma: Weight,
    *,
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    project_x: Projection | None = None,
) -> Solver:
    """Descent on `f(x, y) + gamma * g(x, y)`, a single level: the upper variables help to minimise g, too.

    Args:
      upper: f(x, y, *data) -> scalar.
      lower: g(x, y, *data) -> scalar.
      gamma: the weight: a number, or an optax schedule of the number of steps made so far.
      x_optimizer: turns the gradient of x into its step.
      y_optimizer: the same for y.
      project_x: onto the set that confines x.

    Returns:
      The solver.
    """
    return _single_loop(upper, lower, _value, gamma, x_optimizer, y_optimizer, project_x)


def solve(solver: Solver, x: PyTree, y: PyTree, *data: Any, steps: int) -> tuple[SolverState, Diagnostics]:
    """`steps` steps of a solver on the same data, in one scan.

    Args:
      solver: the solver.
      x: upper variables to begin with.
      y: lower variables to begin with.
      *data: handed on to the objectives.
      steps: how many.

    Returns:
      The last state, and the diagnostics of all steps `[steps]`.
    """
    return jax.lax.scan(lambda state, _: solver.step(state, *data), solver.init(x, y), length=steps)


# A penalty is a function of (g, ω, x, y, *data) and returns itself and g(x, y).


def _gap(lower: Objective, omega: PyTree, x: PyTree, y: PyTree, *data: Any) -> tuple[jax.Array, jax.Array]:
    value = lower(x, y, *data)
    return value - lower(x, omega, *data), value


def _squared_norm(lower: Objective, _: None, x: PyTree, y: PyTree, *data: Any) -> tuple[jax.Array, jax.Array]:
    value, grads = jax.value_and_grad(lower, argnums=1)(x, y, *data)
    return optax.tree.norm(grads, squared=True), value


def _value(lower: Objective, _: None, x: PyTree, y: PyTree, *data: Any) -> tuple[jax.Array, jax.Array]:
    value = lower(x, y, *data)
    return value, value


def _gradients(upper: Objective, lower: Objective, penalty: Callable[..., Any], gamma: Weight) -> Callable[..., Any]:
    """`(count, x, y, ω, data) -> (∇ (f + γ penalty) with regard to x and y, Diagnostics)`."""

    def gradients(
        count: jax.Array, x: PyTree, y: PyTree, omega: PyTree, data: tuple[Any, ...]
    ) -> tuple[tuple[PyTree, PyTree], Diagnostics]:
        weight = value_at(gamma, count)

        def penalised(x: PyTree, y: PyTree) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            f, (p, g) = upper(x, y, *data), penalty(lower, omega, x, y, *data)
            return f + weight * p, (f, g, p)

        grads, values = jax.grad(penalised, argnums=(0, 1), has_aux=True)(x, y)
        return grads, Diagnostics(weight, *values, *map(optax.tree.norm, grads))

    return gradients


def _single_loop(
    upper: Objective,
    lower: Objective,
    penalty: Callable[..., Any],
    gamma: Weight,
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    project_x: Projection | None,
) -> Solver:
    move_x, move_y = _mover(x_optimizer, project_x), _mover(y_optimizer)
    gradients = _gradients(upper, lower, penalty, gamma)

    def step(state: SolverState, *data: Any) -> tuple[SolverState, Diagnostics]:
        (x_grads, y_grads), diagnostics = gradients(state.count, state.x, state.y, None, data)
        x, x_optimizer = move_x(x_grads, state.x, state.x_optimizer)
        y, y_optimizer = move_y(y_grads, state.y, state.y_optimizer)
        return SolverState(state.count + 1, x, y, None, x_optimizer, y_optimizer, None), diagnostics

    return Solver(functools.partial(_init, x_optimizer, y_optimizer, None), step)


def _init(
    x_optimizer: optax.GradientTransformation,
    y_optimizer: optax.GradientTransformation,
    inner_optimizer: optax.GradientTransformation | None,
    x: PyTree,
    y: PyTree,
) -> SolverState:
    x, y = _copy(x), _copy(y)  # so that a step may be given the state's memory
    omega, omega_optimizer = None, None
    if inner_optimizer is not None:
        omega = _copy(y)
        omega_optimizer = inner_optimizer.init(omega)
    count = jnp.zeros([], jnp.int32)
    return SolverState(count, x, y, omega, x_optimizer.init(x), y_optimizer.init(y), omega_optimizer)


def _copy(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.array(leaf, jnp.result_type(leaf)), tree)


def _mover(
    optimizer: optax.GradientTransformation, project: Projection | None = None
) -> Callable[[PyTree, PyTree, optax.OptState], tuple[PyTree, optax.OptState]]:
    """`(gradients, variables, optimiser state) -> (variables, optimiser state)`."""

    def move(grads: PyTree, params: PyTree, state: optax.OptState) -> tuple[PyTree, optax.OptState]:
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        return params if project is None else project(params), state

    return move


def _check_inner_steps(inner_steps: int) -> None:
    if inner_steps < 1:
        raise ValueError(f'inner_steps must be at least 1: got {inner_steps}.')
