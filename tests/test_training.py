"""The compiled training loop against NumPy loops over fisherkern.reference."""

import numpy as np
import pytest
from strategies import FORMS, assert_close, random_problem, reference_metric

import fisherkern as fk
from fisherkern import optimizers, reference

QuasiDiagonal = optimizers.QuasiDiagonalBackpropagatedMetricGradient
Unitwise = optimizers.BackpropagatedMetricGradient
SMOOTH = ("tanh", "sigmoid", "softplus", "silu")
# of metrics that depend on the samples alone
PAIRS = [form for form in FORMS if form[0] != "monte_carlo"]


def problem(seed=0, **options):
    return random_problem(np.random.default_rng(seed), **{
        "n_samples": 60, "activations": SMOOTH, "parallel": False, "n_units": 9} | options)


def nothing(event):
    """A callback that cuts training into chunks of one step."""


def assert_same_run(one, other):
    """Two (network, history) pairs, bit for bit."""
    np.testing.assert_array_equal(one[0].theta, other[0].theta)
    for name in ("loss", "accepted", "learning_rate", "validation", "stopped"):
        np.testing.assert_array_equal(getattr(one[1], name), getattr(other[1], name))


def run(net, X, Y, optimizer, **options):
    """(network, history) of a run on a copy of the network."""
    net = net.copy()
    return net, fk.train(net, X, Y, optimizer, **options)


# --- whole batch ----------------------------------------------------------------------------------


class Targets:
    """What a run of `train` with this seed draws: its batches, and targets of a Monte Carlo metric
    (none for other kinds)."""

    def __init__(self, seed, kind, n_draws=1):
        self.batches, self.numbers, self.n_draws = np.random.default_rng(seed), None, n_draws
        if kind == "monte_carlo":
            self.numbers = np.random.default_rng(self.batches.integers(2**63, size=4))

    def __call__(self, net, X):
        if self.numbers is None:
            return {}
        shape = (len(X), self.n_draws)
        if net.interpretation == "square":
            numbers = self.numbers.standard_normal((*shape, net.n_outputs))
        elif net.interpretation == "bernoulli":
            numbers = self.numbers.random((*shape, net.n_outputs))
        else:
            numbers = self.numbers.random(shape)
        return {"draws": reference.targets_from_random(net, X, numbers)}


class Metric:
    """Direction of a metric with the ranges of all activities so far. Of attempts from one theta,
    the first draws the targets; the others have numbers of their own, which are not used."""

    def __init__(self, X, Y, kind, reduction, damping):
        self.X, self.Y, self.kind, self.reduction, self.damping = X, Y, kind, reduction, damping
        self.low, self.high, self.seen = np.inf, -np.inf, None
        self.targets = Targets(0, kind)

    def __call__(self, net):
        draws = self.targets(net, self.X)
        if not np.array_equal(self.seen, net.theta):
            self.seen, self.direction = net.theta.copy(), self.compute(net, draws)
        return self.direction

    def compute(self, net, draws):
        a = reference.activities(net, self.X)
        self.low, self.high = np.minimum(self.low, a.min(0)), np.maximum(self.high, a.max(0))
        A = reference_metric(net, self.X, self.Y, self.kind, self.reduction, True, **draws)
        G = -reference.gradient(net, self.X, self.Y)
        if self.damping == "range":
            return reference.range_direction(net, A, G, self.reduction, self.high - self.low)
        return reference.direction(net, A, G, self.reduction, self.damping)


class Velocity:
    """Momentum or Adam: the state moves on when theta has."""

    def __init__(self, X, Y, adam):
        self.X, self.Y, self.adam = X, Y, adam
        self.seen, self.mean, self.square, self.t = None, 0, 0, 0

    def __call__(self, net):
        if not np.array_equal(self.seen, net.theta):
            self.seen, self.t = net.theta.copy(), self.t + 1
            G = -reference.gradient(net, self.X, self.Y)
            self.mean = 0.9 * self.mean + (0.1 if self.adam else 1) * G
            self.square = 0.999 * self.square + 0.001 * G**2
        if not self.adam:
            return self.mean
        deviation = np.sqrt(self.square / (1 - 0.999**self.t))
        return self.mean / (1 - 0.9**self.t) / (deviation + 1e-8)


WHOLE_BATCH = {
    "backpropagation": (optimizers.Backpropagation(20.0), lambda X, Y: lambda net:
                        -reference.gradient(net, X, Y)),
    "momentum": (optimizers.Momentum(0.5), lambda X, Y: Velocity(X, Y, False)),
    "adam": (optimizers.Adam(0.2), lambda X, Y: Velocity(X, Y, True)),
    "adagrad": (optimizers.AdaGrad(), lambda X, Y: lambda net:
                reference.adagrad_direction(net, X, Y, 1e-4)),
} | {f"{kind} {reduction} {damping}": (
    optimizers.MetricGradient(kind, reduction, damping=damping, learning_rate=0.5),
    lambda X, Y, args=(kind, reduction, damping): Metric(X, Y, *args))
    for kind, reduction in FORMS for damping in ("range", 1e-2)}


@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_whole_batch_adaptive_vs_reference_descent(name):
    optimizer, direction = WHOLE_BATCH[name]
    net, X, Y = problem(1, interpretation="softmax")
    by_steps = run(net, X, Y, optimizer, steps=30, callbacks=nothing, rng=0)
    at_once = run(net, X, Y, optimizer, steps=30, rng=0)
    assert_same_run(at_once, by_steps)
    rate = optimizer.learning_rate or 0.01
    thetas, losses, accepted, rates = reference.whole_batch_descent(net, X, Y, direction(X, Y),
                                                                    rate, 30)
    history = at_once[1]
    assert history.accepted.tolist() == accepted.tolist()
    assert_close(history.loss, losses, tolerance=1e-9)
    assert_close(history.learning_rate, rates, tolerance=1e-12)
    assert_close(at_once[0].theta, thetas[-1], tolerance=1e-7)
    if rate > 0.1:
        assert 0 < accepted.sum() < 30, "the case cancels no step, so it tests nothing"


@pytest.mark.parametrize("interpretation", ["square", "bernoulli", "spherical"])
def test_every_interpretation_descends_as_the_reference(interpretation):
    net, X, Y = problem(2, interpretation=interpretation)
    trained, history = run(net, X, Y, Unitwise(damping=1e-2, learning_rate=0.5), steps=20)
    thetas, losses, accepted, _ = reference.whole_batch_descent(
        net, X, Y, Metric(X, Y, "backpropagated", "unitwise", 1e-2), 0.5, 20)
    assert history.accepted.tolist() == accepted.tolist()
    assert_close(history.loss, losses, tolerance=1e-9)
    assert_close(trained.theta, thetas[-1], tolerance=1e-7)


def test_network_holds_the_last_accepted_step():
    net, X, Y = problem(3)
    trained, history = run(net, X, Y, optimizers.Backpropagation(1e3), steps=4)
    assert not history.accepted.any()
    np.testing.assert_array_equal(trained.theta, net.theta)
    assert history.learning_rate.tolist() == [1000, 500, 250, 125]


def test_whole_batch_running_metric_is_bitwise_the_same_in_chunks():
    net, X, Y = problem(4)
    optimizer = QuasiDiagonal(metric_update_rate=0.3, learning_rate=0.5)
    assert_same_run(run(net, X, Y, optimizer, steps=40),
                    run(net, X, Y, optimizer, steps=40, callbacks=nothing))


# --- mini-batches ---------------------------------------------------------------------------------


def permuted_batches(seed, n_samples, size, steps):
    """Rows of each step's batch; `seed` may be a Generator."""
    rng = np.random.default_rng(seed)
    epochs = -(-steps * size // n_samples)
    rows = np.concatenate([rng.permutation(n_samples) for _ in range(epochs)])
    return rows[:steps * size].reshape(steps, size)


def trust_region_loop(net, X, Y, kind, reduction, batches, damping="range", metric_rate=0.02,
                      radius=3e-4, ceiling=1.0, n_init=0, targets=None, scales=None):
    """Losses and rates of trust-region steps; moves net.theta. `scales` of a prior make the trust
    radius constant."""
    targets = targets or Targets(0, None)
    A, noise, low, high = 0.0, 0.0, np.inf, -np.inf
    floor = 1e-4 * np.var(Y, axis=0).mean()
    losses, rates = [], []
    if n_init:  # online
        a = reference.activities(net, X[:n_init])
        low, high = a.min(axis=0), a.max(axis=0)
        A = reference_metric(net, X[:n_init], Y[:n_init], kind, reduction, True,
                             **targets(net, X[:n_init]))
    for t, rows in enumerate(batches):
        x, y = X[rows], Y[rows]
        losses.append(reference.loss(net, x, y))
        blend, inverse = max(metric_rate, 0 if n_init else 1 / (t + 1)), 1.0
        if net.interpretation == "square":
            noise += blend * (2 * losses[-1] / net.n_outputs - noise)
            inverse = 1 / max(noise, floor)
        a = reference.activities(net, x)
        low, high = np.minimum(low, a.min(axis=0)), np.maximum(high, a.max(axis=0))
        A = A + blend * (
            inverse * reference_metric(net, x, y, kind, reduction, True, **targets(net, x))
            * (inverse if kind == "outer_product" else 1) - A)
        G = -inverse * reference.gradient(net, x, y)
        precision, factor = 0.0, np.cos(np.pi / 2 * t / len(batches))
        objective = inverse * losses[-1]
        if scales is not None:
            precision, factor = reference.prior_precision(net, high - low, scales[t], len(X)), 1.0
            G = G - precision * net.theta
            objective += 0.5 * np.sum((precision * net.theta**2)[~net.frozen])
        if damping == "range":
            delta = reference.range_direction(net, A, G, reduction, high - low, 1e-3, precision)
        else:
            delta = reference.direction(net, A, G, reduction, damping)
        rates.append(reference.trust_region_rate(delta, G, radius, objective, ceiling, factor))
        net.theta[...] += rates[-1] * delta
    return losses, rates


@pytest.mark.parametrize("interpretation", ["square", "bernoulli", "softmax", "spherical"])
@pytest.mark.parametrize("form", FORMS)
def test_mini_batch_trust_region_vs_numpy_loop(form, interpretation):
    net, X, Y = problem(5, interpretation=interpretation)
    optimizer, targets = optimizers.MetricGradient(*form, n_draws=2), Targets(9, form[0], 2)
    options = {"steps": 25, "batch_size": 16, "rng": 9}
    trained, history = run(net, X, Y, optimizer, **options)
    batches = permuted_batches(targets.batches, 60, 16, 25)
    losses, rates = trust_region_loop(net, X, Y, *form, batches, targets=targets)
    assert_close(history.loss, losses, tolerance=1e-8)
    assert_close(history.learning_rate, rates, tolerance=1e-8)
    assert_close(trained.theta, net.theta, tolerance=1e-8)
    assert history.accepted.all()


def test_float32_mini_batch_training_vs_numpy_loop_in_float64():
    net, X, Y = problem(6, interpretation="softmax", frozen=0, dtype="float32")
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=12, batch_size=20, rng=3)
    wide = fk.Network(net.n_inputs, net.edges, outputs=net.outputs, activation=net.activations,
                      interpretation="softmax")
    wide.theta = net.theta
    losses, _ = trust_region_loop(wide, X, Y, "backpropagated", "quasi_diagonal",
                                  permuted_batches(3, 60, 20, 12))
    assert_close(history.loss, losses, "float32")
    assert_close(trained.theta, wide.theta, tolerance=2e-3)


@pytest.mark.parametrize("damping", ["range", 1e-4, 0.0])
@pytest.mark.parametrize("kind", ["fisher", "backpropagated", "outer_product"])
def test_float32_quasi_diagonal_step_of_far_inputs_vs_float64(kind, damping):
    # raw float32 moments at a mean of 3000 are off by a sixth
    rng = np.random.default_rng(1)
    X = (3000 + rng.standard_normal((200, 4))).astype("float32")
    Y = rng.standard_normal((200, 2)).astype("float32")
    single, double = (fk.Network.layered([4, 3, 2], rng=2, dtype=dtype)
                      for dtype in ("float32", "float64"))
    double.theta = single.initialize("data", rng=3, X=X).theta
    start = double.theta.copy()
    optimizer = optimizers.MetricGradient(kind, "quasi_diagonal", damping=damping)
    for net in (single, double):
        fk.train(net, X, Y, optimizer, steps=1, step_size=lambda step: 1.0)
    moved, expected = (np.delete(net.theta - start, net.indptr[:-1]) for net in (single, double))
    assert_close(moved, expected, tolerance=1e-3)


@pytest.mark.parametrize("settings", [
    {"damping": 1e-2}, {"metric_rate": 0.3}, {"radius": 1e-2}, {"ceiling": 1e-3},
    {"radius": 10.0}, {"metric_rate": 1.0, "damping": 0.1}])
def test_trust_region_settings_vs_numpy_loop(settings):
    net, X, Y = problem(7)
    optimizer = Unitwise(damping=settings.get("damping", "range"),
                         metric_update_rate=settings.get("metric_rate"),
                         learning_rate=settings.get("ceiling"))
    trained, history = run(net, X, Y, optimizer, epochs=5, batch_size=15, rng=1,
                           trust_radius=settings.get("radius", 3e-4))
    losses, rates = trust_region_loop(net, X, Y, "backpropagated", "unitwise",
                                      permuted_batches(1, 60, 15, 20), **settings)
    assert_close(history.loss, losses, tolerance=1e-8)
    assert_close(history.learning_rate, rates, tolerance=1e-8)
    assert_close(trained.theta, net.theta, tolerance=1e-8)


@pytest.mark.parametrize("mode", [{"batch_size": 16}, {"online": True}, {}])
def test_trust_region_of_a_square_loss_knows_no_unit_of_the_targets(mode):
    # powers of two, so that only the running noise variance can make a difference
    rng = np.random.default_rng(8)
    net = fk.Network.layered([3, 8, 2], activation=["tanh"] * 8 + ["identity"] * 2, rng=rng)
    X, Y = rng.standard_normal((60, 3)), rng.standard_normal((60, 2))
    large = net.copy()
    large.theta[net.indptr[8]:] *= 1024
    options = {"steps": 60, "step_size": "trust_region", "rng": 1} | mode
    small_history = fk.train(net, X, Y, QuasiDiagonal(), **options)
    large_history = fk.train(large, X, 1024 * Y, QuasiDiagonal(), **options)
    assert_close(large_history.loss, 1024**2 * small_history.loss, tolerance=1e-9)
    assert_close(large.forward(X), 1024 * net.forward(X), tolerance=1e-9)


@pytest.mark.parametrize("pair", PAIRS)
def test_constant_rate_mini_batches_vs_reference_running_metric(pair):
    net, X, Y = problem(9, interpretation="bernoulli")
    batches = permuted_batches(2, 60, 7, 20)
    optimizer = optimizers.MetricGradient(*pair, damping=1e-2, learning_rate=0.05,
                                          metric_update_rate=0.1)
    trained, history = run(net, X, Y, optimizer, steps=20, batch_size=7, rng=2,
                           step_size="constant")
    thetas = reference.running_metric_steps(net, X, Y, *pair, 1e-2, 0.1, 0.05, batches)
    assert_close(trained.theta, thetas[-1], tolerance=1e-9)
    assert history.learning_rate.tolist() == [0.05] * 20


def test_baselines_on_mini_batches_vs_numpy_loop():
    net, X, Y = problem(10)
    for name, adam in (("Momentum", False), ("Adam", True)):
        twin = net.copy()
        trained, _ = run(net, X, Y, getattr(optimizers, name)(0.01), steps=10, batch_size=20, rng=4)
        state = Velocity(None, None, adam)
        for rows in permuted_batches(4, 60, 20, 10):
            state.X, state.Y, state.seen = X[rows], Y[rows], None
            twin.theta[...] += 0.01 * state(twin)
        assert_close(trained.theta, twin.theta, tolerance=1e-9)


# --- online ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
def test_online_vs_reference_recursion(pair):
    net, X, Y = problem(11, interpretation="softmax")
    optimizer = optimizers.MetricGradient(*pair, damping=1e-2, learning_rate=0.01, n_init=12,
                                          metric_update_rate=0.02)
    trained, _ = run(net, X, Y, optimizer, steps=80, online=True, step_size="constant")
    thetas = reference.online_steps(net, X, Y, *pair, 1e-2, 0.02, 0.01, 12, 80)
    assert_close(trained.theta, thetas[-1], tolerance=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_online_trust_region_vs_numpy_loop(form):
    net, X, Y = problem(17, interpretation="bernoulli", n_samples=30)
    optimizer = optimizers.MetricGradient(*form, n_init=20)
    trained, history = run(net, X, Y, optimizer, steps=70, online=True, rng=4)
    losses, rates = trust_region_loop(
        net, X, Y, *form, [[t % 30] for t in range(70)], n_init=20, targets=Targets(4, form[0]),
        metric_rate=1 / (10 * np.diff(net.indptr).max()))
    assert_close(history.loss, losses, tolerance=1e-8)
    assert_close(history.learning_rate, rates, tolerance=1e-8)
    assert_close(trained.theta, net.theta, tolerance=1e-8)


def test_online_defaults_are_ten_times_the_largest_block():
    net, X, Y = problem(12, interpretation="softmax", n_samples=80)
    largest = int(np.diff(net.indptr).max())
    trained, _ = run(net, X, Y, QuasiDiagonal(damping=1e-2, learning_rate=0.01), epochs=1,
                     online=True, step_size="constant")
    assert 10 * largest < 80
    thetas = reference.online_steps(net, X, Y, "backpropagated", "quasi_diagonal", 1e-2,
                                    1 / (10 * largest), 0.01, 10 * largest, 80)
    assert_close(trained.theta, thetas[-1], tolerance=1e-9)


# --- where nothing can be learnt ------------------------------------------------------------------


@pytest.mark.parametrize("mode", [{}, {"batch_size": 8}, {"online": True}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_saturated_units_and_tiny_features_do_not_stop_training(form, dtype, mode):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((48, 3)), rng.integers(0, 2, (48, 2)).astype(float)
    biases, tiny = ((-55, -45, -90, 60), 1e-22) if dtype == "float32" else (
        (-360, -376, -700, 400), 1e-170)
    net = fk.Network.layered([3, 8, 2], activation="sigmoid", interpretation="bernoulli",
                             dtype=dtype, rng=0)
    net.theta[net.indptr[:4]] = biases
    for data in (X, X * [tiny, 1, 1]):
        for damping in ("range", 0.0):
            optimizer = optimizers.MetricGradient(*form, damping=damping, learning_rate=0.01)
            trained, history = run(net, data, Y, optimizer, steps=5, rng=1,
                                   step_size="trust_region", **mode)
            assert len(history) == 5
            assert np.isfinite(trained.theta).all()


@pytest.mark.parametrize("target", [0.0, 1.0, 1e-12, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["fisher", "outer_product"])
def test_square_targets_that_are_constant_do_not_stop_training(kind, dtype, target):
    net = fk.Network.layered([4, 5, 1], activation=["tanh"] * 5 + ["identity"], dtype=dtype, rng=0)
    X = np.random.default_rng(0).standard_normal((20, 4))
    for start in (1.0, 0.0):
        net.theta *= start
        for mode in ({"batch_size": 5}, {"online": True}):
            trained, _ = run(net, X, np.full(20, target), optimizers.MetricGradient(
                kind, "quasi_diagonal"), steps=400, rng=0, **mode)
            assert np.isfinite(trained.theta).all()


# --- every optimizer in every mode ----------------------------------------------------------------


MODES = [{}, {"step_size": "trust_region"}, {"step_size": "constant"},
         {"step_size": lambda step: 0.02 / (1 + step)},
         {"batch_size": 15, "step_size": "trust_region"}, {"batch_size": 15},
         {"batch_size": 15, "step_size": "constant"},
         {"batch_size": 15, "step_size": lambda step: 0.02 / (1 + step)},
         {"online": True}, {"online": True, "step_size": "constant"}]


@pytest.mark.parametrize("interpretation", ["square", "softmax"])
@pytest.mark.parametrize("name", optimizers.PRESETS)
def test_every_optimizer_learns_in_every_mode(name, interpretation):
    net, X, Y = problem(18, interpretation=interpretation, frozen=0)
    optimizer = optimizers.PRESETS[name](learning_rate=0.02)
    for options in MODES:
        if options.get("step_size") == "trust_region" and not optimizer.has_metric:
            continue
        trained, history = run(net, X, Y, optimizer, steps=40, rng=3, **options)
        assert len(history) == 40
        assert np.any(trained.theta != net.theta)
        assert np.isfinite(trained.theta).all()
        # a rate that is given may be too large, and the outer product's diverge near a minimum
        if not (optimizer.kind == "outer_product" and ("online" in options or options.get(
                "step_size") not in (None, "adaptive", "trust_region"))):
            assert trained.loss(X, Y) < net.loss(X, Y), options


# --- step sizes -----------------------------------------------------------------------------------


def test_callable_step_size_gives_the_rate_of_each_step():
    net, X, Y = problem(13)
    trained, history = run(net, X, Y, optimizers.Backpropagation(), steps=6,
                           step_size=lambda step: 0.1 / (1 + step))
    for step in range(6):
        net.theta[...] -= 0.1 / (1 + step) * reference.gradient(net, X, Y)
    assert history.learning_rate.tolist() == [0.1 / (1 + step) for step in range(6)]
    assert_close(trained.theta, net.theta, tolerance=1e-12)


def test_trust_region_schedule_is_a_half_cosine_of_the_square():
    net, X, Y = problem(14)
    history = run(net, X, Y, QuasiDiagonal(learning_rate=1e-9), steps=10, batch_size=6)[1]
    squares = (history.learning_rate / 1e-9) ** 2
    np.testing.assert_allclose(squares, (1 + np.cos(np.pi * np.arange(10) / 10)) / 2, rtol=1e-12)


@pytest.mark.parametrize("options", [
    {"step_size": "constant"}, {"step_size": "constant", "batch_size": 10},
    {"batch_size": 10}, {"online": True}, {}])
def test_frozen_parameters_stay_bitwise(options):
    net, X, Y = problem(15, frozen=0.4)
    for optimizer in (optimizers.Backpropagation(0.1), optimizers.Adam(0.1),
                      optimizers.Momentum(0.1), optimizers.AdaGrad(0.1), QuasiDiagonal(
                          learning_rate=0.1), Unitwise(learning_rate=0.1)):
        trained, _ = run(net, X, Y, optimizer, steps=30, **options)
        np.testing.assert_array_equal(trained.theta[net.frozen], net.theta[net.frozen])
        assert np.any(trained.theta != net.theta)


# --- neither threads nor chunks change a bit ------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"batch_size": 200}, {"online": True}, {}, {"step_size": lambda step: 0.01}])
@pytest.mark.parametrize("optimizer", [
    QuasiDiagonal(), Unitwise(), optimizers.Adam(0.01), optimizers.QuasiDiagonalNaturalGradient(),
    optimizers.MonteCarloUnitwiseNaturalGradient(n_draws=3)], ids=lambda it: type(it).__name__)
def test_threads_and_chunks_change_no_bit(optimizer, options):
    rng = np.random.default_rng(16)
    net = fk.Network.layered([20, 30, 20, 4], fan_in=10, interpretation="softmax", rng=rng,
                             activation=["relu"] * 50 + ["identity"] * 4, dtype="float32")
    X, Y = rng.standard_normal((600, 20)), rng.integers(4, size=600)
    options = {"steps": 12, "rng": 2} | options
    first = run(net, X, Y, optimizer, n_threads=1, **options)
    assert np.any(first[0].theta != net.theta)
    for n_threads in (2, 3):
        assert_same_run(run(net, X, Y, optimizer, n_threads=n_threads, **options), first)
    assert_same_run(run(net, X, Y, optimizer, callbacks=[nothing], **options), first)
