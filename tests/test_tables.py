"""Tables in files: what is read, learned, trained, written, and how faults are told."""

import json

import numpy as np
import pytest
from sklearn import datasets

import fisherkern as fk
from fisherkern.table_model import TableModel, guess_task
from fisherkern.tables import Column, encode, read_table, write_table

pandas = pytest.importorskip("pandas")

QUICK = {"max_steps": 100, "n_networks": 2, "random_state": 0}


def wine():
    """Numbers with gaps, texts with gaps, a label of text."""
    frame = datasets.load_wine(as_frame=True).frame
    frame["kind"] = np.array(["Ätna", "b", "c"])[frame.pop("target")]
    frame["color"] = np.where(frame.hue > 1, "red", "white")
    frame["color"] = frame.color.astype(object)
    frame.loc[3, "alcohol"], frame.loc[5, "color"] = np.nan, None
    return frame


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_written_tables_are_read_again(folder, suffix):
    frame = wine()
    write_table(frame, f"wine.{suffix}")
    again = read_table(f"wine.{suffix}")
    assert list(again.columns) == list(frame.columns)
    columns = [Column.learn(frame[name], "wine") for name in frame.columns]
    np.testing.assert_allclose(encode(columns, again, "again"), encode(columns, frame, "wine"))


def test_arrays_are_columns(folder):
    np.savez("a.npz", X=np.arange(6.0).reshape(3, 2), y=np.array(["u", "v", "u"]))
    frame = read_table("a.npz")
    assert list(frame.columns) == ["X[0]", "X[1]", "y"]
    assert frame["X[1]"].tolist() == [1, 3, 5]


FAULTS = {
    "empty.csv": (b"", "'empty.csv' holds no rows"),
    "header.csv": (b"a,b\n", "'header.csv' holds no rows"),
    "short.csv": (b"a,b\n1,2\n3\n", "'short.csv', row 2 has 1 fields, and the header 2"),
    "long.csv": (b"a,b\n1,2\n3,4,5\n", "'long.csv', row 2 has 3 fields, and the header 2"),
    "latin.csv": ("a,b\n1,x\n2,\xe4\n".encode("latin-1"),
                  "'latin.csv', row 2, column 'b': byte 0xe4 is not UTF-8"),
    "gap.csv": (b"a,b\n1,2\n\n3,4\n", "'gap.csv', row 2 is empty, and there are more"),
    "quote.csv": (b'a,b\n1,2\n3,"4', "'quote.csv' cannot be read after row"),
    "twice.csv": (b"a,a\n1,2\n", "'twice.csv' has two columns 'a'"),
    "torn.parquet": (b"PAR1 and no more", "'torn.parquet' is truncated or no Parquet file"),
    "torn.npz": (b"PK\x03\x04", "'torn.npz' is truncated or no .npz file"),
    "a.xlsx": (b"", "'a.xlsx' is of no known format"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_files_are_one_line(run, folder, name):
    data, message = FAULTS[name]
    (folder / name).write_bytes(data)
    assert message in run("train", name, "--target", "b", fails=True)
    assert "no data file 'none.csv'" in run("train", "none.csv", "--target", "b", fails=True)
    assert not (folder / "fisherkern-runs").exists()


def test_byte_order_mark_and_quoted_lines_are_read(folder):
    (folder / "a.csv").write_bytes('\ufeffa,b\n1,"two\nlines"\n2,"x,y"\n'.encode())
    frame = read_table("a.csv")
    assert frame["b"].tolist() == ["two\nlines", "x,y"]


# --- columns --------------------------------------------------------------------------------------


def test_missing_numbers_are_their_median_and_said():
    values = pandas.Series([1.0, np.nan, 3.0, 10.0], name="a")
    column = Column.learn(values, "t")
    # less the median, so that float32 keeps the digits of numbers far from 0
    np.testing.assert_array_equal(column.encode(values, "t"), [[-2, 0], [0, 1], [0, 0], [7, 0]])
    plain = Column.learn(values.dropna() + 1e12, "t")
    np.testing.assert_array_equal(plain.encode(values + 1e12, "t")[:, 0], [-2, 0, 0, 7])


@pytest.mark.parametrize("unit", [1e-310, 1e-50, 1e-20, 1e20, 1e200, 1e307])
def test_numbers_may_have_any_unit(run, folder, unit):
    z = np.random.default_rng(0).normal(size=(400, 2))
    frame = pandas.DataFrame({"a": z[:, 0] * unit, "b": z[:, 1], "y": z[:, 0] > 0})
    frame.to_csv("a.csv", index=False)
    record = json.loads(run("train", "a.csv", "--target", "y", "--epochs", 20, "--out", "o",
                            "--json").splitlines()[-1])
    assert record["accuracy"] > 0.95
    scores = json.loads(run("evaluate", "o/model.safetensors", "a.csv", "--json"))
    assert scores["accuracy"] > 0.95


def test_texts_are_flags_and_unseen_ones_none():
    column = Column.learn(pandas.Series(["v", "u", None, "v"], name="a"), "t")
    assert column.levels == ["u", "v"]
    seen = column.encode(pandas.Series(["u", "w", None], name="a"), "t")
    np.testing.assert_array_equal(seen, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_rare_texts_have_no_feature():
    values = pandas.Series([f"t{i}" for i in range(150)] + ["t149", "t148"], name="a")
    column = Column.learn(values, "t")
    assert column.width == 50
    assert {"t148", "t149"} <= set(column.levels)


def test_texts_are_taken_as_they_stand_in_the_file(folder):
    (folder / "a.csv").write_text("zip,code,g\n01234,7,A\n98765,8,B\n01234,7,2\n")
    (folder / "b.csv").write_text("zip,code,g\n,8,1\n01234,,2\n98765,7,\n")
    train, other = read_table("a.csv"), read_table("b.csv")
    columns = [Column.learn(train["zip"], "a"), Column.learn(train["code"], "a", as_text=True),
               Column.learn(train["g"], "a")]
    assert [column.levels for column in columns] == [["01234", "98765"], ["7", "8"],
                                                     ["2", "A", "B"]]
    np.testing.assert_array_equal(encode(columns, other, "b"), [
        [0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0, 0]])


def test_what_says_missing_can_be_chosen(folder):
    (folder / "a.csv").write_text("a,b\n1,NA\n?,None\n,x\n")
    frame = read_table("a.csv")
    assert frame["a"].isna().tolist() == [False, False, True]
    assert frame["b"].isna().tolist() == [True, False, False]
    frame = read_table("a.csv", missing=["?", ""])
    assert frame["a"].isna().tolist() == [False, True, True]
    assert frame["b"].tolist() == ["NA", "None", "x"]


@pytest.mark.parametrize(("values", "message"), [
    (pandas.to_datetime(["2020-01-01", None]), "holds dates"),
    ([[1, 2], [3]], r"row 1, column 'a': \[1, 2\] is no number and no text"),
    (np.array([1 + 2j]), "holds complex128")])
def test_columns_of_other_things_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Column.learn(pandas.Series(values, name="a"), "t")


def test_numbers_may_be_names(folder):
    column = Column.learn(pandas.Series([12, 7, 12], name="zip"), "t", as_text=True)
    assert column.levels == ["12", "7"]
    np.testing.assert_array_equal(column.encode(pandas.Series(["7", "8"]), "t"), [[0, 1], [0, 0]])


@pytest.mark.parametrize(("values", "task"), [
    ([0, 1, 2] * 10, "classification"), (["a", "b"], "classification"), ([True], "classification"),
    ([0.5, 1.5], "regression"), (list(range(21)), "regression"), ([1.0, 2.0], "classification")])
def test_guessed_task(values, task):
    assert guess_task(pandas.Series(values), "a") == task


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["kind", "proline"])
def test_saved_model_predicts_the_same(folder, target):
    frame = wine()
    frame["alcohol"] = np.exp(9 * (frame["alcohol"] - 13))
    model = TableModel.fit(frame, target, "wine", **QUICK)
    tails = model.estimator._inputs.tails
    assert tails.limit[0] < 4 * tails.spread[0] < tails.limit[2]
    model.save("model.safetensors")
    again = TableModel.load("model.safetensors")
    assert repr(again) == repr(model)
    shuffled = frame[list(frame.columns)[::-1]]  # columns are found by name
    pandas.testing.assert_frame_equal(again.predict(shuffled, "w"), model.predict(frame, "w"))
    assert again.evaluate(frame, "w") == model.evaluate(frame, "w")


def test_model_files_are_checked(folder):
    import safetensors.numpy

    model = TableModel.fit(wine(), "proline", "wine", **QUICK)
    model.save("model.safetensors")
    with safetensors.safe_open("model.safetensors", "numpy") as file:
        header, arrays = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    definition = json.loads(header["definition"])
    for changes, other in (({"scale": arrays["scale"][:-1]}, {}), ({}, {"task": "guess"}),
                           ({"0.theta": arrays["0.theta"][1:]}, {}), ({}, {"networks": []}),
                           ({"mean": np.array([np.nan])}, {}), ({}, {"columns": [{"name": "a"}]}),
                           ({}, {"columns": None})):
        data = safetensors.numpy.save(
            arrays | changes, header | {"definition": json.dumps(definition | other)})
        (folder / "bad.safetensors").write_bytes(data)
        with pytest.raises(ValueError, match=r"'bad.safetensors' holds no model of tables"):
            TableModel.load("bad.safetensors")


# --- commands -------------------------------------------------------------------------------------


def test_train_predict_and_evaluate(run, folder):
    frame = wine()
    frame.to_csv("wine.csv", index=False)
    record = json.loads(run("train", "wine.csv", "--target", "kind", "--out", "out", "--epochs", 40,
                            "--json").splitlines()[-1])
    assert record["accuracy"] > 0.9
    assert (record["task"], record["rows"], record["held_out"]) == ("classification", 134, 44)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "held-out.png", "loss.png", "model.safetensors", "network.png", "run.json", "run.toml"]
    frame.drop(columns="kind").to_parquet("new.parquet")
    run("predict", "out/model.safetensors", "new.parquet", "--out", "predicted.csv")
    predicted = read_table("predicted.csv")
    assert list(predicted.columns) == ["kind", "p(b)", "p(c)", "p(Ätna)"]
    assert (predicted.kind == frame.kind).mean() > 0.9
    said = run("predict", "out/model.safetensors", "new.parquet")
    assert said.splitlines()[0] == "kind,p(b),p(c),p(Ätna)"
    lines = run("predict", "out/model.safetensors", "new.parquet", "--json").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == predicted.kind.tolist()
    assert json.loads(lines[0])["p(b)"] == pytest.approx(float(predicted["p(b)"][0]), rel=1e-9)
    told = json.loads(run("info", "out/model.safetensors", "--json"))
    assert (told["target"], told["task"], len(told["columns"])) == ("kind", "classification", 14)
    scores = json.loads(run("evaluate", "out/model.safetensors", "wine.csv", "--json"))
    assert scores["accuracy"] == (predicted.kind == frame.kind).mean()
    assert f"accuracy {scores['accuracy']:.4g}, loss" in run(
        "evaluate", "out/model.safetensors", "wine.csv")


def test_regression_with_a_test_file(run, folder):
    frame = datasets.load_diabetes(as_frame=True, scaled=False).frame
    frame[:300].to_csv("a.tsv", sep="\t", index=False)
    frame[300:].to_csv("b.tsv", sep="\t", index=False)
    record = json.loads(run("train", "a.tsv", "--target", "target", "--test", "b.tsv", "--ignore",
                            "s1", "--text", "sex", "--json").splitlines()[-1])
    assert record["task"] == "regression"
    assert record["held_out"] == 142
    assert record["r2"] > 0.35
    model = TableModel.load(f"{record['folder']}/model.safetensors")
    assert "s1" not in [column.name for column in model.columns]
    assert next(c for c in model.columns if c.name == "sex").levels == ["1.0", "2.0"]
    assert model.evaluate(frame[300:], "b")["r2"] == record["r2"]


def test_faults_of_columns_name_file_row_and_column(run, folder):
    frame = wine()
    frame.to_csv("wine.csv", index=False)
    run("train", "wine.csv", "--target", "kind", "--out", "out", "--epochs", 1)
    model = "out/model.safetensors"

    def fault(change, *command):
        other = wine().astype({"alcohol": object})
        change(other)
        other.to_csv("bad.csv", index=False)
        return run(*command, fails=True)

    def put(row, column, value):
        return lambda table: table.__setitem__(column, [
            value if i == row else v for i, v in enumerate(table[column])])

    train = ("train", "bad.csv", "--target", "kind")
    told = fault(put(17, "alcohol", "strong"), *train)
    assert "'bad.csv', row 18, column 'alcohol': 'strong' is no finite number" in told
    assert "--text alcohol" in told
    told = fault(put(17, "alcohol", "strong"), "predict", model, "bad.csv")
    assert "'bad.csv', row 18, column 'alcohol': 'strong' is no finite number" in told
    told = fault(put(9, "alcohol", np.inf), *train)
    assert "'bad.csv', row 10, column 'alcohol': 'inf' is no finite number" in told
    told = fault(put(30, "kind", None), *train)
    assert "'bad.csv', row 31, column 'kind': the target is missing" in told
    told = fault(put(30, "kind", "d"), "evaluate", model, "bad.csv")
    assert "row 31, column 'kind': 'd' is none of the labels b, c, Ätna" in told
    told = fault(lambda table: table.pop("hue"), "predict", model, "bad.csv")
    assert "'bad.csv' has no column 'hue'" in told
    told = fault(lambda table: table.pop("kind"), "evaluate", model,
                 "bad.csv")
    assert "'bad.csv' has no column 'kind', the target" in told
    assert "'wine.csv' has no column 'tint', the target; it has alcohol," in run(
        "train", "wine.csv", "--target", "tint", fails=True)
    assert "--target" in run("train", "wine.csv", fails=True)
    assert "ignore: 'wine.csv' has no column 'tint'" in run(
        "train", "wine.csv", "--target", "kind", "--ignore", "tint", fails=True)
    for option in (("--model", "x"), ("--patience", "3"), ("--dtype", "float32")):
        assert f"{option[0]} is not for tables" in run(
            "train", "wine.csv", "--target", "kind", *option, fails=True)


def test_network_files_are_told_from_models(run, folder):
    fk.Network(1, [(0, 1)]).save("net.safetensors")
    wine().to_csv("wine.csv", index=False)
    told = run("predict", "net.safetensors", "wine.csv", fails=True)
    assert "'net.safetensors' holds no model of tables: its header says 'fisherkern.net" in told
    assert run("info", "net.safetensors").startswith("<Network")
    TableModel.fit(wine(), "proline", "wine", **QUICK).save("model.safetensors")
    assert run("info", "model.safetensors").startswith("<TableModel of 'proline'")


def test_labels_of_one_row_are_trained_on(run, folder):
    frame = wine()
    frame.loc[[0, 50, 100], "kind"] = ["p", "q", "r"]
    frame.to_csv("wine.csv", index=False)
    for seed in range(3):
        said = run("train", "wine.csv", "--target", "kind", "--epochs", 1, "--seed", seed)
        assert "classification (guessed)" in said
        assert "columns of numbers: 13 (alcohol" in said
        assert "texts: 1 (color); with missing values: " in said


@pytest.mark.parametrize(("label", "message"), [
    (lambda i: "p", "'a.csv', column 'y': all labels are 'p'; a classifier needs two"),
    (lambda i: f"p{i}", "'a.csv', column 'y': all of the 40 labels are different"),
])
def test_labels_that_tell_nothing_apart(run, folder, label, message):
    frame = pandas.DataFrame({"a": np.arange(40.0), "y": [label(i) for i in range(40)]})
    frame.to_csv("a.csv", index=False)
    assert message in run("train", "a.csv", "--target", "y", "--out", "o", fails=True)
    assert not (folder / "o").exists()


def test_a_column_may_have_the_name_of_an_option(run, folder):
    count = np.arange(40)
    frame = pandas.DataFrame({"-a": count / 2, "b": count % 3, "-y": count % 2})
    frame.to_csv("a.csv", index=False)
    run("train", "a.csv", "--target=-y", "--ignore=-a", "--epochs", 1, "--out", "o")
    assert TableModel.load("o/model.safetensors").columns[0].name == "b"
    run("train", "--config", "o/run.toml", "--out", "p")
    assert (folder / "o/run.toml").read_text() == (folder / "p/run.toml").read_text()
    assert "--missing names no text" in run("train", "a.csv", "--target=-y", "--missing=--",
                                            fails=True)


def test_faults_of_the_test_file_are_told_before_the_work(run, folder):
    wine().to_csv("wine.csv", index=False)
    wine().drop(columns="hue").to_csv("short.csv", index=False)
    wine().replace("b", "d").to_csv("other.csv", index=False)
    train = ("train", "wine.csv", "--target", "kind", "--out", "out", "--test")
    assert "'short.csv' has no column 'hue'" in run(*train, "short.csv", fails=True)
    told = run(*train, "other.csv", fails=True)
    assert "'other.csv', row 60, column 'kind': 'd' is none of the labels b, c, Ätna" in told
    assert not (folder / "out").exists()


def test_labels_are_the_same_in_every_format(run, folder):
    frame = wine()
    frame["kind"] = frame.kind.map({"Ätna": 1, "b": 2, "c": 3})
    frame.to_csv("wine.csv", index=False)
    frame.set_index(pandas.Index(range(5000, 5178), name="id")).astype(
        {"kind": "float64"}).to_parquet("wine.parquet")
    run("train", "wine.csv", "--target", "kind", "--out", "out")
    scores = [run("evaluate", "out/model.safetensors", f"wine.{suffix}").split(":")[1]
              for suffix in ("csv", "parquet")]
    assert scores[0] == scores[1]
    frame.loc[4, "kind"] = 9
    frame.to_parquet("bad.parquet")
    assert "'bad.parquet', row 5, column 'kind': 9 is none of the labels 1, 2, 3" in run(
        "evaluate", "out/model.safetensors", "bad.parquet", fails=True)


def test_scores_that_are_not_defined_are_null(run, folder):
    frame = pandas.DataFrame({"a": np.arange(30.0), "y": np.full(30, 0.5)})
    frame.to_csv("a.csv", index=False)
    record = json.loads(run("train", "a.csv", "--target", "y", "--json",
                            "--epochs", 1).splitlines()[-1])
    assert record["task"] == "regression"
    assert record["r2"] is None


def test_options_that_do_nothing_are_refused(run, folder):
    wine().to_csv("wine.csv", index=False)
    assert "--learning-rate is of an --optimizer" in run(
        "train", "wine.csv", "--target", "kind", "--learning-rate", 0.1, fails=True)
    TableModel.fit(wine(), "proline", "wine", **QUICK).save("model.safetensors")
    assert "there is no folder 'none'" in run("predict", "model.safetensors", "wine.csv", "--out",
                                              "none/a.csv", fails=True)


def test_a_fit_that_fails_leaves_no_folder(run, folder):
    write_table(wine(), "wine.csv")
    assert "not finite" in run("train", "wine.csv", "--target", "kind", "--optimizer",
                               "backpropagation", "--learning-rate", 1e30, "--out", "o", fails=True)
    assert not (folder / "o").exists()
    (folder / "mine").mkdir()
    run("train", "wine.csv", "--target", "none", "--out", "mine", fails=True)
    assert (folder / "mine").is_dir()


def test_large_share_leaves_every_label_in_proportion(run, folder):
    frame = pandas.DataFrame({"a": np.arange(40.0), "y": ["u"] * 30 + ["v"] * 10})
    frame.to_csv("a.csv", index=False)
    said = run("train", "a.csv", "--target", "y", "--test-share", 0.5, "--epochs", 1)
    assert "20 rows to train on, 20 held out" in said
    assert "--test-share 0.001 holds out 0 of 40 rows" in run(
        "train", "a.csv", "--target", "y", "--test-share", 0.001, fails=True)


# --- configurations -------------------------------------------------------------------------------


def test_run_is_repeated_by_the_file_that_it_leaves(run, folder):
    wine().rename(columns={"hue": 'h"ü\\e\t'}).to_csv("wine.csv", index=False)
    first = json.loads(run("train", "wine.csv", "--target", "kind", "--ignore", 'h"ü\\e\t', "ash",
                           "--hidden", 20, 10, "--epochs", 3, "--seed", 4, "--test-share", 0.3,
                           "--out", "one", "--json").splitlines()[-1])
    second = json.loads(run("train", "--config", "one/run.toml", "--out", "two",
                            "--json").splitlines()[-1])
    other = json.loads(run("train", "--config", "one/run.toml", "--seed", 5, "--json")
                       .splitlines()[-1])
    assert (folder / "two/run.toml").read_text() == (folder / "one/run.toml").read_text()
    one, two = (TableModel.load(f"{name}/model.safetensors").predict(read_table("wine.csv"), "w")
                for name in ("one", "two"))
    pandas.testing.assert_frame_equal(one, two)
    assert first["loss"] == second["loss"] != other["loss"]
    assert other["seed"] == 5


def test_command_line_wins_over_the_file(run, folder):
    wine().to_csv("a.csv", index=False)
    wine()[:100].to_csv("b.csv", index=False)
    (folder / "c.toml").write_text('data = "a.csv"\ntarget = "kind"\nhidden = [5]\nepochs = 1\n')
    assert run("train", "--config", "c.toml").startswith("a.csv: 134 rows")
    said = run("train", "b.csv", "--config", "c.toml", "--hidden", 7, 3)
    assert said.startswith("b.csv: 75 rows")


@pytest.mark.parametrize(("text", "message"), [
    ("hidden = [5", "'c.toml' is no TOML file"), ("hiden = 5", "'hiden', which is no option"),
    ("out = 'x'", "'out', which is no option"), ("epochs = true", "gives epochs = True"),
    ("hidden = {a = 1}", "gives hidden"), (None, "no file 'c.toml'")])
def test_faults_of_configurations(run, folder, text, message):
    if text is not None:
        (folder / "c.toml").write_text(text)
    told = run("train", "--config", "c.toml", fails=True)
    assert "--config" in told
    assert message in told


def test_a_number_that_is_none_among_targets_is_a_fault(run, folder):
    frame = wine()
    for name, column, bad in (("a.csv", "hue", "1.0x"), ("b.csv", "label", "oops")):
        frame["label"] = np.arange(len(frame)) % 3
        frame[column] = frame[column].astype(object)
        frame.loc[100, column] = bad
        write_table(frame, name)
        assert f"'{name}', row 101, column '{column}': '{bad}' is no number, as most" in run(
            "train", name, "--target", column, fails=True)
    run("train", "b.csv", "--target", "label", "--ignore", "hue", "--task", "classification",
        "--epochs", 1, "--out", "o")
    classes = TableModel.load("o/model.safetensors").estimator.classes_
    assert classes.tolist() == ["0", "1", "2", "oops"]
    assert "row 1, column 'ash': '2.43' is no label; labels are texts, or whole" in run(
        "train", "b.csv", "--target", "ash", "--ignore", "hue", "--task", "classification",
        fails=True)


def test_faults_of_held_out_rows_come_before_the_work(run, folder, monkeypatch):
    def work(*given):
        raise AssertionError("trained before it was looked at")

    monkeypatch.setattr(TableModel, "fit_rows", work)
    frame = wine()
    write_table(frame, "a.csv")
    frame["hue"] = frame.hue.astype(object)
    frame.loc[7, "hue"] = "oops"
    write_table(frame, "b.csv")
    assert "'b.csv', row 8, column 'hue': 'oops'" in run(
        "train", "a.csv", "--target", "kind", "--test", "b.csv", "--out", "o", fails=True)
    assert not (folder / "o").exists()


def test_labels_with_dollars_and_what_is_read_are_kept(run, folder):
    frame = wine()
    frame["kind"] = np.array(["$5_$", "$10$ x", "c"])[frame.kind.astype("category").cat.codes]
    write_table(frame, "a.csv")
    run("train", "a.csv", "--target", "kind", "--epochs", 1, "--out", "o")
    assert (folder / "o/held-out.png").is_file()
    before = (folder / "a.csv").read_bytes()
    for name in ("a.csv", "./a.csv"):
        assert "is what it is made from" in run("predict", "o/model.safetensors", "a.csv", "--out",
                                                name, fails=True)
    assert (folder / "a.csv").read_bytes() == before


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_targets_of_extreme_units(run, folder, factor):
    frame = wine()
    frame["hue"] *= factor
    write_table(frame, "a.csv")
    record = json.loads(run("train", "a.csv", "--target", "hue", "--epochs", 20, "--out", "o",
                            "--json").splitlines()[-1])
    assert record["r2"] > 0.3
    assert record["rmse"] < 0.3 * factor
    again = json.loads(run("evaluate", "o/model.safetensors", "a.csv", "--json"))
    assert 0.3 < again["r2"] < 1


def test_models_of_data_frames_keep_their_index(folder):
    frame = wine().set_index(np.array([f"r{i}" for i in range(178)], object))
    net = fk.Network.layered([13, 5, 1], interpretation="square", dtype="float32", rng=0,
                             activation=["tanh"] * 5 + ["identity"])
    model = TableModel.fit(frame.drop(columns=["color", "alcohol"]).assign(more=1.0, most=2.0),
                           "proline", "f", max_steps=5, network=net, ignore=["kind"])
    model.save("m.safetensors")
    again = TableModel.load("m.safetensors").predict(frame.assign(more=1.0, most=2.0), "f")
    pandas.testing.assert_frame_equal(again, model.predict(frame.assign(more=1.0, most=2.0), "f"))
    assert again.index.equals(frame.index)
    frame["hue"] = frame.hue.astype(object)
    frame.iloc[5, frame.columns.get_loc("hue")] = "x"
    with pytest.raises(ValueError, match="row 6, column 'hue'"):
        TableModel.fit(frame, "proline", "f")
    with pytest.raises(ValueError, match="ignore: 'proline' is the target"):
        TableModel.fit(frame, "proline", "f", ignore=["proline"])


def test_records_of_arrays_are_told(folder):
    np.savez("a.npz", a=np.zeros(3, [("x", float)]))
    with pytest.raises(ValueError, match=r"'a.npz': array 'a' holds records"):
        read_table("a.npz")


def test_faults_of_options_name_the_configuration(run, folder, capsys):
    (folder / "a.toml").write_text('ignore = ["a", "-b"]\n')
    with pytest.raises(SystemExit):
        run("train", "--config", "a.toml", fails=True)
    assert "train --config a.toml: error: unrecognized arguments: -b" in capsys.readouterr().err
