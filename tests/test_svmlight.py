"""svmlight files: what is read, how faults are told, and that nothing is densified."""

import json

import numpy as np
import pytest
import scipy.sparse
from sklearn import datasets

from fisherkern.table_model import TableModel
from fisherkern.tables import read_table


def digits(name, rows, **options):
    X, y = datasets.load_digits(return_X_y=True)
    datasets.dump_svmlight_file(X[rows], y[rows], name, **options)
    return X[rows], y[rows]


def test_trained_evaluated_and_predicted(run, folder):
    digits("a.svm", slice(0, 1000), zero_based=False)
    X, y = digits("b.svmlight", slice(1000, None), zero_based=False)
    record = json.loads(run("train", "a.svm", "--test", "b.svmlight", "--epochs", 20, "--out", "o",
                            "--json").splitlines()[-1])
    assert record["accuracy"] > 0.9
    scores = json.loads(run("evaluate", "o/model.safetensors", "b.svmlight", "--json"))
    assert scores["accuracy"] == record["accuracy"]
    run("predict", "o/model.safetensors", "b.svmlight", "--out", "p.csv")
    told = read_table("p.csv")["target"].astype(int).to_numpy()
    assert np.mean(told == y) == record["accuracy"]
    # the numbers of the file are the places of the features
    estimator = TableModel.load("o/model.safetensors").estimator
    np.testing.assert_array_equal(estimator.predict(np.pad(X, ((0, 0), (1, 0)))), told)
    again = run("train", "--config", "o/run.toml", "--out", "o2", "--json").splitlines()[-1]
    assert json.loads(again)["loss"] == record["loss"]


def test_a_file_may_name_fewer_or_more_features(folder):
    (folder / "a.svm").write_text("1 1:2 3:4\n0 2:1\n" * 20)
    model = TableModel.fit(read_table("a.svm"), "target", "a.svm", max_steps=5, n_networks=1)
    (folder / "b.svm").write_text("# none\n1 1:2 # two\n\n0 2:1 7:5\n")
    frame = read_table("b.svm")
    (features,) = model.columns
    np.testing.assert_array_equal(features.encode(frame, "b").toarray(),
                                  [[0, 2, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(frame.matrix.toarray()[:, 7], [0, 5])
    assert len(model.predict(frame, "b.svm")) == 2


def test_wide_files_stay_sparse(folder):
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((200, 30_000), density=1e-3, rng=rng, format="csr")
    datasets.dump_svmlight_file(X, rng.integers(2, size=200), "a.svm")
    frame = read_table("a.svm")
    assert scipy.sparse.issparse(frame[np.arange(200) < 50].matrix)
    model = TableModel.fit(frame, "target", "a.svm", max_steps=3, n_networks=1)
    model.save("m.safetensors")
    assert TableModel.load("m.safetensors").evaluate(frame, "a.svm") == model.evaluate(
        frame, "a.svm")


FAULTS = {
    "": "'a.svm' holds no rows",
    "# nothing\n\n": "'a.svm' holds no rows",
    "1 1:2\n0 1:x\n1 2:1\n": "'a.svm', line 2: could not convert string to float: b'x'",
    "1 1:2\n\n# c\nspam 1:1\n": "'a.svm', line 4: could not convert string to float: b'spam'",
    "1 1:2\n0 2:1 3:": "'a.svm', line 2: could not convert",
    "1 1:2\n0 3:1 2:1\n": "'a.svm', line 2: Feature indices in SVMlight/LibSVM data file should be",
    "1 -1:2\n": "'a.svm', line 1: Invalid index -1",
    "1 99999999999:2\n": "'a.svm', line 1: value too large",
    "1 16777216:2\n": "'a.svm' has a feature of number 16777216; they must be below 16777216",
    "1 1:2\n0 1:3 2:nan\n": "'a.svm', row 2, feature 2: nan is no finite number",
    "1 1:2\ninf 2:1\n": "'a.svm', row 2, the target: inf is no finite number",
    "1 1:2\n0 1:3 \xe4\n": "'a.svm', line 2: ",
}


@pytest.mark.parametrize("text", FAULTS)
def test_faults_are_told_with_their_place(run, folder, text):
    (folder / "a.svm").write_bytes(text.encode("latin-1"))
    assert FAULTS[text] in run("train", "a.svm", fails=True)


def test_other_formats_at_prediction(run, folder):
    X, y = digits("a.svm", slice(0, 300))
    run("train", "a.svm", "--epochs", 1, "--out", "o")
    np.savez("a.npz", X=X, target=y)
    assert "'a.npz' is no svmlight file (.svm, .svmlight, .libsvm), and the model" in run(
        "predict", "o/model.safetensors", "a.npz", fails=True)
    run("train", "a.npz", "--target", "target", "--epochs", 1, "--out", "p")
    assert "'a.svm' has no column 'X[0]'" in run("predict", "p/model.safetensors", "a.svm",
                                                 fails=True)
    assert "'a.svm' has no column 'y', the target; it has target" in run(
        "train", "a.svm", "--target", "y", fails=True)
    assert "ignore: 'a.svm' has no column '3'" in run("train", "a.svm", "--ignore", "3", fails=True)
