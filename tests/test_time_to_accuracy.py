"""Learners train what they say, and the table tells epochs and seconds of made-up curves."""

from importlib.util import find_spec

import numpy as np
import pytest

from bench import learners, time_to_accuracy
from bench.pairing import Paired
from bench.time_to_accuracy import OURS, Found, Length, Method


@pytest.fixture(scope="module")
def digits():
    return {kind: time_to_accuracy.problem("digits", kind, 0) for kind in ("sparse", "dense")}


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_every_learner_learns_the_digits(digits, kind):
    problem, score = digits[kind]
    assert problem.y.size % learners.BATCH == 0
    before = problem.net.theta
    for label, method in time_to_accuracy.METHODS[kind].items():
        if not find_spec(method.package):
            continue
        curve = method.make(problem, None if method.rates == (None,) else 1e-2).curve(3, score)
        assert len(curve) == 3, label
        assert curve[-1] > 0.9, label
    np.testing.assert_array_equal(problem.net.theta, before)


def test_scores_are_of_the_learners_own_parameters(digits):
    problem, score = digits["dense"]
    learner = learners.perceptron(problem, 1e-2)
    learner.curve(2, score)
    own = learner._model.predict_proba(problem.X)
    net = problem.net.copy()
    net.theta = learner.theta()
    z = net.forward(problem.X).astype(np.float64)
    told = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(told / told.sum(axis=1, keepdims=True), own, atol=1e-5)


def test_peers_of_one_network_take_the_same_steps(digits):
    pytest.importorskip("torch")
    problem, _ = digits["sparse"]
    thetas = []
    for make in (learners.torch_sparse, learners.torch_layers):
        learner = make(problem, 1e-3)
        learner.run(1)
        thetas.append(learner.theta())
    assert np.abs(thetas[0] - problem.net.theta).max() > 1e-3
    np.testing.assert_allclose(*thetas, atol=2e-4)


def test_compiled_adam_is_adam(digits):
    pytest.importorskip("jax")
    problem, _ = digits["dense"]
    one = problem._replace(X=problem.X[:learners.BATCH], y=problem.y[:learners.BATCH])
    thetas = []
    for make in (learners.jax_adam, learners.own_adam):
        learner = make(one, 1e-2)
        learner.curve(5, lambda theta: thetas.append(theta.copy()))  # each epoch is the same batch
    for theirs, ours in zip(thetas[:5], thetas[5:], strict=True):
        assert np.abs(theirs - one.net.theta).max() > 5e-3
        np.testing.assert_allclose(theirs, ours, atol=2e-4)


@pytest.mark.parametrize(("package", "kind", "make"), [
    ("torch", "sparse", learners.torch_sparse), ("jax", "dense", learners.jax_adam)])
def test_annealed_rates_fall_to_nothing(digits, package, kind, make):
    """Adam's steps are about as long as its rate."""
    pytest.importorskip(package)
    problem, _ = digits[kind]
    steps = []
    for made in (make, learners.annealed(make)):
        thetas = [problem.net.theta]
        made(problem, 1e-3).curve(6, lambda theta, thetas=thetas: thetas.append(theta.copy()))
        steps.append(np.linalg.norm(np.diff(thetas, axis=0), axis=1))
    np.testing.assert_allclose(steps[1][0], steps[0][0], rtol=1e-3)  # the first epoch's is whole
    assert steps[1][-1] < 0.5 * steps[0][-1]


def test_epochs_and_seconds_by_level(monkeypatch):
    curve = np.array([[0.90, 0.95, 0.97, 0.985], [0.92, 0.96, 0.97, 0.985]])
    own = Found({None: curve}, Paired(0.01, 0.01, 1.0, 1.0, 1.0))
    rates = {1e-3: np.repeat(curve, 2, axis=1)[:, :7], 1e-2: curve - 0.01}
    peer = Found(rates, Paired(0.03, 0.01, 3.0, 2.5, 3.5))
    assert time_to_accuracy.reached(curve, 0.97) == 3
    assert time_to_accuracy.reached(curve, 0.99) is None
    assert peer.best(0.97, (1e-3,)) == (5, 1e-3)
    assert peer.best(0.97, tuple(rates)) == (4, 1e-2)
    results = {("digits", "dense"): {OURS: own, "torch Adam": peer}}
    table = time_to_accuracy.table(results)
    assert f"| dense | {OURS} | default | 10 | 1 | 2, 0.02 | 3, 0.03 | 4, 0.04 |" in table
    assert "| torch Adam | 0.001 | 30 | 3.00 (2.50-3.50) | 3, 0.09 | 5, 0.15 | 7, 0.21 |" in table
    assert "best of 2 | 30 | 3.00 (2.50-3.50) | 3, 0.09 at 0.001 | 4, 0.12 at 0.01 | " \
        "7, 0.21 at 0.001 |" in table
    told = time_to_accuracy.sentences(results)
    assert f"- digits, dense, 97%: {OURS}, 0.03 s; the fastest of other libraries, untuned, " \
        "torch Adam, 5 times as long; the fastest of other libraries, best of its rates, torch " \
        "Adam, 4 times as long." in told
    peer.curves[1e-3][:] = peer.curves[1e-2][:] = 0.5
    assert "never in 7" in time_to_accuracy.table(results)
    assert "of other libraries, untuned, none reached it" in time_to_accuracy.sentences(results)


def test_methods_that_are_not_installed_are_left_out(monkeypatch):
    given = {OURS: Method(learners.quasi_diagonal, rates=(None,)),
             "nothing": Method(learners.own_adam, "no_such_package")}
    monkeypatch.setattr(time_to_accuracy, "METHODS", {"dense": given})
    found = time_to_accuracy.measure(("digits",), Length(range(1), 1, 1, 3))
    assert list(found["digits", "dense"]) == [OURS]
