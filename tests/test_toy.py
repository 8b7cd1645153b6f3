import numpy as np
import pytest
from scipy import optimize

from bljust_jax import toy
from bljust_jax.config import StrategyConfig


def travel(name, gamma_max=30.0, **overrides):
    steps = {'labelled_steps': 400, 'explore_steps': 200, 'finetune_steps': 0, 'explore_rate': 1.0} | overrides
    return toy.travel(StrategyConfig(name=name, **steps), gamma_max=gamma_max)


def penalised(gamma):
    """The least f + γ g, found by scipy in float64."""

    def value(theta):
        upper = 0.5 * ((theta - np.array(toy.TARGET)) ** 2).sum()
        return upper + gamma * 0.5 * (theta[1] - np.sin(theta[0])) ** 2

    return optimize.minimize(value, toy.solution(), tol=1e-10).x


def test_the_solution_is_the_nearest_point_of_the_curve():
    place, height = toy.solution()
    assert height == np.sin(place)
    xs = np.linspace(-3, 4, 70001)
    nearest = xs[np.hypot(xs - toy.TARGET[0], np.sin(xs) - toy.TARGET[1]).argmin()]
    np.testing.assert_allclose(place, nearest, atol=1e-3)


def test_each_strategy_ends_where_its_problem_is_solved():
    for name in ('supervised', 'pretrain_finetune'):
        np.testing.assert_allclose(travel(name).end, toy.TARGET, atol=0.01)
    np.testing.assert_allclose(travel('joint', 1.0).end, penalised(1), atol=0.01)
    np.testing.assert_allclose(travel('bl_just').end, penalised(30), atol=0.01)


def test_the_larger_gamma_the_nearer_to_the_bilevel_solution():
    away = [np.linalg.norm(travel('bl_just', gamma).end - toy.solution()) for gamma in (1, 3, 10, 30)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.03


def test_a_journey_has_a_phase_and_a_gamma_for_each_step():
    journey = travel('bl_just', cycles=2, labelled_steps=5, explore_steps=2, finetune_steps=1)
    assert journey.phases == ['explore', 'joint', 'joint', 'explore', 'joint', 'joint', 'finetune']
    assert journey.points.shape == (8, 2)
    np.testing.assert_allclose(journey.gammas, [np.nan, 0, 10, np.nan, 20, 30, np.nan], rtol=1e-6)
    np.testing.assert_allclose(journey.points[0], toy.START)
    assert pytest.approx(journey.end) == journey.points[-1]
