"""What surrounds the steps: history, validation, callbacks, checkpoints, Ctrl-C and errors."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from strategies import random_problem

import fisherkern as fk
from fisherkern import optimizers

SGD = optimizers.Backpropagation(0.05)
QuasiDiagonal = optimizers.QuasiDiagonalBackpropagatedMetricGradient


@pytest.fixture
def data():
    return random_problem(np.random.default_rng(0), n_samples=50, activations=("tanh", "silu"),
                          interpretation="softmax", frozen=0, classes=True)


# --- history --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "n_steps", "validations"), [
    ({"steps": 7}, 7, [1, 2, 3, 4, 5, 6, 7]),
    ({"epochs": 3}, 3, [1, 2, 3]),
    ({"epochs": 2, "batch_size": 20}, 5, [3, 5]),
    ({"steps": 9, "batch_size": 20}, 9, [3, 5, 8, 9]),
    ({"epochs": 2, "online": True, "step_size": "constant"}, 100, [50, 100]),
    ({"steps": 250}, 250, list(range(2, 251, 2))),
])
def test_history_has_an_entry_per_attempt(data, options, n_steps, validations):
    net, X, Y = data
    history = fk.train(net, X, Y, SGD, validation=(X[:5], Y[:5]), rng=0, **options)
    assert len(history) == n_steps
    for name in ("loss", "bits", "accepted", "learning_rate", "seconds"):
        assert getattr(history, name).shape == (n_steps,)
    np.testing.assert_array_equal(history.bits, history.loss / np.log(2))
    assert history.accepted.dtype == bool
    assert np.all(np.diff(history.seconds) > 0)
    assert [step for step, _ in history.validation] == validations
    assert history.validation[-1][1] == net.loss(X[:5], Y[:5])
    assert history.stopped is None
    assert repr(history).startswith(f"<History of {n_steps} steps, loss ")


@pytest.mark.parametrize("interpretation", ["softmax", "spherical"])
@pytest.mark.parametrize("weighted", [False, True])
def test_held_out_accuracy_is_of_the_most_probable_classes(interpretation, weighted):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 5)), rng.integers(3, size=200)
    weights = rng.integers(4, size=50) if weighted else np.ones(50, int)
    held = (X[150:], y[150:], weights) if weighted else (X[150:], y[150:])
    net = fk.Network.layered([5, 8, 3], interpretation=interpretation, rng=rng)
    history = fk.train(net, X[:150], y[:150], fk.optimizers.Adam(1e-2), steps=30, batch_size=10,
                       validation=held, rng=rng)
    assert [step for step, _ in history.accuracy] == [step for step, _ in history.validation]
    losses = np.array([net.losses(X[150:], np.full(50, c)) for c in range(3)])
    right = np.repeat(losses.argmin(axis=0) == y[150:], weights)
    assert history.accuracy[-1][1] == pytest.approx(right.mean())
    assert history.to_dict()["accuracy"] == [list(pair) for pair in history.accuracy]


def test_targets_that_are_no_classes_have_no_accuracy(data):
    shares = np.full((50, data.net.n_outputs), 1 / data.net.n_outputs)
    history = fk.train(data.net, data.X, shares, fk.optimizers.Adam(1e-2), steps=3, batch_size=5,
                       validation=0.5)
    assert history.validation
    assert history.accuracy == []


def test_history_to_dict_survives_json(data):
    net, X, Y = data
    history = fk.train(net, X, Y, optimizers.Backpropagation(1e3), steps=12, validation=0.2, rng=0)
    record = json.loads(json.dumps(history.to_dict()))
    for name in ("loss", "bits", "accepted", "learning_rate", "seconds"):
        np.testing.assert_array_equal(record[name], getattr(history, name))
    assert record["validation"] == [list(pair) for pair in history.validation]
    assert record["stopped"] is None
    assert not all(record["accepted"])


def test_history_plot_shows_losses_and_validation(data, tmp_path):
    net, X, Y = data
    history = fk.train(net, X, Y, SGD, epochs=60, batch_size=10, validation=0.2, rng=0)
    axes = history.plot()
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_array_equal(lines["batch loss"][:, 1], history.loss)
    np.testing.assert_array_equal(lines["held out"], history.validation)
    assert history.plot(axes) is axes
    axes.figure.savefig(tmp_path / "loss.png")
    empty = fk.History()
    assert len(empty) == 0
    assert repr(empty) == "<History of no steps>"
    assert json.dumps(empty.to_dict())
    empty.plot()


# --- validation -----------------------------------------------------------------------------------


def test_held_out_pair_changes_no_bit_of_training(data):
    net, X, Y = data
    twin = net.copy()
    fk.train(net, X, Y, SGD, steps=20, batch_size=8, rng=3)
    fk.train(twin, X, Y, SGD, steps=20, batch_size=8, rng=3, validation=(X[::2], Y[::2]))
    np.testing.assert_array_equal(net.theta, twin.theta)


def test_held_out_share_is_not_trained_on(data):
    net, X, Y = data
    twin = net.copy()
    history = fk.train(net, X, Y, SGD, steps=10, batch_size=8, rng=3, validation=0.3)
    rng = np.random.default_rng(3)
    order = rng.permutation(50)
    held, kept = order[:15], np.sort(order[15:])
    expected = fk.train(twin, X[kept], Y[kept], SGD, steps=10, batch_size=8, rng=rng,
                        validation=(X[held], Y[held]))
    np.testing.assert_array_equal(net.theta, twin.theta)
    assert history.validation == expected.validation


# --- callbacks ------------------------------------------------------------------------------------


def test_callback_sees_every_step_and_stops(data):
    net, X, Y = data
    seen = []

    def callback(event):
        assert event.network is net
        seen.append((event.step, event.loss, event.validation is not None))
        return event.step == 7

    history = fk.train(net, X, Y, SGD, steps=20, batch_size=10, callbacks=callback,
                       validation=(X, Y), rng=0)
    assert [step for step, _, _ in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [loss for _, loss, _ in seen] == history.loss.tolist()
    assert [measured for _, _, measured in seen] == [step == 5 for step in range(1, 8)]
    assert (history.stopped, len(history)) == ("callback", 7)


def prune(event):
    """Removes the smallest weight that is left, in place, after every other step."""
    net = event.network
    if event.step % 2 == 0:
        weight = np.argmin(np.where(net.frozen, np.inf, np.abs(net.theta)))
        net.theta[weight], net.frozen[weight] = 0, True


@pytest.mark.parametrize("step_size", ["adaptive", "constant"])
@pytest.mark.parametrize("optimizer", [
    QuasiDiagonal(learning_rate=0.1), optimizers.Backpropagation(0.1), optimizers.Momentum(0.1),
    optimizers.Adam(0.1)])
def test_weights_pruned_by_a_callback_stay_at_zero(data, optimizer, step_size):
    net, X, Y = data
    net.initialize(rng=0)
    history = fk.train(net, X, Y, optimizer, steps=12, step_size=step_size, callbacks=prune)
    assert net.frozen.sum() == 6
    assert not net.theta[net.frozen].any()
    assert net.theta[~net.frozen].all()
    assert len(history) == 12


@pytest.mark.parametrize("cancelled", [False, True])
def test_theta_assigned_by_a_callback_is_where_training_goes_on(data, cancelled):
    net, X, Y = data
    net.initialize(rng=0)
    start = net.theta.copy()

    def back(event):
        net.theta = start / 2

    optimizer = optimizers.Backpropagation(1e6 if cancelled else 1e-3)
    history = fk.train(net, X, Y, optimizer, steps=1, callbacks=back)
    assert history.accepted[0] != cancelled
    net.theta = start
    history = fk.train(net, X, Y, optimizer, steps=2, callbacks=back)
    net.theta = start / 2
    assert history.loss[1] == pytest.approx(net.loss(X, Y))


def test_error_in_a_callback_passes_through(data):
    net, X, Y = data

    def callback(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fk.train(net, X, Y, SGD, steps=2, callbacks=[callback])


def test_early_stopping_counts_evaluations_and_restores_the_best(data):
    net, _, _ = data
    stopping = fk.EarlyStopping(patience=2, min_delta=0.1)
    for step, validation, stops in ((1, 3.0, False), (2, 2.0, False), (3, None, False),
                                    (4, 1.95, False), (5, 2.5, True)):
        net.theta[:] = step
        assert bool(stopping(fk.Event(step, 0.0, net, validation))) == stops
    assert (stopping.best_loss, stopping.best_step) == (2.0, 2)
    assert np.all(net.theta == 2)


def test_early_stopping_of_a_second_run_knows_nothing_of_the_first(data):
    net, X, Y = data
    stopping = fk.EarlyStopping(2)
    fk.train(net, X, Y, QuasiDiagonal(), steps=3, validation=(X, Y), callbacks=[stopping])
    net.initialize(rng=1)
    start = net.theta.copy()
    fk.train(net, X, Y, optimizers.Backpropagation(1e-12), epochs=6, batch_size=5, rng=0,
             validation=(X, Y), callbacks=[stopping])
    assert stopping.best_step >= 10
    np.testing.assert_allclose(net.theta, start, atol=1e-9)


@pytest.mark.parametrize("options", [{"patience": 0}, {"patience": "a"}, {"min_delta": -1}])
def test_early_stopping_is_checked_before_anything_changes(data, options):
    net, X, Y = data
    before = net.theta.copy()
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        fk.train(net, X, Y, QuasiDiagonal(), steps=1, validation=0.2,
                 callbacks=fk.EarlyStopping(**options))
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping_ends_training_at_the_best_evaluation(data, restore):
    net, X, Y = data
    stopping = fk.EarlyStopping(patience=3, restore_best=restore)
    held = X[:10], np.roll(Y[:10], 1)  # what is learnt does not help
    history = fk.train(net, X, Y, optimizers.Adam(0.05), epochs=500, batch_size=10, rng=0,
                       validation=held, callbacks=[stopping])
    losses = [loss for _, loss in history.validation]
    assert history.stopped == "callback"
    assert len(losses) - np.argmin(losses) == 4
    assert stopping.best_loss == min(losses)
    assert net.loss(*held) == (min(losses) if restore else losses[-1])


# --- checkpoints and Ctrl-C -----------------------------------------------------------------------


def test_checkpoint_is_the_network_at_the_end(data, tmp_path):
    net, X, Y = data
    path = tmp_path / "net.safetensors"
    fk.train(net, X, Y, SGD, steps=5, checkpoint=path)
    np.testing.assert_array_equal(fk.load(path).theta, net.theta)
    assert list(tmp_path.iterdir()) == [path]


def test_checkpoint_is_written_on_the_way(data, tmp_path, monkeypatch):
    net, X, Y = data
    monkeypatch.setattr("fisherkern.training._CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "net.safetensors"
    saved = []

    def callback(event):
        saved.append(path.exists() and fk.load(path).theta)

    fk.train(net, X, Y, SGD, steps=3, checkpoint=path, callbacks=[callback])
    assert saved[0] is False
    assert np.any(saved[1] != saved[2])


def test_ctrl_c_returns_the_history_and_a_whole_step(data, tmp_path):
    net, X, Y = data
    twin, path = net.copy(), tmp_path / "net.safetensors"
    handler = signal.getsignal(signal.SIGINT)

    def callback(event):
        if event.step == 5:
            signal.raise_signal(signal.SIGINT)

    history = fk.train(net, X, Y, QuasiDiagonal(), steps=50, batch_size=10, rng=0,
                       callbacks=[callback], checkpoint=path)
    assert (history.stopped, len(history)) == ("interrupted", 5)
    assert signal.getsignal(signal.SIGINT) is handler
    seen = []
    fk.train(twin, X, Y, QuasiDiagonal(), steps=50, batch_size=10, rng=0, callbacks=[
        lambda event: seen.append(event.network.theta.copy()) or event.step == 5])
    np.testing.assert_array_equal(net.theta, seen[-1])
    np.testing.assert_array_equal(fk.load(path).theta, net.theta)


def test_second_ctrl_c_is_an_interrupt(data):
    net, X, Y = data

    def callback(event):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fk.train(net, X, Y, SGD, steps=3, callbacks=[callback])
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_from_outside_stops_a_long_run():
    script = """
import numpy as np, fisherkern as fk
rng = np.random.default_rng(0)
net = fk.Network.layered([20, 40, 5], interpretation="softmax", rng=rng)
X, Y = rng.standard_normal((500, 20)), rng.integers(5, size=500)
print("ready", flush=True)
history = fk.train(net, X, Y, fk.optimizers.BackpropagatedMetricGradient(), steps=10**7,
                   batch_size=50, rng=0, n_threads=1)
print(history.stopped, len(history), np.isfinite(net.theta).all())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    stopped, n_steps, finite = output.split()
    assert (stopped, finite, errors) == ("interrupted", "True", "")
    assert 0 < int(n_steps) < 10**7


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("callbacks", [(), [lambda event: None]], ids=["at once", "step by step"])
@pytest.mark.parametrize(("dtype", "rate", "steps"), [
    ("float64", 1e200, 20), ("float64", 1e308, 20), ("float32", 1e30, 20), ("float32", 1e39, 20),
    ("float32", 1e39, 1)])
def test_huge_rate_raises_and_leaves_the_network_finite(dtype, rate, steps, callbacks):
    net, X, Y = random_problem(np.random.default_rng(1), dtype=dtype, activations=("relu",))
    with pytest.raises(FloatingPointError, match="is not finite at step"):
        fk.train(net, X, Y, optimizers.Backpropagation(rate), steps=steps, step_size="constant",
                 callbacks=callbacks)
    assert np.isfinite(net.theta).all()


def test_attempt_to_where_no_direction_is_finite_is_cancelled_in_chunks_too():
    # attempts 2 to 7 lower the loss, but their gradients overflow [O section 4]
    runs = []
    for callbacks in ((), [lambda event: None]):
        net = fk.Network(1, [(0, 1), (1, 2)], activation="identity", dtype="float32", rng=0)
        net.theta[:], net.frozen[:] = [0, 0, 0, 1e-10], [True, False, True, False]
        history = fk.train(net, [[1.0]], [[1e15]], optimizers.Backpropagation(3.6e20), steps=12,
                           callbacks=callbacks)
        runs.append((net.theta, history.accepted, history.loss))
    assert runs[0][1][:8].tolist() == [False] * 7 + [True]
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{}, {"batch_size": 2, "rng": 0}, {"online": True}])
def test_spherical_target_of_probability_zero_is_a_value_error(options):
    net = fk.Network.layered([2, 2], activation="relu", interpretation="spherical", rng=0)
    net.theta[:] = [1, 0, 0, -1, 0, 0]
    before = net.theta.copy()
    with pytest.raises(ValueError, match=r"sample \d .* output 1"):
        fk.train(net, np.zeros((5, 2)), [1, 1, 1, 1, 1], QuasiDiagonal(), steps=3, **options)
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize("options", [
    {}, {"batch_size": 4, "rng": 0}, {"online": True}, {"batch_size": 4, "rng": 0,
                                                        "validation": 0.25}])
def test_fault_of_a_sample_names_its_row_of_X(options):
    net = fk.Network.layered([2, 2], activation="relu", interpretation="spherical", rng=0)
    net.theta[:] = [1, 0, 0, -1, 0, 0]
    Y = np.zeros(40, int)
    Y[33] = 1
    with pytest.raises(ValueError, match=r"the spherical loss of sample 33 has"):
        fk.train(net, np.zeros((40, 2)), Y, QuasiDiagonal(learning_rate=1e-9), steps=40,
                 step_size=lambda step: 0.0, **options)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"steps": None}, ValueError, "exactly one of steps and epochs"),
    ({"epochs": 2}, ValueError, "exactly one of steps and epochs"),
    ({"steps": 0}, ValueError, "steps"),
    ({"steps": 1.5}, TypeError, "steps"),
    ({"steps": None, "epochs": -1}, ValueError, "epochs"),
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": 51}, ValueError, "batch_size must be at most n_samples = 50"),
    ({"batch_size": 2.0}, TypeError, "batch_size"),
    ({"online": 1}, TypeError, "online must be True or False; got 1"),
    ({"optimizer": QuasiDiagonal(n_init=0)}, ValueError, "n_init must be at least 1; got 0"),
    ({"online": True, "batch_size": 1}, ValueError, "online training takes one sample"),
    ({"step_size": "armijo"}, ValueError, "step_size must be"),
    ({"step_size": 0.1}, ValueError, "step_size must be"),
    ({"step_size": "adaptive", "batch_size": 5}, ValueError, "'adaptive' compares"),
    ({"step_size": "trust_region"}, ValueError, "'trust_region' needs an optimizer with a metric"),
    ({"step_size": "constant", "optimizer": QuasiDiagonal()}, ValueError, "needs a learning_rate"),
    ({"step_size": lambda step: -1.0}, ValueError, r"step_size\(0\)"),
    ({"step_size": lambda step: None}, TypeError, r"step_size\(0\)"),
    ({"optimizer": optimizers.Backpropagation(-1)}, ValueError, "learning_rate"),
    ({"optimizer": optimizers.Adam(np.nan)}, ValueError, "learning_rate"),
    ({"optimizer": optimizers.Momentum(0.1, momentum=2), "batch_size": 5}, ValueError, "momentum"),
    ({"optimizer": QuasiDiagonal(metric_update_rate=0)}, ValueError, "metric_update_rate"),
    ({"optimizer": QuasiDiagonal(metric_update_rate=1.1)}, ValueError, "metric_update_rate"),
    ({"optimizer": QuasiDiagonal(n_init=51), "online": True}, ValueError, "n_init must be at most"),
    ({"optimizer": QuasiDiagonal(n_init=0), "online": True}, ValueError, "n_init"),
    ({"optimizer": "adam"}, TypeError, "optimizer"),
    ({"optimizer": optimizers.Adam}, TypeError, "optimizer"),
    ({"trust_radius": 0}, ValueError, "trust_radius"),
    ({"trust_radius": "wide"}, TypeError, "trust_radius"),
    ({"validation": 0.0}, ValueError, "validation"),
    ({"validation": 1.0}, ValueError, "validation"),
    ({"validation": 0.001}, ValueError, "holds out 0 of 50"),
    ({"validation": "some"}, TypeError, "validation"),
    ({"validation": (1, 2, 3, 4)}, ValueError, r"validation must be \(X, Y\).*got 4 items"),
    ({"validation": (np.zeros((2, 99)), [0, 0])}, ValueError, "shape"),
    ({"callbacks": [3]}, TypeError, r"callbacks\[0\]"),
    ({"callbacks": 3}, TypeError, "callbacks"),
    ({"callbacks": [fk.EarlyStopping]}, TypeError, r"callbacks\[0\]"),
    ({"progress": "no"}, TypeError, "progress"),
    ({"rng": "seed"}, TypeError, "rng"),
    ({"n_threads": 0}, ValueError, "n_threads"),
])
def test_bad_argument_is_named_before_anything_changes(data, options, error, message):
    net, X, Y = data
    before = net.theta.copy()
    options = {"steps": 3, "optimizer": SGD} | options
    with pytest.raises(error, match=message):
        fk.train(net, X, Y, options.pop("optimizer"), **options)
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize("checkpoint", ["no/such/folder/net.safetensors", 3])
def test_bad_checkpoint_is_an_error_before_training(data, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net, X, Y = data
    before = net.theta.copy()
    with pytest.raises((OSError, TypeError)):
        fk.train(net, X, Y, SGD, steps=3, checkpoint=checkpoint)
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_dtypes_and_strides_are_converted_once(dtype):
    rng = np.random.default_rng(2)
    X, Y = rng.integers(0, 5, (40, 3)), rng.integers(0, 2, (40, 2))
    net = fk.Network.layered([3, 4, 2], rng=0, dtype=dtype)
    results = []
    for x, y in ((X.astype(dtype), Y.astype(dtype)), (X, Y.astype(bool)),
                 (np.asfortranarray(X.astype("float64")), Y.astype("float32")),
                 (np.repeat(X.astype("float32"), 2, axis=0)[::2], Y.astype(np.int8).tolist())):
        trained = net.copy()
        fk.train(trained, x, y, QuasiDiagonal(), steps=10, batch_size=8, rng=0)
        results.append(trained.theta)
    for theta in results[1:]:
        np.testing.assert_array_equal(theta, results[0])


def test_early_stopping_starts_anew_with_each_network():
    stop = fk.EarlyStopping(1)
    nets = [fk.Network.layered([3, 4, 1], rng=seed) for seed in (0, 1)]
    X = np.random.default_rng(2).normal(size=(60, 3))
    for net in nets:
        fk.train(net, X, X[:, :1], fk.optimizers.Backpropagation(learning_rate=0.5), steps=200,
                 batch_size=20, validation=0.5, callbacks=[stop], rng=3)
    assert not np.array_equal(nets[0].theta, nets[1].theta)


def test_early_stopping_without_validation_is_an_error():
    net = fk.Network.layered([3, 1], rng=0)
    with pytest.raises(ValueError, match=r"callbacks\[0\].*validation"):
        fk.train(net, np.ones((4, 3)), np.ones(4), fk.optimizers.Backpropagation(), steps=1,
                 callbacks=[fk.EarlyStopping()])
