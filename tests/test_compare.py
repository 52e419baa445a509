"""`--compare`: what is trained, for how long, and how it is told."""

import json
import time

import numpy as np
import pytest
from sklearn import datasets

from fisherkern import compare


class Timed:
    """Takes a fixed time and a time per step; classifies as well as it was told."""

    n_steps = 0

    def __init__(self, steps, fixed=0.02, per_step=1e-4, most=10**9):
        self.steps, self.pause = min(steps, most), fixed + per_step * min(steps, most)

    def fit(self, X, y):
        time.sleep(self.pause)
        return self

    def predict(self, X):
        return np.zeros(len(X))


SPLIT = compare.Split(np.zeros((4, 1)), np.arange(4.0), np.zeros((4, 1)), np.arange(4.0))


def contender(**options):
    return compare.Contender("timed", "steps", lambda steps: Timed(steps, **options),
                             lambda model: model.steps)


@pytest.mark.parametrize("fixed", [0.0, 0.02, 0.1, 0.4])
@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("first", [0.0, 0.3])
def test_trainings_approach_the_time_that_is_given(monkeypatch, fixed, noise, first):
    """By a made-up clock, so that nothing else on the machine tells; the first is slow."""
    clock, rng, late = [0.0], np.random.default_rng(0), [first]

    def sleep(seconds):
        clock[0] += seconds * (1 + noise * rng.uniform(-1, 1)) + late[0]
        late[0] = 0.0

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    points = compare.compare(SPLIT, iter([contender(fixed=fixed)]), 0.8, lambda text: None)
    seconds = np.array([point["seconds"] for point in points])
    work = np.array([point["work"] for point in points])
    assert np.all(np.diff(work) > 0)
    assert 0.7 < seconds[-1] < 1.2
    assert len(points) <= 12
    assert {"method", "work", "unit", "seconds", "r2", "rmse"} == set(points[0])


def test_a_method_with_an_end_of_its_own_is_not_trained_again():
    points = compare.compare(SPLIT, iter([contender(most=60)]), 5.0, lambda text: None)
    assert [point["work"] for point in points][-1] == 60
    assert max(point["work"] for point in points[:-1]) < 60


def test_slow_methods_are_trained_once():
    points = compare.compare(SPLIT, iter([contender(fixed=0.05)]), 0.01, lambda text: None)
    assert len(points) == 1


def test_a_method_that_fails_says_why():
    class Failing(Timed):
        def fit(self, X, y):
            if self.steps > 5:
                raise FloatingPointError("the loss is\nnot finite")
            return self

    told = []
    failing = compare.Contender("failing", "steps", Failing, lambda model: model.steps)
    points = compare.compare(SPLIT, iter([failing, contender(most=50)]), 0.5, told.append)
    assert points[1]["error"] == "the loss is not finite"
    assert "failing: the loss is not finite" in told
    text = compare.table(points)
    assert text.splitlines()[-1].startswith("failing")
    assert "not finite" in text.splitlines()[-1]


@pytest.mark.parametrize("classification", [True, False])
def test_entered_methods_learn(classification):
    X, y = (datasets.load_wine if classification else datasets.load_diabetes)(return_X_y=True)
    split = compare.Split(X[::2], y[::2], X[1::2], y[1::2])
    entered = list(compare.contenders(compare.METHODS, classification, False, 0))
    assert [one.name for one in entered][-5:] == ["Adam 0.01", "Adam 0.001", "Adam 0.0001", "MLP",
                                                  "scaler + MLP"]
    for one in entered:
        model = one.make(60)
        if "MLP" in one.name:
            continue
        model.fit(split.X, split.y)
        assert one.done(model) == 60 + model.n_steps_
        assert np.isfinite(list(compare.scores(model, split.X_held, split.y_held).values())).all()
    (only,) = compare.contenders(("Momentum",), classification, False, 0, learning_rate=0.5)
    assert only.make(5).optimizer.learning_rate == 0.5


def test_command_prints_a_table_and_leaves_a_picture(run, folder):
    datasets.load_wine(as_frame=True).frame.to_csv("wine.csv", index=False)
    said = run("train", "wine.csv", "--target", "target", "--epochs", 2, "--out", "o", "--compare",
               "adam", "mlp", "diagonal-gauss-newton", "--seconds", 0.05, "--json").splitlines()
    points = json.loads(said[-1])["comparison"]
    names = {"this run", "Adam 0.01", "Adam 0.001", "Adam 0.0001", "MLP", "scaler + MLP",
             "DiagonalGaussNewton"}
    assert {point["method"] for point in points} == names
    assert json.loads((folder / "o/run.json").read_text())["result"]["comparison"] == points
    start = next(i for i, line in enumerate(said) if "accuracy" in line and "seconds" in line)
    rows = said[start + 1:start + 1 + len(names)]
    accuracy = [float(row.split()[-2]) for row in rows]
    assert accuracy == sorted(accuracy, reverse=True)
    assert (folder / "o/comparison.png").read_bytes().startswith(b"\x89PNG")
    assert 'compare = ["Adam", "MLP", "DiagonalGaussNewton"]' in (folder / "o/run.toml").read_text()
    again = run("train", "--config", "o/run.toml", "--out", "p", "--json").splitlines()[-1]
    assert {point["method"] for point in json.loads(again)["comparison"]} == names


def test_digits_are_compared_too(run, folder):
    alone = json.loads(run("train", "--epochs", 1, "--hidden", 20, "--json").splitlines()[-1])
    record = json.loads(run("train", "--epochs", 1, "--hidden", 20, "--compare", "momentum",
                            "--learning-rate", 0.01, "--seconds", 0.1, "--json").splitlines()[-1])
    assert {point["method"] for point in record["comparison"]} == {"this run", "Momentum 0.01"}
    assert record["loss"] == alone["loss"]


def test_an_interrupt_keeps_what_is_finished():
    class Interrupted(Timed):
        def fit(self, X, y):
            raise KeyboardInterrupt

    told = []
    last = compare.Contender("last", "steps", Interrupted, lambda model: model.steps)
    points = compare.compare(SPLIT, iter([contender(), last]), 0.01, told.append)
    assert {point["method"] for point in points} == {"timed"}
    assert told[-1] == "interrupted"


def test_faults_of_the_options(run, folder):
    for option in (("--ignore", "a"), ("--text", "a"), ("--missing", "a"), ("--test", "a.csv"),
                   ("--task", "regression")):
        assert f"{option[0]}" in run("train", *option, fails=True)
    assert "--seconds is of --compare" in run("train", "--seconds", 1, fails=True)
    with pytest.raises(SystemExit):
        run("train", "--compare", "adams")
    run("train", "--epochs", 1, "--hidden", 4, "--out", "o")
    assert "--compare makes new networks" in run(
        "train", "--model", "o/model.safetensors", "--compare", "adam", fails=True)
