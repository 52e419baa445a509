"""Sample weights, sparse samples and their batches in `fisherkern.train`."""

import numpy as np
import pytest
import scipy.sparse
from strategies import assert_close
from test_training import problem, run

import fisherkern as fk
from fisherkern import optimizers, samples
from fisherkern.preprocessing import Inputs, distinct

QuasiDiagonal = optimizers.QuasiDiagonalBackpropagatedMetricGradient
OPTIONS = {"batch_size": 16, "rng": 4, "step_size": lambda step: 0.1}


def sparse_problem(seed, **options):
    net, X, Y = problem(seed, interpretation="softmax", **options)
    X[np.random.default_rng(seed).random(X.shape) < 0.6] = 0
    return net, X, Y, scipy.sparse.csr_array(X)


# --- sparse samples -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, scipy.sparse.csr_matrix,
                                  scipy.sparse.coo_array, scipy.sparse.csc_array])
@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("block", [1, 2**26])
def test_sparse_samples_train_as_dense_ones(form, online, block, monkeypatch):
    net, X, Y, rows = sparse_problem(1)
    monkeypatch.setattr(samples, "_DENSE_BYTES", block)
    options = {"steps": 30, "rng": 3, "validation": 0.25}
    options |= {"online": True} if online else {"batch_size": 8, "prior": "path"}
    dense = run(net, X, Y, QuasiDiagonal(), **options)
    sparse = run(net, form(rows), Y, QuasiDiagonal(), **options)
    assert_same_but_for_rounding(dense, sparse)


def assert_same_but_for_rounding(one, other):
    """Means, of features and of losses, are summed in another order."""
    assert_close(one[0].theta, other[0].theta, tolerance=1e-9)
    assert_close(one[1].loss, other[1].loss, tolerance=1e-9)
    np.testing.assert_allclose(one[1].validation, other[1].validation, rtol=1e-9)


def test_entries_of_a_sparse_matrix_that_come_twice_are_added():
    net, X, Y, _ = sparse_problem(2)
    row, column = np.nonzero(X)
    halves = scipy.sparse.coo_array((np.tile(X[row, column] / 2, 2), (np.tile(row, 2),
                                                                      np.tile(column, 2))), X.shape)
    assert_same_but_for_rounding(run(net, X, Y, QuasiDiagonal(), steps=10, **OPTIONS),
                                 run(net, halves, Y, QuasiDiagonal(), steps=10, **OPTIONS))


def test_faults_of_sparse_samples_are_named():
    net, X, Y, _ = sparse_problem(3)
    X[17, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[17, 1\] = inf"):
        fk.train(net, scipy.sparse.csr_array(X), Y, QuasiDiagonal(), steps=3, batch_size=16)
    rows = scipy.sparse.csr_array(np.eye(60))
    with pytest.raises(ValueError, match=r"\(n_samples, \d\); got \(60, 60\)"):
        fk.train(net, rows, Y, QuasiDiagonal(), steps=3, batch_size=16)
    with pytest.raises(ValueError, match=r"sparse X .* needs batch_size or online"):
        fk.train(net, scipy.sparse.csr_array(np.zeros_like(X)), Y, QuasiDiagonal(), steps=3)


# --- weights --------------------------------------------------------------------------------------


def test_whole_weights_are_how_often_an_epoch_takes_each_sample():
    net, X, Y = problem(4, interpretation="softmax")
    weights = np.arange(60) % 4
    rows = np.repeat(np.arange(60), weights)
    repeated = run(net, X[rows], Y[rows], QuasiDiagonal(), epochs=3, prior=1.0, **OPTIONS)
    rng = np.random.default_rng(4)
    rng.random()  # which way to round what is no whole number
    order = np.concatenate([rng.permutation(rows)] + [
        (rng.random(), rng.permutation(rows))[1] for _ in range(3)])
    seen = []
    batches = samples.Batches("mini", 16, samples.Samples(X, Y, weights.astype(float)),
                              np.random.default_rng(4))
    for _ in range(17):
        seen.append(batches.take(1))
    np.testing.assert_array_equal(np.concatenate(seen), order[:17 * 16])
    weighted = run(net, X, Y, QuasiDiagonal(), epochs=3, prior=1.0, sample_weight=weights,
                   **OPTIONS)
    assert len(weighted[1]) == len(repeated[1]) == -(-3 * weights.sum() // 16)


def test_other_weights_are_right_on_average():
    weights = np.array([0.0, 0.3, 2.7, 1.0, 5.25])
    batches = samples.Batches("mini", 7, samples.Samples(np.zeros((5, 1)), np.zeros(5), weights),
                              np.random.default_rng(0))
    counts = np.bincount(batches.take(6000), minlength=5)
    np.testing.assert_allclose(counts / counts.sum(), weights / weights.sum(), atol=2e-3)
    assert counts[0] == 0


def test_large_weights_take_no_more_memory(monkeypatch):
    monkeypatch.setattr(samples, "_MOST_ROWS", 10)
    weights = np.array([1e9, 3e9])
    batches = samples.Batches("mini", 8, samples.Samples(np.zeros((2, 1)), np.zeros(2), weights),
                              np.random.default_rng(0))
    counts = np.bincount(batches.take(1000))
    np.testing.assert_allclose(counts / 8000, [0.25, 0.75], atol=0.01)


def test_validation_loss_is_weighted():
    net, X, Y = problem(5, interpretation="softmax")
    weights = np.arange(60) % 3
    trained, history = run(net, X, Y, QuasiDiagonal(), steps=4, validation=(X, Y, weights),
                           **OPTIONS)
    losses = trained.losses(X, Y)
    assert history.validation[-1][1] == pytest.approx(np.average(losses, weights=weights))


@pytest.mark.parametrize(("weights", "options", "message"), [
    (np.ones(59), {}, r"sample_weight must have shape \(60,\); got \(59,\)"),
    (-np.eye(60)[7], {}, r"sample_weight\[7\] = -1.0 is negative"),
    (np.full(60, np.nan), {}, r"sample_weight\[0\] = nan"),
    (np.zeros(60), {}, "sample_weight must have a finite sum and at least one non-zero"),
    (np.full(60, 1e-3), {}, "sample_weight must add up to at least 1"),
    (np.ones(60), {"batch_size": None}, "sample_weight .* needs batch_size"),
], ids=str)
def test_bad_weights_are_named(weights, options, message):
    net, X, Y = problem(6, interpretation="softmax")
    before = net.theta.copy()
    with pytest.raises(ValueError, match=message):
        fk.train(net, X, Y, QuasiDiagonal(), sample_weight=weights,
                 **{"steps": 3, "batch_size": 16} | options)
    np.testing.assert_array_equal(net.theta, before)


# --- preprocessing --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_repeated_samples_are_those_of_that_weight_in_any_order(form):
    rng = np.random.default_rng(7)
    X, Y, weights = rng.integers(3, size=(40, 3)).astype(float), rng.integers(2, size=40), None
    weights = rng.integers(1, 4, size=40).astype(float)
    order = rng.permutation(int(weights.sum()))
    rows = np.repeat(np.arange(40), weights.astype(int))[order]
    one, two = distinct(form(X), Y, weights), distinct(form(X[rows]), Y[rows], None)
    for name in ("X", "Y", "weights"):
        a, b = (getattr(s, name) for s in (one, two))
        np.testing.assert_array_equal(*(m.toarray() if scipy.sparse.issparse(m) else m
                                        for m in (a, b)))
    assert len(one.Y) == len(np.unique(np.column_stack([X, Y]), axis=0))
    assert one.total == weights.sum()


def test_small_weights_are_scaled_up_to_the_number_of_samples():
    X = np.arange(6.0)[:, None]
    scaled = distinct(X, np.zeros(6), np.full(6, 1e-4))
    assert scaled.weights is None or scaled.total == pytest.approx(6)


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e300])
def test_inputs_hold_features_of_any_unit_and_origin(unit):
    X = np.random.default_rng(8).standard_normal((50, 3)) * unit
    X[:, 1] += 1e6 * unit
    X[:, 2] = 5 * unit
    scaled = Inputs.of(X)(X, np.float32)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal([scaled.min(axis=0), scaled.max(axis=0)],
                                  [[-1, -1, 0], [1, 1, 0]])
    sparse = scipy.sparse.csr_array(X)
    np.testing.assert_allclose(abs(Inputs.of(sparse)(sparse, np.float64)).max(axis=0).toarray(), 1)


def heavy_features(n=2000):
    """Of light tails, log-normal, Cauchy, a few outliers, mostly one value, and constant."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((n, 6))
    X[:, 1] = np.exp(3 * X[:, 1])
    X[:, 2] = rng.standard_cauchy(n)
    X[::300, 3] *= 1e6
    X[:, 4] = np.where(rng.random(n) < 0.1, np.exp(3 * X[:, 4]), 7.0)
    X[:, 5] = 3.0
    return X


def test_tails_are_drawn_in_beyond_their_limit():
    X = np.concatenate([np.linspace(-1, 1, 2001), [1e3, -1e6]])[:, None]
    tails = Inputs.of(X).tails
    spread = 1002 / 2000
    np.testing.assert_allclose([tails.median, 2 * tails.spread, 2 * tails.limit],
                               [[0.0], [spread], [60 * spread]], atol=1e-12)
    X[0] = -1e3  # more than one entry of a thousand
    tails = Inputs.of(X).tails
    np.testing.assert_allclose(2 * tails.limit, 3 * 2 * tails.spread)
    spread, limit = 2 * tails.spread[0], 2 * tails.limit[0]
    x = np.array([0.0, limit, -limit * (1 + 1e-9), 10.0, -1e6, 1e300])
    beyond = np.log1p(np.maximum(np.abs(x) - limit, 0) / spread)
    np.testing.assert_allclose(tails(x[:, None])[:, 0], np.where(
        np.abs(x) > limit, np.sign(x) * (limit + spread * beyond), x))
    assert (np.diff(tails(np.linspace(-9, 9, 10**4)[:, None]), axis=0) > 0).all()


def test_features_of_light_tails_are_only_scaled():
    X = np.random.default_rng(10).standard_normal((500, 3)).astype(np.float32)
    inputs = Inputs.of(X)
    low, high = (x.astype(np.float64) for x in (X.min(axis=0), X.max(axis=0)))
    np.testing.assert_array_equal(inputs.scale, high / 2 - low / 2)
    np.testing.assert_array_equal(inputs(X, np.float64), (X - inputs.centre) / inputs.scale)


@pytest.mark.parametrize("factor", [1e5, -1e-3])
def test_tails_have_no_unit_nor_origin(factor):
    X = heavy_features()
    shift = np.array([5, -10, 3, 0.1, 100, 0])
    moved = factor * (X + shift)
    one, two = (Inputs.of(x)(x, np.float64) for x in (X, moved))
    np.testing.assert_allclose(two, np.sign(factor) * one, rtol=1e-9, atol=1e-12)
    assert (one.std(axis=0)[:5] > 0.03).all()  # not crushed
    wide = (X - X.min(axis=0)) / np.maximum(np.ptp(X, axis=0), 1)
    assert (wide.std(axis=0)[1:4] < 0.03).all()


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_tails_take_weights_as_repeated_samples_in_any_order(form):
    X = heavy_features()
    X[:, 3] *= np.random.default_rng(11).random(2000) < 0.2
    weights = np.random.default_rng(12).integers(0, 4, 2000).astype(float)
    rows = np.random.default_rng(13).permutation(np.repeat(np.arange(2000), weights.astype(int)))
    one, two, plain = (Inputs.of(*given).tails for given in (
        (form(X), weights), (form(X[rows]),), (form(X),)))
    for name in ("median", "spread", "limit"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.spread[:4] != plain.spread[:4]).all()


def test_fractional_weights_that_tie_are_halved_in_any_order():
    weights = np.repeat([0.1, 0.7 / 3], [7, 3])  # 0.7 on either side, but for rounding
    X = np.array([*range(7), 107.0, 108.0, 109.0])[:, None]
    rng = np.random.default_rng(14)
    for _ in range(20):
        rows = rng.permutation(10)
        assert Inputs.of(X[rows], weights[rows]).tails.median == (6 + 107) / 2


def test_tails_of_sparse_samples_are_those_of_what_is_not_zero():
    X = heavy_features()
    X[:, :4] *= np.random.default_rng(15).random((2000, 4)) < 0.1
    X[:, 4], X[:, 5] = X[:, 4] - 7, 0
    rows = scipy.sparse.csr_array(X)
    inputs = Inputs.of(rows)
    scaled = inputs(rows, np.float64)
    np.testing.assert_array_equal(scaled.indices, rows.indices)
    np.testing.assert_array_equal(scaled.toarray(), inputs(X, np.float64))
    np.testing.assert_allclose(inputs.tails.spread, Inputs.of(X).tails.spread)
    assert not inputs.tails.median.any()
    assert np.ptp(scaled.toarray(), axis=0).max() <= 2


def test_tails_hold_what_comes_later():
    inputs = Inputs.of(np.array([[0.0, 5.0], [1.0, 5.0]]))
    later = inputs(np.array([[1e6, 4.0], [-1e308, 6.0]]), np.float64)
    assert 70 < later[0, 0] < 80
    assert -800 < later[1, 0] < -700
    np.testing.assert_array_equal(later[:, 1], [-1, 1])  # was constant: nothing tells its unit
