"""The estimators, as scikit-learn's own checks and its users take them."""

import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse
import scipy.special
import sklearn
from sklearn import datasets
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.inspection import permutation_importance
from sklearn.metrics import average_precision_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import fisherkern as fk

QUICK = {"max_steps": 150, "n_networks": 2, "random_state": 0}


def classifier(**options):
    return fk.SparseNetClassifier(**QUICK | options)


def regressor(**options):
    return fk.SparseNetRegressor(**QUICK | options)


@pytest.fixture(scope="module")
def wine():
    X, y = datasets.load_wine(return_X_y=True)
    return train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)


@pytest.fixture(scope="module")
def diabetes():
    X, y = datasets.load_diabetes(return_X_y=True)
    return train_test_split(X, y, test_size=0.25, random_state=0)


# --- scikit-learn's checks ------------------------------------------------------------------------


@parametrize_with_checks([fk.SparseNetClassifier(max_steps=200),
                          fk.SparseNetRegressor(max_steps=200)])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [fk.SparseNetClassifier, fk.SparseNetRegressor])
def test_check_estimator_with_the_defaults(kind):
    check_estimator(kind())


# --- quality by default ---------------------------------------------------------------------------


@pytest.mark.parametrize("units", [False, True])
def test_defaults_on_wine(wine, units):
    X, held, y, held_y = wine
    if units:
        rng = np.random.default_rng(0)
        factor, shift = 10**rng.uniform(-3, 3, 13), rng.uniform(-5, 5, 13) * X.std(axis=0)
        X, held = (X + shift) * factor, (held + shift) * factor
    model = fk.SparseNetClassifier(random_state=0).fit(X, y)
    assert model.score(held, held_y) >= 0.95
    assert len(model.networks_) == 5
    assert model.n_steps_ % 100 == 0


def test_defaults_on_diabetes(diabetes):
    X, held, y, held_y = diabetes
    assert fk.SparseNetRegressor(random_state=0).fit(X, y).score(held, held_y) > 0.35


def test_many_samples_take_a_held_out_share_and_are_trained_anew():
    X, y = datasets.make_friedman1(1200, random_state=0)
    model = fk.SparseNetRegressor(random_state=0).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.93
    assert (len(model.histories_), len(model.networks_)) == (4, 3)
    search, *rest = model.histories_
    assert search.selected == model.n_steps_ == rest[0].selected
    assert len({net.edges.tobytes() for net in model.networks_}) == 3


@pytest.mark.parametrize("sign", [1, -1])
def test_outliers_do_not_hide_the_rest(sign):
    X, y = datasets.make_classification(2000, 20, n_informative=8, random_state=0)
    X[np.random.default_rng(0).random(X.shape) < 0.002] *= sign * 1e6
    model = fk.SparseNetClassifier(random_state=0).fit(sign * X[:1500] + 3, y[:1500])
    assert model.score(sign * X[1500:] + 3, y[1500:]) > 0.88


def test_weights_are_repeated_samples_where_tails_are_heavy(wine):
    X, held, y, _ = wine
    X, held = np.exp(5 * X / X.std(axis=0)), np.exp(5 * held / X.std(axis=0))
    weight = np.random.default_rng(0).integers(1, 4, y.size)
    rows = np.random.default_rng(1).permutation(np.repeat(np.arange(y.size), weight))
    np.testing.assert_array_equal(classifier().fit(X, y, weight).predict_proba(held),
                                  classifier().fit(X[rows], y[rows]).predict_proba(held))


# --- what y may be --------------------------------------------------------------------------------


def test_labels_may_be_text(wine):
    X, held, y, _ = wine
    names = np.array(["rot", "weiß", "rosé"])
    model, same = classifier().fit(X, names[y]), classifier().fit(X, np.array([1, 2, 0])[y])
    assert model.classes_.tolist() == sorted(names)
    assert set(model.predict(held)) <= set(names)
    probabilities = model.predict_proba(held)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(held)), probabilities)
    np.testing.assert_array_equal(model.decision_function(held).argmax(axis=1),
                                  probabilities.argmax(axis=1))
    np.testing.assert_array_equal(probabilities, same.predict_proba(held))


def test_decision_function_of_two_classes_is_the_logit(wine):
    X, held, y, _ = wine
    model = classifier().fit(X, y == 1)
    p = model.predict_proba(held)[:, 1]
    np.testing.assert_allclose(model.decision_function(held), np.log(p / (1 - p)), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(held), p > 0.5)


def test_several_labels_at_once(wine):
    X, held, y, held_y = wine
    flags = np.column_stack([y == 0, y != 1])
    model = classifier(max_steps=600).fit(X, flags)
    assert model.networks_[0].interpretation == "bernoulli"
    predicted = model.predict(held)
    assert predicted.dtype.kind == "i"
    assert (predicted == np.column_stack([held_y == 0, held_y != 1])).mean() > 0.9
    np.testing.assert_array_equal(model.predict_proba(held) > 0.5, predicted)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(held)), model.predict_proba(held))


def test_several_targets_at_once(diabetes):
    X, held, y, held_y = diabetes
    both = np.column_stack([y, -1e6 * y + 5])
    predicted = regressor(max_steps=600).fit(X, both).predict(held)
    assert predicted.shape == (held_y.size, 2)
    assert np.corrcoef(predicted[:, 0], -predicted[:, 1])[0, 1] > 0.95
    assert regressor().fit(X, both[:, :1]).predict(held).shape == held_y.shape


def test_unit_and_origin_of_a_target_do_not_matter(diabetes):
    X, held, y, _ = diabetes
    plain = regressor().fit(X, y).predict(held)
    other = regressor().fit(X, 1e6 * y - 1e8).predict(held)
    assert np.corrcoef(plain, other)[0, 1] > 0.97  # batches come in another order
    assert np.abs((other + 1e8) / 1e6 - plain).max() < 60 < np.ptp(plain)
    constant = regressor().fit(X, np.full(y.size, 7.0)).predict(held)
    np.testing.assert_array_equal(constant, 7)


# --- what X may be --------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_names(wine, library):
    frames = pytest.importorskip(library)
    X, held, y, _ = wine
    names = [f"f{i}" for i in range(X.shape[1])]
    frame, other = (frames.DataFrame(dict(zip(names, rows.T, strict=True))) for rows in (X, held))
    model = classifier().fit(frame, y)
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(model.predict(other), classifier().fit(X, y).predict(held))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(other[names[::-1]])


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, scipy.sparse.csc_array])
def test_sparse_features(kind):
    X, y = datasets.load_digits(return_X_y=True)
    X = X[:, X.max(axis=0) > 0]
    model = classifier(max_steps=600).fit(kind(X[:900]), y[:900])
    assert model.score(kind(X[900:]), y[900:]) > 0.85
    np.testing.assert_allclose(model.predict_proba(kind(X[900:])), model.predict_proba(X[900:]))


def test_order_of_the_samples_and_threads_do_not_matter(wine):
    X, held, y, _ = wine
    order = np.random.default_rng(0).permutation(y.size)
    predictions = [model.predict_proba(held) for model in (
        classifier(n_threads=1).fit(X, y), classifier(n_threads=2).fit(X[order], y[order]))]
    np.testing.assert_array_equal(*predictions)


# --- weights --------------------------------------------------------------------------------------


def test_class_weight(wine):
    X, held, y, _ = wine
    heavy = classifier(class_weight={0: 100.0, 1: 1.0, 2: 1e-3}).fit(X, y)
    plain, balanced = (classifier(class_weight=weight).fit(X, y) for weight in (None, "balanced"))
    assert (heavy.predict(held) == 2).sum() < (plain.predict(held) == 2).sum()
    by_hand = y.size / (3 * np.bincount(y))[y]
    np.testing.assert_array_equal(
        balanced.predict_proba(held), classifier().fit(X, y, by_hand).predict_proba(held))


def test_weight_is_all_that_counts(diabetes):
    X, held, y, _ = diabetes
    weight = np.where(np.arange(y.size) < 100, 1.0, 0.0)
    np.testing.assert_array_equal(regressor().fit(X, y, weight).predict(held),
                                  regressor().fit(X[:100], y[:100]).predict(held))
    spread = np.random.default_rng(0).uniform(0, 5, y.size) * 1e-9
    assert np.isfinite(regressor().fit(X, y, spread).predict(held)).all()


# --- settings -------------------------------------------------------------------------------------


def test_ways_to_choose_the_place(wine):
    X, _, y, _ = wine
    for selection, runs, networks in (("none", 2, 2), ("holdout", 3, 2), ("folds", 2, 2)):
        model = classifier(selection=selection).fit(X, y)
        assert (len(model.histories_), len(model.networks_)) == (runs, networks)
        assert model.n_steps_ == 150 if selection == "none" else 1 <= model.n_steps_ <= 150
    model = classifier(max_steps=None, max_epochs=3, batch_size=10, selection="none").fit(X, y)
    assert model.n_steps_ == -(-3 * y.size // 10)


@pytest.mark.parametrize("kind", [fk.SparseNetClassifier, fk.SparseNetRegressor])
def test_all_but_the_first_four_settings_are_named(kind):
    assert kind(64, 8, "tanh", "auto").get_params()["activation"] == "tanh"
    with pytest.raises(TypeError, match=rf"{kind.__name__}.* positional"):
        kind(64, 8, "tanh", "auto", 5)


def test_settings_make_the_networks(wine):
    X, _, y, _ = wine
    model = classifier(hidden_layer_sizes=(20, 10), fan_in=(4, 4), activation="tanh",
                       optimizer=fk.optimizers.Adam(0.01), selection="none").fit(X, y)
    net = model.networks_[0]
    assert (net.n_inputs, net.n_units, net.n_edges) == (13, 13 + 33, 20 * 4 + 10 * 4 + 10 * 3)
    assert classifier(hidden_layer_sizes=5, fan_in=None).fit(X, y).networks_[0].n_edges == 5 * 16
    assert classifier(hidden_layer_sizes=()).fit(X, y).networks_[0].n_edges == 13 * 3


def test_every_one_of_very_many_features_has_edges():
    X = scipy.sparse.random(60, 3000, 0.02, format="csr", random_state=0)
    y = np.arange(60) % 2
    net = classifier(max_steps=2).fit(X, y).networks_[0]
    first = net.edges[net.edges[:, 1] < 3000 + 256]
    fan_out = np.bincount(first[:, 0], minlength=3000)
    fan_in = np.bincount(first[:, 1])[3000:]
    assert (fan_out.min() >= 2, fan_out.max()) == (True, 4)
    assert (fan_in.min() >= 40, fan_in.max()) == (True, 4 * 12)
    assert len(np.unique(net.edges, axis=0)) == len(net.edges)
    assert net.n_edges - len(first) == 128 * 32 + 128 * 2
    for features, options, edges in ((3000, {"fan_in": 32}, 256 * 32), (2048, {}, 256 * 32),
                                     (3000, {"hidden_layer_sizes": (500, 128)}, 500 * 32)):
        net = classifier(max_steps=2, **options).fit(X[:, :features], y).networks_[0]
        assert net.n_edges == edges + 128 * 32 + 128 * 2


def test_ready_network(wine):
    X, held, y, held_y = wine
    net = fk.Network.layered([13, 30, 3], fan_in=[5, 30], interpretation="softmax", rng=0,
                             activation=["tanh"] * 30 + ["identity"] * 3)
    before = net.theta.copy()
    model, held = classifier(network=net, max_steps=600).fit(X, y), held.copy()
    assert model.score(held, held_y) > 0.85
    assert all(np.array_equal(one.edges, net.edges) for one in model.networks_)
    np.testing.assert_array_equal(net.theta, before)
    held[0] = 1e6
    np.testing.assert_array_equal(np.mean([one.forward(held) for one in model.networks_], axis=0),
                                  model.decision_function(held))
    with pytest.raises(ValueError, match=r"network must have 13 inputs and 2 softmax outputs"):
        classifier(network=net).fit(X, y == 0)


def test_frozen_biases_of_the_outputs_stay(wine):
    X, _, y, _ = wine
    net = fk.Network.layered([13, 20, 2], interpretation="softmax", rng=0,
                             activation=["tanh"] * 20 + ["identity"] * 2)
    biases = net.indptr[net.outputs - net.n_inputs]
    net.theta[biases], net.frozen[biases] = [0.5, -0.5], True
    rare = (np.arange(y.size) % 20 == 0).astype(int)
    for one in classifier(network=net).fit(X, rare).networks_:
        np.testing.assert_array_equal(one.theta[biases], [0.5, -0.5])


def test_classes_of_no_weight_are_as_if_they_were_not_there(wine):
    X, held, y, _ = wine
    moved = np.where((y == 2)[:, None], 50 * X, X)
    weight = {0: 1, 1: 1, 2: 0}
    one, two = (classifier(class_weight=weight).fit(x, y).predict_proba(held) for x in (X, moved))
    np.testing.assert_array_equal(one, two)


def test_the_unit_of_targets_is_nothing():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = X[:, 0] * X[:, 1]
    one, two = (fk.SparseNetRegressor(**QUICK).fit(X, unit * y + origin).predict(X)
                for unit, origin in ((1, 0), (2.54, 10)))
    np.testing.assert_allclose((two - 10) / 2.54, one, atol=1e-3)


def test_stored_zeros_are_zeros(wine):
    X, held, y, _ = wine
    dense = np.where(X.mean(axis=0) < X, X, 0)
    sparse, columns = scipy.sparse.csr_array(dense), np.tile(np.arange(13), X.shape[0])
    stored = scipy.sparse.csr_array((dense.ravel(), columns, np.arange(0, X.size + 1, 13)),
                                    shape=X.shape)
    assert stored.nnz > sparse.nnz
    np.testing.assert_array_equal(classifier().fit(stored, y).predict_proba(held),
                                  classifier().fit(sparse, y).predict_proba(held))


def test_fan_in_is_one_for_each_hidden_layer(wine):
    X, _, y, _ = wine
    with pytest.raises(ValueError, match=r"fan_in must be one number, or one for each of the 2 "
                                         r"hidden layers; got \(3, 3, 3\)"):
        classifier(fan_in=(3, 3, 3)).fit(X, y)


def test_warm_start_goes_on(wine):
    X, held, y, _ = wine
    model = classifier(warm_start=True, selection="none").fit(X, y)
    first = model.networks_
    before = [net.theta.copy() for net in first]
    model.fit(X, y)
    assert all(np.array_equal(a.edges, b.edges)
               for a, b in zip(first, model.networks_, strict=True))
    assert model.histories_[0].loss[0] < 0.7 < np.log(3)
    assert all(np.array_equal(net.theta, theta) for net, theta in zip(first, before, strict=True))
    with pytest.raises(ValueError, match=r"y holds the class 5, which is none of \[0, 1, 2\]"):
        model.fit(X, y + 5)
    model.set_params(n_networks=len(first) + 1)
    with pytest.raises(ValueError, match=rf"n_networks = {len(first) + 1}, but warm_start goes on"):
        model.fit(X, y)
    assert model.predict(held).max() <= 2


def test_partial_fit_learns_from_parts(wine):
    X, held, y, held_y = wine
    model = classifier(n_networks=1)
    with pytest.raises(ValueError, match="classes must be given"):
        model.partial_fit(X, y)
    rng = np.random.default_rng(0)
    model.partial_fit(X[y == 0][:1], y[y == 0][:1], classes=[0, 1, 2])  # no batch yet
    assert model.predict_proba(held).shape == (held_y.size, 3)
    scores = []
    for i in range(600):
        part = rng.permutation(y.size)[:64 if i % 2 else 5]
        model.partial_fit(X[part], y[part])
        scores.append(model.score(held, held_y) if i % 100 == 99 else 1)
    assert min(scores) > 0.9
    assert model.n_steps_ == (1 + 300 * 69) // 32
    again = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    assert again.score(held, held_y) > 0.9
    before = model.predict_proba(held)
    with pytest.raises(ValueError, match="class 3"):
        model.partial_fit(X, y + 1)
    np.testing.assert_array_equal(model.predict_proba(held), before)
    assert model.fit(X, y).score(held, held_y) > 0.85


def test_failed_fit_leaves_what_was_fitted(wine, diabetes):
    X, held, y, _ = wine
    model = classifier().fit(X, y)
    before = model.predict_proba(held)
    for features, labels in ((X[:, :2], np.zeros(y.size)), (X[:, :2], y[:-1])):
        with pytest.raises(ValueError, match=r"class|inconsistent"):
            model.fit(features, labels)
    with pytest.raises(ValueError, match="trust_radius"):
        model.set_params(trust_radius=-1.0).fit(X[:, :2], y)
    np.testing.assert_array_equal(model.predict_proba(held), before)
    with pytest.raises(ValueError, match="one class of any weight"):
        model.set_params(trust_radius="auto", class_weight={0: 0.0, 1: 0.0}).fit(X, y)


@pytest.mark.parametrize("share", [0.01, 0.003])
def test_rare_classes_are_found_and_their_probability_is_right(share):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(8000, 10))
    y = (X[:, 0] > -scipy.special.ndtri(share)).astype(int)
    model = fk.SparseNetClassifier(random_state=0).fit(X[:4000], y[:4000])
    p = model.predict_proba(X[4000:])[:, 1]
    assert average_precision_score(y[4000:], p) > 0.9
    assert p.mean() == pytest.approx(y[4000:].mean(), rel=0.35)


def test_few_distinct_samples_and_large_weights_take_little_work():
    X, y = np.repeat([[0.0], [1.0]], 1000, axis=0), np.repeat([0, 1], 1000)
    model = classifier().fit(X, y)
    assert model.score(X, y) == 1
    X, y = datasets.load_iris(return_X_y=True)
    model = fk.SparseNetClassifier(random_state=0, n_networks=2).fit(X, y, np.full(150, 1e6))
    assert (len(model.networks_), model.n_steps_ <= 1500) == (2, True)
    assert model.score(X, y) > 0.95


def test_labels_may_come_as_a_sparse_matrix(wine):
    X, held, y, _ = wine
    flags = np.column_stack([y == 0, y != 1]).astype(int)
    np.testing.assert_array_equal(
        classifier().fit(X, scipy.sparse.csr_array(flags)).predict_proba(held),
        classifier().fit(X, flags).predict_proba(held))
    with pytest.raises(ValueError, match="several columns of classes"):
        classifier().fit(X, np.column_stack([y, y]))


@pytest.mark.parametrize(("options", "message"), [
    ({"max_steps": 0}, "max_steps must be at least 1; got 0"),
    ({"max_epochs": 2}, "give one of max_steps and max_epochs; got 150 and 2"),
    ({"batch_size": 1.5}, "batch_size must be an integer; got 1.5"),
    ({"selection": "best"}, "selection must be 'auto', 'holdout', 'folds' or 'none'; got 'best'"),
    ({"optimizer": "adam"}, "optimizer must be 'auto' or one of fisherkern.optimizers"),
    ({"optimizer": fk.optimizers.Adam(0.1), "damping": 1e-3}, "damping = 0.001 is of the 'auto'"),
    ({"n_networks": 0}, "n_networks must be at least"),
    ({"n_networks": 1, "selection": "folds"}, "'folds' needs n_networks of at least 2; got 1"),
    ({"activation": "swish"}, "'swish'"),
    ({"hidden_layer_sizes": (10, 0)}, "hidden_layer_sizes must be at least 1; got 0"),
    ({"hidden_layer_sizes": (10.5,)}, "hidden_layer_sizes must be an integer; got 10.5"),
    ({"fan_in": 0}, "fan_in"),
    ({"trust_radius": -1.0}, "trust_radius must be above 0"),
    ({"prior": "wide"}, "prior must be None, 'path' or a number; got 'wide'"),
    ({"averaging": 3}, "averaging must be True or False; got 3"),
    ({"validation_fraction": 1.5}, "validation_fraction must be"),
    ({"warm_start": 1}, "warm_start must be True or False"),
    ({"network": 3}, "network must be a fisherkern Network; got 3"),
    ({"class_weight": {0: -1.0}}, r"sample_weight|class"),
], ids=str)
def test_bad_settings_are_named_at_fit(wine, options, message):
    X, _, y, _ = wine
    model = classifier(**options)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y)
    assert not hasattr(model, "networks_")


def test_one_class_is_no_classification(wine):
    X, _, y, _ = wine
    with pytest.raises(ValueError, match="y has only one class"):
        classifier().fit(X, np.zeros(y.size))


# --- among scikit-learn's tools -------------------------------------------------------------------


def test_pipeline_search_and_cross_validation(wine):
    X, held, y, held_y = wine
    pipeline = make_pipeline(StandardScaler(), classifier())
    assert cross_val_score(pipeline, X, y, cv=3).mean() > 0.85
    search = GridSearchCV(classifier(), {"fan_in": [2, 8], "prior": [None, "path"]}, cv=3,
                          n_jobs=2).fit(X, y)
    assert search.score(held, held_y) > 0.85


def test_copies_and_files(wine, tmp_path):
    X, held, y, _ = wine
    model = classifier(optimizer=fk.optimizers.Adam(0.01)).fit(X, y)
    assert not hasattr(clone(model), "networks_")
    joblib.dump(model, tmp_path / "model")
    for copy in (joblib.load(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(copy.predict_proba(held), model.predict_proba(held))


def test_calibration_and_importance(wine):
    X, held, y, held_y = wine
    assert CalibratedClassifierCV(classifier(), cv=3).fit(X, y).score(held, held_y) > 0.85
    model = classifier().fit(X, y)
    importance = permutation_importance(model, held, held_y, n_repeats=3, random_state=0)
    assert importance.importances_mean.max() > 0.01


def test_sample_weight_is_routed(wine):
    X, _, y, _ = wine
    with sklearn.config_context(enable_metadata_routing=True):
        routed = classifier().set_fit_request(sample_weight=True)
        routed = routed.set_score_request(sample_weight=True)
        weights = np.arange(y.size) % 4
        scores = cross_val_score(routed, X, y, cv=3, params={"sample_weight": weights})
    folds = StratifiedKFold(3).split(X, y)
    assert scores.tolist() == [
        classifier().fit(X[kept], y[kept], weights[kept]).score(X[held], y[held], weights[held])
        for kept, held in folds]


def test_import_of_the_package_leaves_scikit_learn_alone():
    import subprocess
    import sys

    code = "import sys, fisherkern; dir(fisherkern); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert "SparseNetClassifier" in dir(fk)
    with pytest.raises(AttributeError, match="SparseNetTransformer"):
        fk.SparseNetTransformer  # noqa: B018


@pytest.mark.parametrize("value", [0.0, 1.5, 1e-9, -1e200])
def test_a_constant_target_is_predicted_as_it_is(diabetes, value):
    X, held, _, _ = diabetes
    model = fk.SparseNetRegressor(random_state=0, max_steps=20).fit(X, np.full(len(X), value))
    assert (model.predict(held) == value).all()


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-500, 2.0**500, 2.0**1000])
def test_units_of_targets_are_nothing(diabetes, unit):
    X, held, y, _ = diabetes
    plain, scaled = (fk.SparseNetRegressor(random_state=0, max_steps=50).fit(X, y * factor)
                     for factor in (1.0, unit))
    np.testing.assert_array_equal(scaled.predict(held) / unit, plain.predict(held))


def test_classes_of_later_parts_are_those_of_the_first(wine):
    X, _, y, _ = wine
    model = fk.SparseNetClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2])
    model.partial_fit(X[:5], y[:5], classes=[2, 1, 0, 0])
    with pytest.raises(ValueError, match=r"classes = \[0, 1\] are not those of before"):
        model.partial_fit(X[:5], y[:5], classes=[0, 1])


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("way", ["partial_fit", "warm_start"])
def test_targets_that_were_constant_at_first_are_learned(diabetes, way, columns):
    X, held, y, held_y = diabetes
    model = fk.SparseNetRegressor(random_state=0, max_steps=400, warm_start=True)
    Y = np.column_stack([y, y[::-1]])[:, :columns]
    first = Y.copy()
    first[:, 0] = 150
    learn = model.partial_fit if way == "partial_fit" else model.fit
    learn(X[:40], first[:40])
    for _ in range(100 if way == "partial_fit" else 1):
        learn(X, Y)
    told = model.predict(held).reshape(len(held), -1)[:, 0]
    assert np.corrcoef(told, held_y)[0, 1] > 0.3


def test_flags_of_labels_may_come_with_every_part():
    X, y = datasets.make_multilabel_classification(60, n_classes=3, random_state=0)
    model = fk.SparseNetClassifier(random_state=0)
    for part in (slice(0, 30), slice(30, 60)):
        model.partial_fit(X[part], y[part], classes=[0, 1])
    assert model.predict(X).shape == (60, 3)
