"""The fan-in prior, the average of theta, and the choice of a place by validation."""

import numpy as np
import pytest
from strategies import FORMS, assert_close
from test_training import Targets, permuted_batches, problem, run, trust_region_loop

import fisherkern as fk
from fisherkern import optimizers, reference, training
from fisherkern.schedule import averaging_weights

QuasiDiagonal = optimizers.QuasiDiagonalBackpropagatedMetricGradient


@pytest.mark.parametrize("interpretation", ["square", "softmax"])
@pytest.mark.parametrize("form", FORMS)
def test_path_of_the_prior_vs_numpy_loop(form, interpretation):
    net, X, Y = problem(11, interpretation=interpretation)
    targets = Targets(9, form[0])
    trained, history = run(net, X, Y, optimizers.MetricGradient(*form), steps=25, batch_size=16,
                           rng=9, prior="path", trust_radius=1e-2)
    plain, _ = run(net, X, Y, optimizers.MetricGradient(*form), steps=25, batch_size=16, rng=9,
                   trust_radius=1e-2)
    batches = permuted_batches(targets.batches, 60, 16, 25)
    losses, rates = trust_region_loop(net, X, Y, *form, batches, radius=1e-2, targets=targets,
                                      scales=0.003**(np.arange(25) / 25))
    assert_close(history.loss, losses, tolerance=1e-8)
    assert_close(history.learning_rate, rates, tolerance=1e-8)
    assert_close(trained.theta, net.theta, tolerance=1e-8)
    assert np.abs(plain.theta - net.theta).max() > 1e-3


@pytest.mark.parametrize("make", [optimizers.Backpropagation, optimizers.Momentum])
def test_prior_of_optimizers_without_a_metric_is_part_of_the_gradient(make):
    net, X, Y = problem(12, interpretation="softmax")
    trained, _ = run(net, X, Y, make(0.3), steps=10, step_size=lambda step: 0.3, prior=5.0)
    ranges = np.ptp(reference.activities(net, X), axis=0)
    low, high, velocity = np.inf, -np.inf, 0.0
    for _ in range(10):
        a = reference.activities(net, X)
        low, high = np.minimum(low, a.min(axis=0)), np.maximum(high, a.max(axis=0))
        precision = reference.prior_precision(net, high - low, 5.0, len(X))
        g = -reference.gradient(net, X, Y) - precision * net.theta
        velocity = (0.9 * velocity if make is optimizers.Momentum else 0) + g
        net.theta[...] += 0.3 * np.where(net.frozen, 0, velocity)
    assert ranges.any()
    assert_close(trained.theta, net.theta, tolerance=1e-9)


def test_a_strong_prior_takes_the_weights_away_and_none_of_the_biases():
    net, X, Y = problem(13, interpretation="softmax", frozen=0)
    trained, _ = run(net, X, Y, QuasiDiagonal(), steps=40, batch_size=20, rng=0, prior=1e6,
                     step_size=lambda step: 0.5)
    moved = trained.weights != net.weights  # one unit leads to no output
    assert moved.sum() > 10
    assert np.abs(trained.weights[moved]).max() < 1e-5
    assert np.abs(trained.biases).max() > 0.1


def test_a_loss_that_is_all_gone_leaves_the_prior_its_steps():
    net, X, _ = problem(14, interpretation="square", frozen=0)
    Y = net.forward(X)
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=50, batch_size=20, rng=0, prior=100.0)
    assert history.loss[0] < 1e-20
    assert history.learning_rate.min() > 1e-6
    assert np.abs(trained.weights - net.weights).max() > 1e-3


def test_path_of_the_prior_leaves_given_rates_as_they_are():
    net, X, Y = problem(14, interpretation="softmax")
    _, history = run(net, X, Y, QuasiDiagonal(), steps=10, batch_size=20, rng=0, prior="path",
                     step_size=lambda step: 0.01 * (step + 1))
    assert_close(history.learning_rate, 0.01 * np.arange(1, 11))


def test_prior_counts_the_training_samples_alone():
    net, X, Y = problem(14, interpretation="softmax")
    kept = np.sort(np.random.default_rng(3).permutation(60)[15:])
    options = {"steps": 5, "step_size": lambda step: 0.1, "prior": 1.0}
    held, _ = run(net, X, Y, QuasiDiagonal(), rng=3, validation=0.25, **options)
    alone, _ = run(net, X[kept], Y[kept], QuasiDiagonal(), **options)
    np.testing.assert_array_equal(held.theta, alone.theta)


# --- averaging ------------------------------------------------------------------------------------


def test_final_network_is_the_average_of_the_steps():
    net, X, Y = problem(15, interpretation="softmax")
    options = {"batch_size": 16, "rng": 4, "step_size": lambda step: 0.1}
    average = 0.0
    for t in range(1, 31):
        theta = run(net, X, Y, QuasiDiagonal(), steps=t, **options)[0].theta
        average += max(1 / t, 1 - np.exp(-1 / max(1, 0.1 * t))) * (theta - average)
    trained, _ = run(net, X, Y, QuasiDiagonal(), steps=30, averaging=True, **options)
    assert_close(trained.theta, average, tolerance=1e-12)
    assert np.abs(trained.theta - theta).max() > 1e-4
    assert averaging_weights(0, 1) == 1


def test_validation_and_checkpoint_are_of_the_average(tmp_path):
    net, X, Y = problem(16, interpretation="softmax")
    seen = []
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=40, batch_size=16, rng=4,
                           averaging=True, validation=(X, Y), checkpoint=tmp_path / "net",
                           callbacks=[lambda event: seen.append(event.network.theta.copy())])
    assert history.validation[-1] == (40, trained.loss(X, Y))
    np.testing.assert_array_equal(fk.load(tmp_path / "net").theta, trained.theta)
    assert np.abs(seen[-1] - trained.theta).max() > 1e-5  # callbacks see the network that moves


def test_what_is_frozen_on_the_way_keeps_its_value():
    net, X, Y = problem(17, interpretation="softmax", frozen=0)

    def prune(event):
        if event.step == 10:
            event.network.theta[3] = 0
            event.network.frozen[3] = True

    trained, _ = run(net, X, Y, QuasiDiagonal(), steps=20, batch_size=16, rng=4, averaging=True,
                     callbacks=[prune])
    assert trained.theta[3] == 0


def test_checkpoint_on_the_way_is_the_average(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", -1.0)
    net, X, Y = problem(16, interpretation="softmax")
    options = {"batch_size": 16, "rng": 4, "averaging": True, "step_size": lambda step: 0.1}
    saved = {}

    def look(event):
        if (tmp_path / "net").exists():  # before this step's
            saved[event.step - 1] = fk.load(tmp_path / "net").theta

    run(net, X, Y, QuasiDiagonal(), steps=10, checkpoint=tmp_path / "net", callbacks=[look],
        **options)
    until, _ = run(net, X, Y, QuasiDiagonal(), steps=6, **options)
    np.testing.assert_array_equal(saved[6], until.theta)


def test_freezing_at_the_last_step_leaves_the_average():
    net, X, Y = problem(17, interpretation="softmax", frozen=0)

    def stop(event, freeze=False):
        if freeze:
            event.network.frozen[3] = True
        return event.step == 20

    options = {"steps": 60, "batch_size": 16, "rng": 4, "averaging": True}
    plain, _ = run(net, X, Y, QuasiDiagonal(), callbacks=[stop], **options)
    frozen, _ = run(net, X, Y, QuasiDiagonal(), **options, callbacks=[
        lambda event: stop(event, freeze=event.step == 20)])
    free = ~frozen.frozen
    assert free.sum() == free.size - 1
    np.testing.assert_array_equal(frozen.theta[free], plain.theta[free])


# --- selection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", [False, True])
def test_selection_keeps_the_parameters_of_the_least_validation_loss(averaging):
    net, X, Y = problem(18, interpretation="softmax")
    other = np.random.default_rng(0).permutation(Y)  # so that training makes it worse in the end
    options = {"batch_size": 16, "rng": 4, "step_size": lambda step: 0.2, "averaging": averaging}
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=60, validation=(X, other),
                           selection="best", **options)
    steps, losses = zip(*history.validation, strict=True)
    assert steps == tuple(range(4, 61, 4))
    assert history.selected == steps[int(np.argmin(losses))] < 60
    assert trained.loss(X, other) == min(losses)
    again, _ = run(net, X, Y, QuasiDiagonal(), steps=history.selected, **options)
    np.testing.assert_array_equal(again.theta, trained.theta)


def test_selection_of_a_number_ends_the_same_run_there():
    net, X, Y = problem(18, interpretation="softmax")
    options = {"steps": 60, "batch_size": 16, "rng": 4, "averaging": True, "prior": "path"}
    seen = {}

    def note(event):
        seen[event.step] = event.parameters

    note.on_validation = True
    _, whole = run(net, X, Y, QuasiDiagonal(), validation=(X, Y), selection="best",
                   callbacks=[note], **options)
    trained, history = run(net, X, Y, QuasiDiagonal(), selection=24, **options)
    assert (len(history), history.selected) == (24, 24)
    np.testing.assert_array_equal(history.loss, whole.loss[:24])
    np.testing.assert_array_equal(trained.theta, seen[24])


def test_early_stopping_ends_with_the_average_that_it_found_best():
    net, X, Y = problem(18, interpretation="softmax")
    other = np.random.default_rng(0).permutation(Y)
    stop = fk.EarlyStopping(3)
    trained, history = run(net, X, Y, QuasiDiagonal(), epochs=100, batch_size=16, rng=4,
                           step_size=lambda step: 0.2, averaging=True, validation=(X, other),
                           callbacks=[stop])
    assert history.stopped == "callback"
    assert trained.loss(X, other) == stop.best_loss == min(loss for _, loss in history.validation)


def test_selection_of_the_best_outlasts_what_callbacks_keep():
    net, X, Y = problem(18, interpretation="softmax")
    other = np.random.default_rng(0).permutation(Y)
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=150, batch_size=16, rng=4,
                           step_size=lambda step: 0.02, validation=(X, other), selection="best",
                           callbacks=[fk.EarlyStopping(3, min_delta=0.5)])
    losses = dict(history.validation)
    assert history.stopped == "callback"
    assert history.selected == min(losses, key=losses.get)
    assert trained.loss(X, other) == losses[history.selected]


def test_selection_leaves_what_was_frozen_on_the_way():
    net, X, Y = problem(18, interpretation="softmax", frozen=0)
    other = np.random.default_rng(0).permutation(Y)

    def prune(event):
        if event.step == 59:
            event.network.theta[3] = 0
            event.network.frozen[3] = True

    trained, history = run(net, X, Y, QuasiDiagonal(), steps=60, batch_size=16, rng=4,
                           step_size=lambda step: 0.2, validation=(X, other), selection="best",
                           callbacks=[prune])
    assert history.selected < 59
    assert trained.theta[3] == 0


def test_what_cannot_run_draws_no_number_and_starts_no_callback():
    net, X, Y = problem(19, interpretation="softmax")
    stop, rng = fk.EarlyStopping(), np.random.default_rng(5)
    stop.best_step = 17
    for options in ({"selection": 999}, {"n_threads": 0}, {"trust_radius": -1}, {"prior": True}):
        with pytest.raises((ValueError, TypeError), match=next(iter(options))):
            fk.train(net, X, Y, QuasiDiagonal(), validation=0.2, rng=rng, callbacks=[stop],
                     **{"steps": 3, "batch_size": 16} | options)
        assert rng.bit_generator.state == np.random.default_rng(5).bit_generator.state
        assert stop.best_step == 17


def test_faults_of_the_validation_samples_are_named():
    net, X, Y = problem(19, interpretation="softmax")
    bad = X.copy()
    bad[3, 1] = np.nan
    for pair, name in (((bad, Y), r"validation\[0\]\[3, 1\]"), ((X, Y[:5]), r"validation\[1\]")):
        with pytest.raises(ValueError, match=name):
            fk.train(net, X, Y, QuasiDiagonal(), steps=3, batch_size=16, validation=pair)


@pytest.mark.parametrize(("options", "message"), [
    ({"prior": "paths"}, "prior must be None, 'path' or a number; got 'paths'"),
    ({"prior": -1.0}, "prior must be at least 0"),
    ({"prior": np.nan}, "prior must be finite"),
    ({"averaging": 1}, "averaging must be"),
    ({"selection": "last"}, "selection must be None, 'best' or a number of steps; got 'last'"),
    ({"selection": 4}, "selection must be at most the run's 3 steps; got 4"),
    ({"selection": 0}, "selection must be at least 1"),
    ({"selection": 1.5}, "selection must be an integer"),
    ({"selection": "best"}, "selection = 'best' needs validation"),
    ({"prior": 1.0, "batch_size": None}, "prior = 1.0 cannot be used with step_size 'adaptive'"),
    ({"averaging": True, "batch_size": None}, "averaging = True cannot be used"),
], ids=str)
def test_bad_options_change_nothing(options, message):
    net, X, Y = problem(19, interpretation="softmax")
    before = net.theta.copy()
    with pytest.raises((ValueError, TypeError), match=message.replace("(", r"\(")):
        fk.train(net, X, Y, QuasiDiagonal(), **{"steps": 3, "batch_size": 16} | options)
    np.testing.assert_array_equal(net.theta, before)


def test_prior_needs_range_damping():
    net, X, Y = problem(19, interpretation="softmax")
    with pytest.raises(ValueError, match=r"prior = 'path' needs .* 'range'.*0.0001"):
        fk.train(net, X, Y, QuasiDiagonal(damping=1e-4), steps=3, batch_size=16, prior="path")


def test_unit_and_origin_of_the_features_do_not_matter():
    net, X, Y = problem(20, interpretation="softmax", frozen=0)
    losses = []
    for factor, shift in ((1, 0), (2.0**np.arange(-2, X.shape[1] - 2), 0), (3.7, 5)):
        _, history = run(net.initialize("data", rng=0, X=X * factor + shift),
                         X * factor + shift, Y, QuasiDiagonal(), steps=50, batch_size=16, rng=4,
                         prior="path", averaging=True, validation=0.3, selection="best")
        losses.append(np.r_[history.loss, [loss for _, loss in history.validation]])
    np.testing.assert_array_equal(losses[0], losses[1])
    assert_close(losses[0], losses[2], tolerance=1e-6)
