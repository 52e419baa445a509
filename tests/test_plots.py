"""Pictures show the numbers that they are of."""

import numpy as np
import pytest

import fisherkern as fk
from fisherkern import plots


def test_curves_show_the_accuracy_of_classes_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    for interpretation, y in (("softmax", (X[:, 0] > 0).astype(int)), ("square", X[:, :2])):
        net = fk.Network.layered([3, 4, 2], interpretation=interpretation, rng=rng)
        history = fk.train(net, X, y, fk.optimizers.Adam(0.01), epochs=4, batch_size=10,
                           validation=0.5, rng=rng)
        axes = plots.curves(history).axes
        assert axes[0].get_ylabel() == "loss / nats"
        assert len(axes) == (2 if interpretation == "softmax" else 1)
        if interpretation == "softmax":
            np.testing.assert_array_equal(axes[1].lines[0].get_xydata(), history.accuracy)


def test_comparison_has_a_line_for_each_method_that_did_not_fail():
    points = [{"method": "a", "seconds": 1.0, "r2": 0.5},
              {"method": "a", "seconds": 2.0, "r2": 0.7},
              {"method": "b", "seconds": 1.5, "r2": -9.0}, {"method": "c", "seconds": 3.0}]
    ax = plots.comparison(points, "r2", "R^2")
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 0.5], [2, 0.7]])
    assert ax.get_ylim()[0] == -1
    assert plots.comparison([], "r2", "R^2").lines[:] == []


def test_confusion_matrix_counts_labels_of_either_side():
    labels, predicted = np.array(["a", "a", "b"]), np.array(["a", "c", "b"])
    ax = plots.confusion_matrix(labels, predicted)
    np.testing.assert_array_equal(ax.images[0].get_array(),
                                  [[0.5, 0, 0.5], [0, 1, 0], [0, 0, 0]])
    assert sorted(text.get_text() for text in ax.texts) == ["1", "1", "1"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["a", "b", "c"]


def test_calibration_curve_is_by_tenths():
    right = np.array([True, False, True, True])
    ax = plots.calibration_curve(right, np.array([0.52, 0.58, 0.97, 1.0]))
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[0.55, 0.5], [0.985, 1.0]])
    assert [text.get_text() for text in ax.texts] == ["2", "2"]


def test_predicted_against_true_has_a_point_for_each_sample():
    ax = plots.predicted_against_true(np.array([1.0, 2.0]), np.array([1.5, 1.0]))
    np.testing.assert_array_equal(ax.lines[1].get_xydata(), [[1, 1.5], [2, 1]])


def test_small_networks_are_drawn_by_level():
    net = fk.Network(2, [(0, 4), (1, 4), (4, 3), (3, 2), (0, 2)])
    (ax,) = plots.network(net).axes
    segments = np.array(ax.collections[0].get_segments())
    assert segments.shape == (5, 2, 2)
    # unit 4 is at level 1, 3 at 2 and 2 at 3
    levels = np.array([0, 0, 3, 2, 1])
    np.testing.assert_array_equal(segments[:, :, 0], levels[net.edges])
    negative = ax.collections[0].get_colors()[:, 0] > 0.5
    np.testing.assert_array_equal(negative, net.weights < 0)


def test_networks_without_weights_are_drawn_too():
    net = fk.Network(2, [(0, 2), (1, 2)], dtype="float32")
    net.theta[:] = 0
    assert plots.network(net).axes


def test_large_networks_are_distributions():
    net = fk.Network.layered([500, 300, 10], fan_in=7, rng=0)
    fan_in, fan_out, weights = plots.network(net).axes
    assert [ax.get_xlabel() for ax in (fan_in, fan_out, weights)] == ["fan-in", "fan-out", "weight"]
    for ax, count in ((fan_in, 310), (fan_out, 810), (weights, net.n_edges)):
        assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(count)
