"""Pictures show the numbers that they are of."""

import numpy as np
import pytest

import fisherkern as fk
from fisherkern import plots


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


def test_large_networks_are_distributions():
    net = fk.Network.layered([500, 300, 10], fan_in=7, rng=0)
    fan_in, fan_out, weights = plots.network(net).axes
    assert [ax.get_xlabel() for ax in (fan_in, fan_out, weights)] == ["fan-in", "fan-out", "weight"]
    for ax, count in ((fan_in, 310), (fan_out, 810), (weights, net.n_edges)):
        assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(count)
