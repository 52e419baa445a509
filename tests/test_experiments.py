"""`fisherkern reproduce`: the experiment's parts, and the command on a small share of it."""

import json

import numpy as np
import pytest

from fisherkern import cli, reference
from fisherkern.experiments import ollivier, reproduce, runner
from fisherkern.experiments.ollivier import ACTIVATIONS, LINKS, METHODS, Task

# --- the experiment -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LINKS)
def test_links_are_drawn_from_the_outside_to_the_middle(kind):
    net, _, _ = ollivier.problem(0, 0, "tanh", kind)
    assert (net.n_units, net.n_outputs) == (270, 100)
    source, target = net.edges.T
    layer = np.repeat(np.arange(5), ollivier.SIZES)
    assert np.all(layer[target] == layer[source] + 1)
    encoder = layer[source] < 2
    leaving = np.bincount(source[encoder], minlength=130)[:130]
    entering = np.bincount(target[~encoder], minlength=270)[140:]
    # a unit that no draw reached has one more link
    assert np.all((leaving >= 5) & (leaving <= 7))
    assert leaving.sum() <= 655
    assert np.all(entering == 5)
    repeated = len(net.edges) - len(np.unique(net.edges, axis=0))
    assert (repeated > 0) == (kind == "parallel")


def test_both_activations_start_as_the_same_function_and_are_new_with_each_run():
    one, two = (ollivier.problem(3, 1, activation) for activation in ACTIVATIONS)
    np.testing.assert_array_equal(one[0].edges, two[0].edges)
    np.testing.assert_array_equal(one[2], two[2])
    np.testing.assert_array_equal(one[1], (two[1] + 1) / 2)
    assert set(np.unique(two[1])) == {-1, 1}
    np.testing.assert_allclose(2 * one[0].forward(one[1]) - 1, two[0].forward(two[1]), atol=1e-13)
    assert one[0].loss(*one[1:]) == pytest.approx(two[0].loss(*two[1:]), rel=1e-13)
    other = ollivier.problem(3, 2, "tanh")
    assert np.any(other[2] != two[2])
    fan_in = np.diff(two[0].indptr) - 1
    assert np.sqrt(np.repeat(fan_in, fan_in) * two[0].weights**2).mean() == pytest.approx(
        np.sqrt(2 / np.pi), rel=0.1)


def test_curve_of_a_task_vs_the_reference_descent():
    method = ollivier.method("QuasiDiagonalBackpropagatedMetricGradient")
    curve = Task(method, "sigmoid", "parallel", 0, 0, 6).compute()
    net, X, Y = ollivier.problem(0, 0, "sigmoid")

    def direction(net):
        A = reference.unitwise_metric(net, X, "backpropagated")
        return reference.direction(net, A, -reference.gradient(net, X, Y), "quasi_diagonal", 1e-4)

    _, losses, _, _ = reference.whole_batch_descent(net, X, Y, direction, 0.01, 6)
    np.testing.assert_allclose(curve[:-1], losses / np.log(2), rtol=1e-9)
    assert curve[-1] == pytest.approx(reference.loss(net, X, Y) / np.log(2), rel=1e-9)


@pytest.mark.parametrize("row", METHODS, ids=lambda row: row.key)
def test_every_row_learns_from_either_start(row):
    for activation in ACTIVATIONS:
        curve = Task(row, activation, "parallel", 0, 0, 40).compute()
        assert curve[40] < curve[0]


def test_a_longer_run_begins_as_a_shorter_one():
    for name in ("Backpropagation", "MonteCarloUnitwiseNaturalGradient"):
        short, long = (Task(ollivier.method(name), "tanh", "parallel", 1, 0, n).compute()
                       for n in (20, 50))
        np.testing.assert_allclose(long[:21], short, rtol=1e-14)


# --- runs over processes --------------------------------------------------------------------------


def tasks(n=12):
    return [Task(ollivier.method(name), "tanh", "parallel", 0, run, n)
            for name in ("Backpropagation", "MonteCarloQuasiDiagonalNaturalGradient")
            for run in range(2)]


def test_runs_do_not_depend_on_the_processes_and_are_not_done_twice(tmp_path, monkeypatch):
    one = runner.compute_all(tasks(), tmp_path / "one", 1, lambda text: None)
    two = runner.compute_all(tasks(), tmp_path / "two", 2, lambda text: None)
    for key, curve in one.items():
        np.testing.assert_array_equal(two[key], curve)
    told = []
    monkeypatch.setattr(runner, "ProcessPoolExecutor", None)
    with pytest.raises(TypeError):  # a longer run is a new one
        runner.compute_all(tasks(13), tmp_path / "one", 1, told.append)
    monkeypatch.undo()
    again = runner.compute_all(tasks(5), tmp_path / "one", 1, told.append)
    assert told[-1] == "4 runs are there already"
    np.testing.assert_array_equal(again[tasks()[0].key], one[tasks()[0].key])


def test_damaged_result_of_a_run_is_named(tmp_path):
    path = tmp_path / f"{tasks()[0].key}.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match=path.name):
        runner.compute_all(tasks(), tmp_path, 1, lambda text: None)


# --- the command ----------------------------------------------------------------------------------


def test_reproduce_writes_rows_tables_pictures_and_a_page_of_its_own(tmp_path, capsys):
    folder = tmp_path / "out"
    arguments = ["reproduce", "ollivier", "--quick", "--runs", "2", "--out", str(folder),
                 "--methods", "quasi-diagonal-backpropagated-metric-gradient", "--links",
                 "parallel", "distinct"]
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "quasi-diagonal backpropagated metric" in shown
    rows = json.loads((folder / "results.json").read_text())
    assert len(rows) == 2 * 2 * 2 * 2  # with backpropagation, by activation, links and budget
    row = rows[-1]
    assert set(row) == {"method", "optimizer", "n_draws", "activation", "links", "budget",
                        "iterations", "runs", "mean_bits", "sd_bits", "microseconds_per_iteration"}
    assert row["runs"] == 2
    assert {r["iterations"] for r in rows if r["budget"] == "a"} == {1000, 745}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    for name in ("table1.csv", "table2.csv", "damping.csv", "curves.png"):
        assert (folder / name).stat().st_size > 50
    assert cli.main(arguments) == 0  # from what is there
    assert json.loads((folder / "results.json").read_text()) == rows


@pytest.mark.slow
def test_quick_run_of_every_method_checks_itself(tmp_path, capsys):
    assert cli.main(["reproduce", "ollivier", "--quick", "--out", str(tmp_path)]) == 0
    assert f"all of {2 * len(METHODS)} means lie where a quick run's should" \
        in capsys.readouterr().out
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == 2 * 2 * len(METHODS)
    bad = [row | {"mean_bits": row["mean_bits"] + 20} for row in rows]
    assert len(reproduce.outside(bad)) == 2 * len(METHODS)
    assert not reproduce.outside(rows)


@pytest.mark.parametrize("arguments", [
    ["karakida"], ["ollivier", "--runs", "0"], ["ollivier", "--methods", "sgd"],
    ["ollivier", "--links", "random"], ["ollivier", "--seed", "-1"]])
def test_faults_of_reproduce_are_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["reproduce", *arguments])
    assert end.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_out_that_is_a_file_is_a_fault(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["reproduce", "ollivier", "--quick", "--out", str(tmp_path / "file")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_methods_outside_the_table_and_a_second_plan_in_one_folder(tmp_path, capsys):
    arguments = ["reproduce", "ollivier", "--quick", "--runs", "1", "--out", str(tmp_path),
                 "--links", "distinct", "--methods"]
    names = ["adam", "momentum", "ada-grad", "quasi-diagonal-outer-product-gradient"]
    assert cli.main([*arguments, *names]) == 0
    assert "no mean to check" in capsys.readouterr().out
    rows = json.loads((tmp_path / "results.json").read_text())
    assert {row["optimizer"] for row in rows} == {
        "Backpropagation", "Adam", "Momentum", "AdaGrad", "QuasiDiagonalOuterProductGradient"}
    # undamped quasi-diagonal steps have their column
    assert "" not in (tmp_path / "damping.csv").read_text().splitlines()[1].split(",")
    assert cli.main([*arguments, "adam"]) == 0
    assert "will be replaced" in capsys.readouterr().out
    assert not (tmp_path / "results.json").read_text().count("Momentum")


def test_full_matrices_have_the_iterations_of_the_papers_table():
    assert ollivier.method("OuterProductGradient").iterations == 10
    assert not ollivier.method("NaturalGradient").compared


@pytest.mark.parametrize("text", ["{", "[1]", '{"Backpropagation-tanh": 0}'])
def test_damaged_timings_are_named(text, tmp_path, capsys):
    (tmp_path / "timings.json").write_text(text)
    assert cli.main(["reproduce", "ollivier", "--quick", "--out", str(tmp_path)]) == 2
    assert "timings.json" in capsys.readouterr().err


def test_an_interrupted_run_is_no_result(monkeypatch):
    short = Task(METHODS[0], "tanh", "parallel", 0, 0, 5)
    monkeypatch.setattr(ollivier, "train", lambda *args, steps, **options: ollivier.History())
    with pytest.raises(KeyboardInterrupt):
        short.compute()
