"""docs/performance.md: a whole document from short and made-up measurements; counts of work."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fisherkern as fk
from bench import __main__ as commands
from bench import (
    costs,
    memory,
    partial_metric,
    peaks,
    peer_report,
    peer_table,
    repeated,
    report,
    roofline,
    scaling,
    setting,
    table,
)
from bench.pairing import Paired

FASTER, SLOWER, LEVEL = (Paired(2e-3 * r, 2e-3, r, r - 0.1, r + 0.1) for r in (3.0, 0.5, 1.05))


def made_up_peaks(n_threads=1, **how):
    levels = {"L1": 2e11, "L2": 1e11, "L3": 4e10, "DRAM": 1e10}
    flops = {"float32": 1e11, "float64": 5e10}
    return peaks.Peaks(n_threads, flops, flops, levels, levels)


@pytest.fixture
def short(monkeypatch):
    """What takes long is made up; steps, costs and formatting are real."""
    monkeypatch.setattr(peaks, "measure", made_up_peaks)
    monkeypatch.setattr(peer_table, "installed",
                        lambda name, labels: ["NumPy, dense", "scipy.sparse"])
    monkeypatch.setattr(scaling, "measure", lambda size: scaling.Found(
        size.edges, FASTER, {step: FASTER for step in scaling.STEPS if size.threads > 1}))
    monkeypatch.setattr(memory, "measure", lambda n_threads, name: memory.Memory(
        90, 40, 100, 30, 1))
    monkeypatch.setattr(partial_metric, "learn", lambda options, seeds: (0.9, 0.1))
    monkeypatch.setattr(report.scale, "measure", lambda *size: dict(
        zip(("edges", "threads", "fan_in", "building", "built", "training", "step", "ns"),
            (*size, 1.0, 2.0, 3.0, 4.0, 5.0), strict=True)))


def check_complete(document):
    text = document.read_text()
    assert report.NOT_YET not in text
    assert not report.missing_pictures(document)
    for _, marks in report.SECTIONS.values():
        for mark in marks:
            assert text.count(f"<!-- {mark}:start -->") == 1
    # as many cells in each row of a table as in the row above
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    return text


def test_a_whole_document(short, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    document = tmp_path / "docs" / "page.md"
    monkeypatch.setattr(sys, "argv", ["report", "--quick", "--document", str(document)])
    report.main()
    text = check_complete(document)
    assert "](page/peers.svg)" in text
    assert "W1, 1 thread: fisherkern's gradient step is" in text
    assert "W1, 1 thread: fisherkern's quasi-diagonal step is" in text
    assert "- digits, dense, 95%: fisherkern" in text
    assert capsys.readouterr().err.count(" s\n") == len(report.SECTIONS)


def test_one_section_leaves_the_others(short, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    document = tmp_path / "page.md"
    report.write(document, ["memory"], report.quick())
    text = document.read_text()
    assert "| `Backpropagation` | 1 | 90.0 | 40.0 | 100.0 |" in text
    assert text.count(report.NOT_YET) == len(report.SECTIONS)  # peers have two marks
    edited = text.replace("# Performance", "# Performance, edited")
    document.write_text(edited)
    report.write(document, ["scale"], report.quick())
    text = document.read_text()
    assert "# Performance, edited" in text
    assert "| 100,000 | 16 | 1 | 1.0 | 2.0 | 3.0 | 4.000 | 5.00 |" in text
    assert "| 90.0 | 40.0 | 100.0 |" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="limits need a C compiler")
def test_a_whole_document_measured(tmp_path):
    pytest.importorskip("matplotlib")
    report.write(tmp_path / "page.md", list(report.SECTIONS), report.quick())
    check_complete(tmp_path / "page.md")


def test_errors_come_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("no marks")
    for arguments, message in ((["--document", str(page)], "the file must hold <!-- peers:start"),
                               (["--quick"], "--quick needs a --document of its own"),
                               (["--only", "nothing"], "invalid choice")):
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        with pytest.raises(SystemExit):
            report.main()
        assert message in capsys.readouterr().err


def test_the_document_has_every_mark():
    report.start(report.DOCUMENT)


def test_who_is_the_fastest():
    results = {("W1", 1): {"scipy.sparse": FASTER, "NumPy, dense": SLOWER},
               ("W2", 1): {"scipy.sparse": FASTER}, ("W2", 2): {"scipy.sparse": LEVEL}}
    fastest = {"backpropagation": {case: dict(found) for case, found in results.items()},
               "quasi-diagonal": {("W1", 1): {"NumPy, dense": SLOWER},
                                  ("W2", 1): {"scipy.sparse": FASTER}}}
    layers, masked = "torch, dense, all weights trained", "BackPACK, DiagGGNExact, dense and masked"
    curved = masked.replace(peer_table.MASKED, peer_table.ALL_WEIGHTS)
    results["W2", 1][layers], results["W2", 2][layers] = SLOWER, LEVEL
    results["W2", 1][masked], results["W2", 1][curved] = LEVEL, SLOWER
    text = peer_report.text(results, fastest)
    assert "| W1 | 1 | **NumPy, dense** | 1 | 1,000 | backpropagation | 2,000 " \
        "| **0.50 (0.40-0.60)** |" in text
    assert "| W1 | 1 | scipy.sparse | 1 | 6,000 |" in text
    assert f"| W2 | 2 | {layers} | 2 | 2,100 | backpropagation | 2,000 | 1.05 (0.95-1.15) |" in text
    assert f"| {masked} | 1 | 2,100 | fisher, diagonal | 2,000 |" in text
    assert f"| **{curved}** | 1 | 1,000 | fisher, diagonal | 2,000 |" in text
    assert "NumPy, dense (for small layers; see torch, dense)" in text
    assert "- W1, 1 thread: fisherkern's gradient step is 2.00 times slower (1.67-2.50) than " \
        "the fastest peer's, NumPy, dense." in text
    assert "- W2, 1 thread: fisherkern's gradient step is 3.00 times faster (2.90-3.10)" in text
    assert "as far as this run can tell (ratio 1.05 (0.95-1.15))" in text
    assert "- W1, 1 thread: fisherkern's quasi-diagonal step is 2.00 times slower (1.67-2.50) " \
        "than the fastest peer's plain gradient step, NumPy, dense." in text
    assert "- all weights of W2's layers, 1 thread: fisherkern's gradient step is 2.00 times slo" \
        in text
    assert "- all weights of W2's layers, 1 thread: fisherkern's fisher, diagonal step is 2.00 " \
        f"times slower (1.67-2.50) than the fastest peer's, {curved}." in text
    verdict = peer_report.verdict(results, fastest)
    for step, n in (("gradient", 2), ("fisher, diagonal", 1)):
        assert f"- fisherkern's {step} step is faster than every peer's in 0 of {n} cases. " \
            "It is **not the fastest** in: W2, 1 thread." in verdict
    assert "gradient step is faster than every peer's in 1 of 3 cases" in verdict
    assert "quasi-diagonal step is faster than every peer's in 1 of 2 cases" in verdict
    assert verdict.count("It is **not the fastest** in: W1, 1 thread.") == 2
    assert verdict.count("It cannot be told from the fastest peer's in: W2, 2 threads.") == 2
    absent = verdict.split("not compared: ")[1].rstrip(".").split("; ")
    assert "torch, CSR" in absent
    assert "curvlinops, K-FAC, dense and masked" in absent
    assert not {"scipy.sparse", "NumPy, dense", "JAX, gather by levels"} & set(absent)


def test_ratios_over_processes():
    (name, found), = repeated.repeated(["W1"], ["scipy.sparse"], ["quasi-diagonal"], 2).items()
    assert name == "W1"
    assert list(found) == ["scipy.sparse", "quasi-diagonal"]
    for result in found.values():
        assert 0 < result.low <= result.ratio <= result.high
    runs = [Paired(i / 4, 2e-3, i, 0, 19) for i in (4, 1, 3, 2, 5, 7, 6, 8, 11, 9, 10)]
    assert repeated.over_runs(runs) == (1.5, 2e-3, 6, 1, 11)


def test_tables_agree_where_intervals_meet():
    rows = ("| step | µs | a | b |", "|---|--:|--:|--:|", "| W | 10 | 2.00 (1.90-2.10) | none |",
            "| V | 10 | 2.00 (1.90-2.10) | 0.90 (0.85-0.95) |", "", "Medians 1.00 (0.90-1.10)")
    old = "\n".join(rows)
    assert table.apart(old, old.replace("2.00 (1.90-2.10)", "2.20 (2.10-2.30)")) == []
    assert table.apart(old, old.replace("0.90 (0.85-0.95)", "1.00 (0.96-1.10)")) == [
        "V: 0.90 (0.85-0.95) is now 1.00 (0.96-1.10)"]
    assert table.apart(old, old.replace("0.90 (0.85-0.95)", "none")) == [
        "V: 0.90 (0.85-0.95) is now none"]
    for other in (old.replace("| W |", "| U |"), "\n".join(rows[:3]), old.replace("| none |", "|")):
        assert table.apart(old, other) == ["they have other rows or columns"]
    assert table.apart("none yet", "none yet") == ["there is no row to compare"]


def test_the_table_of_the_readme_is_measured_anew(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(table, "NAMES", {"W1": "the first"})
    monkeypatch.delenv("FISHERKERN_ISA", raising=False)
    monkeypatch.setattr(table, "repeated", lambda names, labels, steps, n_runs: dict.fromkeys(
        names, dict.fromkeys(("scipy.sparse", "Numba", *steps), FASTER)))
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {table.MARK}:start -->\n<!-- {table.MARK}:end -->\n")
    assert fk.config()["isa"] in table.MARK
    monkeypatch.setattr(sys, "argv", ["table", "--update", str(page)])
    monkeypatch.setattr(table, "table", lambda make=table.table: make(["W1"]))
    table.main()
    assert "| 2,000 | 3.00 (2.90-3.10) | 3.00 (2.90-3.10) | 3.00 (2.90-3.10) | not installed |" \
        in page.read_text()
    first, second = [line for line in page.read_text().splitlines() if line.startswith("A peer's")]
    assert first.endswith("on: none of these; cannot be told from it on: none of these.")
    assert second.endswith("cannot be told from it on: the first (scipy.sparse and Numba).")
    found = {"W1": {"Numba": SLOWER, "scipy.sparse": FASTER, "quasi-diagonal": LEVEL}}
    assert table.plainly(found).count("on: the first (Numba); cannot be told from it on: none") == 2
    found["W1"]["Numba"] = LEVEL
    assert table.plainly(found).count("cannot be told from it on: the first (Numba).") == 2
    monkeypatch.setattr(sys, "argv", ["table", "--check", str(page)])
    table.main()
    assert "every interval meets" in capsys.readouterr().out
    page.write_text(page.read_text().replace("3.00 (2.90-3.10)", "4.00 (3.90-4.10)"))
    with pytest.raises(SystemExit, match=r"is now 3.00 \(2.90-3.10\)"):
        table.main()
    monkeypatch.setenv("FISHERKERN_ISA", "baseline")
    with pytest.raises(SystemExit, match="2"):
        table.main()
    assert "FISHERKERN_ISA is set" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_counts_by_hand(dtype):
    """2 inputs, a hidden unit of both, an output of the hidden unit and an input; 3 samples."""
    edges = np.array([[0, 2], [1, 2], [2, 3], [0, 3]])
    net = fk.Network(2, edges, outputs=[3], dtype=dtype, rng=0)
    plain, metric = (roofline.counts(net, step, 3) for step in roofline.STEPS)
    # forward and gradient of four edges, the value through the one that leaves a hidden unit
    assert plain.flops == 3 * (4 * 2 + 4 * 2 + 1 * 2) + 4 * 2
    # a modulus through that edge, sums of A_0i and A_ii; a direction
    assert metric.flops == plain.flops + 3 * (1 * 2 + 4 * 4) + 4 * 20
    size = np.dtype(dtype).itemsize
    assert plain.row_bytes == 3 * size * (4 + 4 + 1)
    assert metric.row_bytes == plain.row_bytes + 3 * size
    forward, sums, theta = size + 4, 4 + 2 * size, 2 * size
    order, backward = 4 + size, 4 + size + size
    assert plain.edge_bytes == 4 * (forward + sums + theta) + order + backward
    assert metric.edge_bytes == plain.edge_bytes + 4 * 2 * 2 * size
    by_source = roofline.counts(net, "backpropagation", 3, by_source=True)
    assert by_source.row_bytes == 3 * size * (4 + 4)
    assert by_source.edge_bytes == plain.edge_bytes + 4 * (4 + 2 * size)
    assert plain.intensity == plain.flops / (plain.row_bytes + plain.edge_bytes)


def test_levels_and_sizes():
    limits = made_up_peaks()
    for seconds, level in ((1e-9, "none"), (1e-6, "L1"), (4e-6, "L3"), (1.0, "DRAM")):
        point = roofline.Point("W", "backpropagation", 1, "float32",
                               roofline.Counts(1, 100_000, 20_000), seconds)
        assert point.level(limits) == level
    assert all(size % peaks.CHUNK == 0 for size in peaks.sizes(2).values())


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_the_probe_reads_what_it_is_given():
    probe, n = peaks.compiled_probe(), 8 * peaks.CHUNK
    data = peaks.aligned(n)
    lanes = probe.fma_float32(1, 0.5, probe.fma_float32.argtypes[2]._type_())
    assert lanes in (4, 8, 16)
    assert probe.fma_float64(1, 0.5, probe.fma_float64.argtypes[2]._type_()) == lanes // 2
    # a sum of one lane of each vector
    assert probe.read_in_order(data.ctypes.data, n, 3) == 3 * n / 4 / lanes
    rows = np.arange(n // peaks.ROW, dtype=np.int32)
    assert probe.read_rows(data.ctypes.data, rows.ctypes.data, rows.size, 1) == \
        n / 4 / lanes / 2


def test_scaling_checks_its_steps(monkeypatch):
    found = scaling.measure_here(scaling.Size(10_000, batch=16, windows=2))
    assert found.edges == 11_008
    assert found.speed == {}
    assert found.seconds("quasi-diagonal") == found.cost.a
    wrong = scaling.stepper
    monkeypatch.setattr(scaling, "stepper", lambda *given, learning_rate=0.0, **options: wrong(
        *given, learning_rate=1.01 * learning_rate, **options))
    with pytest.raises(AssertionError, match="relative error"):
        scaling.measure_here(scaling.Size(10_000, batch=16, windows=2))


def test_commands_are_listed_and_there(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench"])
    commands.main()
    listed = capsys.readouterr().out
    folder = Path(commands.__file__).parent
    for name in commands.COMMANDS:
        assert name in listed
        assert (folder / f"{name}.py").is_file()
    called = []
    monkeypatch.setattr(runpy, "run_module", lambda *given, **how: called.append((given, how)))
    monkeypatch.setattr(sys, "argv", ["bench", "guard", "HEAD~1", "--help"])
    commands.main()
    assert called == [(("bench.guard",), {"run_name": "__main__", "alter_sys": True})]
    assert sys.argv[1:] == ["HEAD~1", "--help"]


def test_the_fastest_peer_again(monkeypatch):
    asked = []

    def alone(function, label, name, n, steps, windows):
        assert (function, list(steps)) == (peer_table.timed, ["backpropagation", "quasi-diagonal"])
        assert windows == setting.WINDOWS[name] // 3
        asked.append((label, name, n))
        return [FASTER, Paired(1e-3, 2e-3, len(asked) / 4, 0, 9)]

    monkeypatch.setattr(peer_report, "alone", alone)
    results = {("W1", 1): {"Numba": LEVEL, "NumPy, dense": LEVEL._replace(ratio=1.1),
                           "scipy.sparse": FASTER},
               ("W2", 2): {"scipy.sparse": FASTER,
                           "JAX, dense, all weights trained": SLOWER}}
    found = peer_report.again(results, n_runs=3)
    asked_once = [("Numba", "W1", 1), ("NumPy, dense", "W1", 1), ("scipy.sparse", "W2", 2)]
    assert asked == asked_once * 3
    assert found["quasi-diagonal"]["W1", 1]["Numba"] == (1e-3, 2e-3, 1, 1 / 4, 7 / 4)
    assert list(found["quasi-diagonal"]["W1", 1]) == ["Numba", "NumPy, dense"]
    assert found["backpropagation"]["W2", 2]["scipy.sparse"].ratio == FASTER.ratio


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(peer_table, "find_spec", lambda name: name != "numba")
    monkeypatch.setattr(peer_table, "which", lambda name: None)
    found = peer_table.left_out("W2")
    assert found["Numba"] == "numba is not installed"
    assert found["torch, dense, torch.compile, all weights trained"] == "g++ is not installed"
    assert found["JAX, gather by levels"] == "for irregular graphs: W4"
    assert "Numba" not in peer_table.installed("W2")
    assert peer_table.installed("W2", ["Numba", "scipy.sparse"]) == ["scipy.sparse"]


def test_a_command_measures_in_processes():
    done = subprocess.run([sys.executable, "-m", "bench", "peer_table", "--workloads", "W1",
                           "--threads", "1", "--peers", "scipy.sparse"], text=True,
                          capture_output=True, cwd=Path(commands.__file__).parents[1])
    assert "| W1 | 1 | scipy.sparse | 1 |" in done.stdout, done.stderr


def test_what_is_dearer_than_in_the_paper():
    ratios = {"Backpropagation": 1.05, "AdaGrad": 3.0, "DiagonalGaussNewton": 1.35, "Adam": 3.0}
    text = costs.sentences({name: Paired(1, 1, r, r - 0.1, r + 0.1) for name, r in ratios.items()})
    assert "than in the paper: `AdaGrad` (3.00 against 1.24). " in text
    assert "1.05 (0.95-1.15)" in text
    assert "in the paper: none." in costs.sentences({})
