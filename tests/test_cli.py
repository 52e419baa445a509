"""`python -m fisherkern`: what it prints, writes and returns, good input and bad."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from sklearn.datasets import load_digits

import fisherkern as fk
from fisherkern import cli
from fisherkern.run_config import to_toml

REPOSITORY = Path(__file__).parents[1]
PNG = b"\x89PNG\r\n\x1a\n"


def command(folder, *arguments, wait=True):
    """The finished process of a command run in `folder`, or with wait=False the running one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fisherkern", *map(str, arguments)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    if not wait:
        return process
    output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def test_a_reader_that_stops_is_no_fault(tmp_path):
    with subprocess.Popen(
            [sys.executable, "-m", "fisherkern", "info"], cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}) as process:
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


def result(finished):
    """The JSON of a run's last line."""
    assert (finished.returncode, finished.stderr) == (0, "")
    return json.loads(finished.stdout.splitlines()[-1])


@pytest.fixture
def train(capsys, tmp_path, monkeypatch):
    """The record of a run in a new folder, without the time of a new interpreter."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        assert cli.main(["train", "--json", *map(str, arguments)]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return json.loads(captured.out.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def digits():
    return load_digits(return_X_y=True)


# --- train ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    return folder, command(folder, "train", "--json")


def test_default_train_reaches_the_accuracy_on_raw_digits(default):
    record = result(default[1])
    assert record["accuracy"] >= 0.965
    assert 0 < record["loss"] < 0.3
    assert record["seconds"] > 0
    assert record["steps_per_second"] == pytest.approx(record["steps"] / record["seconds"])


def test_default_train_writes_model_picture_and_record(default, digits):
    folder, finished = default
    record = result(finished)
    out = folder / record["folder"]
    assert sorted(path.name for path in out.iterdir()) == [
        "loss.png", "model.safetensors", "run.json", "run.toml"]
    assert (out / "loss.png").read_bytes()[:8] == PNG
    net = fk.load(out / "model.safetensors")
    assert (net.n_inputs, net.n_outputs, net.dtype) == (64, 10, np.float32)
    assert np.mean(net.forward(digits[0]).argmax(axis=1) == digits[1]) > 0.98
    saved = json.loads((out / "run.json").read_text())
    assert saved["result"]["accuracy"] == record["accuracy"]
    assert saved["result"]["labels"] == list(range(10))
    assert len(saved["history"]["loss"]) == record["steps"]


def test_output_names_data_network_result_and_folder(default):
    lines = default[1].stdout.splitlines()
    record = json.loads(lines[-1])
    assert lines[0] == ("digits: 1347 samples to train on, 450 held out, 64 raw features, "
                        "10 classes")
    assert lines[1].startswith("<Network 64 inputs")
    assert lines[-3].startswith(f"held-out accuracy {record['accuracy']:.4f}")
    assert lines[-2].endswith(record["folder"])


def test_seed_decides_the_result_and_threads_do_not(train):
    one, two, other = (train("--epochs", 3, "--seed", seed, "--threads", n)
                       for seed, n in ((1, 1), (1, 2), (2, 2)))
    assert (one["accuracy"], one["loss"]) == (two["accuracy"], two["loss"])
    assert one["loss"] != other["loss"]
    assert len({one["folder"], two["folder"], other["folder"]}) == 3


def test_features_divided_by_256_predict_the_same(train, digits):
    X, y = digits
    outputs = []
    for name, features in (("raw", X), ("scaled", X / 256)):
        np.savez(f"{name}.npz", X=features, y=y)
        record = train(f"{name}.npz", "--epochs", 5, "--out", name)
        assert record["folder"] == name
        outputs.append(fk.load(f"{name}/model.safetensors").forward(features))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.slow
def test_six_seeds_reach_the_accuracy_whatever_the_features_scales(train, digits):
    X, y = digits
    rng = np.random.default_rng(0)
    scaled = X * 10 ** rng.uniform(-3, 3, 64)
    np.savez("wild.npz", X=scaled + scaled.std(axis=0) * rng.uniform(-5, 5, 64), y=y)
    raw, wild = (np.mean([train(*data, "--seed", seed)["accuracy"] for seed in range(6)])
                 for data in ((), ("wild.npz",)))
    assert raw >= 0.965
    assert abs(raw - wild) <= 0.01


def test_options_text_labels_and_a_saved_model(train):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, 4))
    np.savez_compressed("mine.npz", X=X, y=np.array(["low", "high"])[(X[:, 0] > 0).astype(int)])
    options = ["--batch-size", 9, "--test-share", 0.3, "--threads", 1]
    first = train("mine.npz", "--hidden", 8, 6, "--fan-in", 2, "--activation", "tanh", "--dtype",
                  "float64", "--optimizer", "adam", "--learning-rate", 0.03, "--epochs", 5,
                  "--out", "first", *options)
    assert first["steps"] == 35
    assert json.loads(Path("first/run.json").read_text())["result"]["labels"] == ["high", "low"]
    net = fk.load("first/model.safetensors")
    assert (net.n_units, net.dtype, net.activations[0]) == (4 + 8 + 6 + 2, np.float64, "tanh")
    again = train("mine.npz", "--model", "first/model.safetensors", "--out", "second",
                  "--patience", 1, "--epochs", 60, *options)
    assert again["loss"] < first["loss"]
    assert again["stopped"] == "callback"


def test_every_optimizer_by_either_spelling(train):
    for name, cls in fk.optimizers.PRESETS.items():
        options = [] if cls.has_metric else ["--learning-rate", 0.003]
        record = train("--epochs", 1, "--hidden", 16, "--fan-in", 8, "--optimizer", name, *options)
        assert record["accuracy"] > 0.2, name
    assert train("--epochs", 1, "--hidden", 16, "--optimizer",
                 "quasi-diagonal-natural-gradient")["accuracy"] > 0.5


def test_ctrl_c_keeps_the_model_so_far(tmp_path):
    process = command(tmp_path, "train", "--epochs", 10**6, "--out", "mine", wait=False)
    for start in ("digits", "<Network", "QuasiDiagonal"):
        assert process.stdout.readline().startswith(start)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, "Traceback" in errors) == (0, False)
    assert "stopped early (interrupted)" in output
    fk.load(tmp_path / "mine" / "model.safetensors")


# --- info -----------------------------------------------------------------------------------------


def test_info_shows_the_build_and_a_model(tmp_path):
    finished = command(tmp_path, "info")
    assert (finished.returncode, finished.stderr) == (0, "")
    shown = dict(line.split(maxsplit=1) for line in finished.stdout.splitlines())
    assert shown == {name: str(value) for name, value in fk.config().items()}
    net = fk.Network.layered([3, 2], rng=0)
    net.save(tmp_path / "net.safetensors")
    assert command(tmp_path, "info", "net.safetensors").stdout == f"{net!r}\n"
    told = json.loads(command(tmp_path, "info", "net.safetensors", "--json").stdout)
    assert (told["n_edges"], told["dtype"]) == (net.n_edges, net.dtype.name)
    assert json.loads(command(tmp_path, "info", "--json").stdout)["fisherkern"] == fk.__version__


# --- faults ---------------------------------------------------------------------------------------


def write_npz(folder, digits):
    X, y = digits
    np.savez(folder / "good.npz", X=X, y=y)
    np.savez(folder / "nan.npz", X=np.where(np.arange(len(X))[:, None] == 17, np.nan, X), y=y)
    np.savez(folder / "no_y.npz", X=X, Y=y)
    np.savez(folder / "short_y.npz", X=X, y=y[1:])
    np.savez(folder / "float_y.npz", X=X, y=y / 2)
    np.savez(folder / "one_class.npz", X=X, y=0 * y)
    np.savez(folder / "objects.npz", X=X.astype(object), y=y)
    np.save(folder / "array.npy", X)
    whole = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[:len(whole) // 2])
    (folder / "foreign.npz").write_bytes(bytes(range(256)) * 20)
    (folder / "empty.npz").write_bytes(b"")
    np.savez_compressed(folder / "small.npz", X=X, y=y)
    with zipfile.ZipFile(folder / "raw_y.npz", "w") as archive:
        archive.write(folder / "array.npy", "X.npy")
        archive.writestr("y", b"1234")
    large = np.where(np.arange(X.size).reshape(X.shape) == 17 * 64 + 5, 1e39, X)
    np.savez(folder / "large.npz", X=large, y=y)
    np.savez(folder / "tiny.npz", X=X * 1e-300, y=y)
    bad = bytearray((folder / "small.npz").read_bytes())
    bad[80:110] = bytes(30)
    (folder / "corrupt.npz").write_bytes(bad)


def write_models(folder):
    net = fk.Network.layered([64, 5, 10], interpretation="softmax", rng=0)
    net.save(folder / "good.model")
    whole = (folder / "good.model").read_bytes()
    (folder / "truncated.model").write_bytes(whole[:len(whole) // 2])
    (folder / "foreign.model").write_bytes(b"no model at all" * 50)
    safetensors.numpy.save_file({"x": np.zeros(3)}, folder / "other.model")
    fk.Network.layered([63, 10], interpretation="softmax", rng=0).save(folder / "narrow.model")
    fk.Network.layered([64, 10], interpretation="square", rng=0).save(folder / "square.model")
    with safetensors.safe_open(folder / "good.model", framework="numpy") as file:
        header = file.metadata()
    arrays = safetensors.numpy.load_file(folder / "good.model")
    arrays["edges"][0] = 70, 64  # an output into a hidden unit that feeds it
    safetensors.numpy.save_file(arrays, folder / "cyclic.model", header)


@pytest.fixture(scope="module")
def broken(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("broken")
    write_npz(folder, digits)
    write_models(folder)
    (folder / "file").touch()
    (folder / "used").mkdir()
    (folder / "used" / "model.safetensors").touch()
    return folder


FAULTS = {
    "unknown option": (["train", "--epoch-count", 3], "--epoch-count"),
    "unknown command": (["fit"], "fit"),
    "no command": ([], "COMMAND"),
    "unknown activation": (["train", "--activation", "rele"],
                           "argument --activation: invalid choice: 'rele'"),
    "unknown optimizer": (["train", "--optimizer", "sgd"],
                          "argument --optimizer: invalid choice: 'sgd'"),
    "adam without rate": (["train", "--optimizer", "adam"], "--learning-rate"),
    "rate of nan": (["train", "--learning-rate", "nan"], "--learning-rate: 'nan': it must be"),
    "no epochs": (["train", "--epochs", 0], "--epochs: must be at least 1; got 0"),
    "fractional epochs": (["train", "--epochs", 1.5], "--epochs"),
    "batch too large": (["train", "--batch-size", 9999], "--batch-size must be at most"),
    "no threads": (["train", "--threads", 0], "--threads"),
    "negative seed": (["train", "--seed", -1], "--seed"),
    "whole test share": (["train", "--test-share", 1], "--test-share"),
    "tiny test share": (["train", "--test-share", 1e-5], "--test-share 1e-05 holds out 1 of 1797"),
    "unknown dtype": (["train", "--dtype", "int8"], "--dtype"),
    "empty layer": (["train", "--hidden", 16, 0], "--hidden"),
    "data after --hidden": (["train", "--hidden", 16, "good.npz"], "must be an integer; got"),
    "no fan-in": (["train", "--fan-in", 0], "--fan-in"),
    "no patience": (["train", "--patience", 0], "--patience"),
    "missing data": (["train", "none.npz"], "'none.npz'"),
    "foreign data": (["train", "foreign.npz"], "foreign.npz"),
    "empty data": (["train", "empty.npz"], "empty.npz"),
    "truncated data": (["train", "truncated.npz"], "truncated"),
    "corrupt data": (["train", "corrupt.npz"], "corrupt.npz"),
    "an array for data": (["train", "array.npy"], "no .npz file"),
    "objects for data": (["train", "objects.npz"], "objects.npz"),
    "a folder for data": (["train", "."], "'.'"),
    "raw bytes for y": (["train", "raw_y.npz"], "y must have shape (1797,)"),
    "too large for float32": (["train", "large.npz"], "large: X[17, 5] = 1e+39 does not fit"),
    "too small for float32": (["train", "tiny.npz"], "which does not fit float32"),
    "nan in row 17": (["train", "nan.npz"], "[17, 0]"),
    "data without y": (["train", "no_y.npz"], "'y'"),
    "short y": (["train", "short_y.npz"], "1797"),
    "float y": (["train", "float_y.npz"], "y must hold class labels"),
    "one class": (["train", "one_class.npz"], "two classes"),
    "missing model": (["train", "--model", "none.model"], "'none.model'"),
    "truncated model": (["train", "--model", "truncated.model"], "truncated"),
    "foreign model": (["train", "--model", "foreign.model"], "foreign.model"),
    "other safetensors": (["train", "--model", "other.model"], "other.model"),
    "wrong widths": (["train", "--model", "narrow.model"], "63 inputs"),
    "square outputs": (["train", "--model", "square.model"], "square"),
    "cycle in a model": (["train", "--model", "cyclic.model"], "cycle"),
    "model and layers": (["train", "--model", "good.model", "--fan-in", 3], "--fan-in describes"),
    "info of a truncated model": (["info", "truncated.model"], "truncated"),
    "out is a file": (["train", "--json", "--epochs", 1, "--out", "file"],
                      "--out: 'file' is no folder"),
    "out is nothing": (["train", "--out", ""], "--out names no folder"),
    "huge layer": (["train", "--hidden", 10**20], "--hidden: must be at most"),
    "huge seed": (["train", "--seed", 10**11], "--seed: must be at most"),
    "out holds a model": (["train", "--out", "used"], "already holds a model.safetensors"),
    "rate that diverges": (["train", "--json", "--optimizer", "backpropagation",
                            "--learning-rate", 1e30, "--out", "diverged"], "not finite at step"),
    "name in Latin-1": (["train", "d\udce4ten.npz"], "d\\udce4ten.npz\"': not in UTF-8"),
}


# numpy.load leaves a truncated archive's file to the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_one_line_and_exit_code_2(broken, name, capsys, monkeypatch):
    monkeypatch.chdir(broken)
    arguments, message = FAULTS[name]
    try:
        code = cli.main([*map(str, arguments)])
    except SystemExit as end:  # of the argument parser
        code = end.code
    output, errors = capsys.readouterr()
    assert code == 2
    assert output == "" or name == "rate that diverges"
    assert len(errors.splitlines()) == 1, errors
    assert message in errors
    assert not Path("fisherkern-runs").exists()
    assert not Path("diverged").exists()


@pytest.mark.parametrize("name", ["unknown option", "adam without rate", "nan in row 17",
                                  "cycle in a model"])
def test_fault_of_the_command_itself_has_no_traceback(broken, name):
    arguments, message = FAULTS[name]
    finished = command(broken, *arguments)
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert message in finished.stderr


def test_every_character_of_a_name_is_read_back():
    name = "".join(map(chr, range(1, 256))) + "\u2028\U0001f600"
    assert tomllib.loads(to_toml(argparse.Namespace(target=name))) == {"target": name}
