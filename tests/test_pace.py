"""How many steps run at once, and on how many threads: what is chosen, and that it is nothing."""

import numpy as np
import pytest
from test_threads import large_problem

import fisherkern as fk
from fisherkern import pace, stream, training
from fisherkern.samples import Samples


def run(pace, step_seconds, n_steps):
    """Seconds that steps take whose time depends on the number of threads, and those of threads."""
    total, by_threads, done = 0.0, {}, 0
    while done < n_steps:
        size = pace.size(n_steps - done)
        seconds = size * step_seconds(pace.n_threads)
        by_threads[pace.n_threads] = by_threads.get(pace.n_threads, 0) + size
        pace.report(size, seconds)
        total, done = total + seconds, done + size
    return total, by_threads


def test_all_threads_are_used_where_they_are_faster():
    total, steps = run(pace.Pace(2, True), {2: 1e-3, 1: 1.8e-3}.__getitem__, 20_000)
    assert steps[2] > 0.99 * 20_000
    assert total < 1.02 * 20_000 * 1e-3


def test_one_thread_does_it_where_others_are_held_up():
    total, steps = run(pace.Pace(2, True), {2: 40e-3, 1: 0.7e-3}.__getitem__, 20_000)
    assert steps[1] > 0.99 * 20_000
    assert total < 1.15 * 20_000 * 0.7e-3


@pytest.mark.parametrize("best", [1, 2, 4, 8, 16])
def test_the_best_number_is_found_from_the_most(best):
    def seconds(n_threads):
        return 1e-3 * max(best / n_threads, n_threads / best)

    one = pace.Pace(16, True)
    run(one, seconds, 5_000)
    assert one._kept == best


def test_all_threads_come_back_when_they_pay_again():
    one = pace.Pace(2, True)
    run(one, {2: 40e-3, 1: 1e-3}.__getitem__, 1_000)
    assert one._kept == 1
    run(one, {2: 0.5e-3, 1: 1e-3}.__getitem__, 20_000)
    assert one._kept == 2


def test_a_number_that_is_asked_for_stays():
    _, steps = run(pace.Pace(2, False), {2: 40e-3, 1: 1e-3}.__getitem__, 1_000)
    assert set(steps) == {2}


def test_chunks_are_of_even_time():
    one = pace.Pace(1, True)
    run(one, lambda n: 1e-4, 5_000)
    assert one.size(10**6) == pytest.approx(500, rel=0.1)
    assert one.size(7) == 7


@pytest.fixture
def restless(monkeypatch):
    """Chunks of few steps, each on another number of threads."""
    used = []

    def report(self, n_steps, seconds):
        used.append(self.n_threads)
        self._size, self.n_threads = 3, len(used) % 5 + 1

    monkeypatch.setattr(pace.Pace, "report", report)
    return used


OPTIMIZERS = {
    "whole": (fk.optimizers.UnitwiseNaturalGradient(), {}),
    "diagonal": (fk.optimizers.DiagonalGaussNewton(), {"batch_size": 325}),
    "quasi_diagonal": (fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient(),
                       {"batch_size": 325, "prior": "path", "averaging": True}),
    "unitwise": (fk.optimizers.BackpropagatedMetricGradient(), {"batch_size": 325}),
    "monte_carlo": (fk.optimizers.MonteCarloQuasiDiagonalNaturalGradient(), {"batch_size": 325}),
    "adam": (fk.optimizers.Adam(1e-3), {"batch_size": 325}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_changing_the_number_on_the_way_changes_no_bit(name, restless, monkeypatch):
    optimizer, options = OPTIMIZERS[name]
    thetas = []
    for n_threads in (1, 5):
        net, X, Y = large_problem("bernoulli", "float32")
        if n_threads == 1:
            with monkeypatch.context() as still:
                still.setattr(pace.Pace, "report", lambda self, n_steps, seconds: None)
                fk.train(net, X, Y, optimizer, steps=14, rng=0, n_threads=1, **options)
        else:
            fk.train(net, X, Y, optimizer, steps=14, rng=0, n_threads=5, **options)
        thetas.append(net.theta.copy())
    assert set(restless) > {1, 2, 5}
    np.testing.assert_array_equal(*thetas)


@pytest.mark.parametrize("name", ["quasi_diagonal", "monte_carlo", "adam"])
def test_streams_in_chunks_are_streams_at_once(name, restless, monkeypatch):
    optimizer, _ = OPTIMIZERS[name]
    averages = []
    for at_once in (True, False):
        net, X, Y = large_problem("bernoulli")
        one = stream.Stream(net, optimizer, 50, 1e-3, optimizer.has_metric, 5)
        with monkeypatch.context() as still:
            if at_once:
                still.setattr(pace.Pace, "size", lambda self, most: most)
                still.setattr(pace.Pace, "report", lambda self, n_steps, seconds: None)
            rng = np.random.default_rng(0)
            for part in (slice(400), slice(400, None), slice(None)):
                one.take(Samples(X[part], Y[part], None), rng)
        assert one.n_steps == 26
        averages.append(one.average.theta.copy())
    assert len(restless) > 6
    np.testing.assert_array_equal(*averages)


def test_an_interrupted_part_of_a_stream_is_as_if_it_had_not_come(restless, monkeypatch):
    net, X, Y = large_problem("bernoulli")
    one = stream.Stream(net, fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient(), 50, 1e-3,
                        True, 2)
    one.take(Samples(X[:420], Y[:420], None), np.random.default_rng(0))
    theta, waiting = one.net.theta.copy(), one._waiting[0].copy()

    def interrupt(self, n_steps, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(pace.Pace, "report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        one.take(Samples(X, Y, None), np.random.default_rng(0))
    np.testing.assert_array_equal(one.net.theta, theta)
    np.testing.assert_array_equal(one._waiting[0], waiting)
    assert one.n_steps == 8


def test_training_adapts_unless_a_number_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(training, "Pace", lambda n, adapts: asked.append(adapts) or pace.Pace(
        n, adapts))
    net, X, Y = large_problem()
    for n_threads in (None, 2):
        fk.train(net, X, Y, fk.optimizers.Adam(1e-3), steps=2, batch_size=50, n_threads=n_threads)
    assert asked == [True, False]
