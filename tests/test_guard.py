"""The guard against slowdowns: its decision, and a run on two revisions of a stand-in package."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import guard
from bench.pairing import Paired

CASE = guard.Case("W", "backpropagation", 1)
OTHER = guard.Case("V", "backpropagation", 2)


@pytest.mark.parametrize(("ratios", "expected"), [
    ([1.1] * 5, [CASE]), ([1.1, 1.2, 1.01, 1.06, 1.02], [CASE]), ([1.1, 1.2, 1.01, 1.04, 1.02], []),
    ([1.1, 1.2, 1.2, 1.0], []), ([1.1, 0.9], []), ([1.05], []), ([0.9], [])])
def test_a_slowdown_must_repeat_over_pairs_of_processes(ratios, expected):
    asked = []

    def measure(cases):
        asked.append(cases)
        for case in cases:
            value = ratios[len(asked) - 1] if case == CASE else 1.0
            yield case, Paired(1.0, 1.0, value, 0.5, 2.0)

    said = []
    assert guard.slowdowns(measure, [OTHER, CASE], say=said.append) == expected
    assert asked == [[OTHER, CASE], *[[CASE]] * (len(ratios) - 1)]
    assert len(said) == 1 + len(ratios)


def test_different_steps_are_not_compared():
    step = np.ones(3)
    guard.check_same(CASE, step, step * (1 + 1e-12))
    for other in (step * 1.01, np.ones(4), step.astype(np.float32)):
        with pytest.raises(guard.GuardError, match="W, backpropagation, 1 thread: the two sides"):
            guard.check_same(CASE, step, other)


SETUP = "from pathlib import Path\nPath('fisherkern/stub.so').touch()\n"
LOOP = '''
import time
OPTIMIZERS = dict.fromkeys(["backpropagation", "quasi-diagonal", "quasi-diagonal, mini-batch",
                            "unitwise"])

def stepper(workload, name, *, n_threads=1, learning_rate=0.0):
    def run(n):
        print("printed by the package")
        workload[0].theta += learning_rate
        time.sleep(SECONDS * n)
    return run
'''
WORKLOADS = '''
import numpy as np

class Net:
    def __init__(self):
        self.theta = np.zeros(3)
    def copy(self):
        return Net()

WORKLOADS = {"W": lambda: (Net(), None, None)}
'''
ORACLES = '''
import numpy as np
from .workloads import WORKLOADS

def workload(name):
    return WORKLOADS[name]()

def step(name, optimizer):
    return np.ones(3)

def check(name, values, expected):
    assert (values == expected).all()
'''


def git(*arguments, cwd):
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=cwd,
                   check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository of a stand-in package whose second revision takes 1 ms for a step; the working
    tree is that revision."""
    monkeypatch.setattr(guard, "PAUSE", 0.0)
    root = tmp_path / "tree"
    for name, text in {
        "setup.py": "raise SystemExit('no compiler here')\n", ".gitignore": "*.so\n__pycache__\n",
        "fisherkern/__init__.py": "", "bench/__init__.py": "", "bench/oracles.py": ORACLES,
        "bench/workloads.py": WORKLOADS, "bench/loop.py": LOOP.replace("SECONDS", "1e-3"),
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("init", "--quiet", "--initial-branch=main", ".", cwd=root)
    for message in ("does not build", "builds"):
        git("add", ".", cwd=root)
        git("commit", "--quiet", "--message", message, cwd=root)
        (root / "setup.py").write_text(SETUP)
    (root / "fisherkern" / "stub.so").touch()
    return root


def edit(tree, name, old, new):
    path = tree / name
    path.write_text(path.read_text().replace(old, new))


def compare(tree, revision=None, workloads=None):
    return guard.compare(revision, workloads, [1], root=tree, windows=7, seconds=0.005)


def status(tree):
    return subprocess.run(["git", "status", "--porcelain", "--ignored"], cwd=tree, text=True,
                          capture_output=True, check=True).stdout


def test_the_same_speed_passes_and_leaves_nothing(tree, capsys):
    before = status(tree)
    assert compare(tree, "HEAD") == []
    out = capsys.readouterr().out
    assert out.count("W, ") == 4
    assert "printed by the package" not in out
    left = set(status(tree).splitlines()) - set(before.splitlines())
    assert all("__pycache__" in line for line in left)
    assert not list((tree / ".git").glob("worktrees/*"))


def test_a_slower_step_fails_every_time(tree, capsys):
    edit(tree, "bench/loop.py", "time.sleep(1e-3 * n)",
         "time.sleep((2e-3 if name == 'unitwise' else 1e-3) * n)")
    assert compare(tree) == [guard.Case("W", "unitwise", 1)]  # HEAD, as a tracked file differs
    out = capsys.readouterr().out
    assert "W, unitwise, 1 thread: 1." in out or "W, unitwise, 1 thread: 2." in out
    assert out.count("again, W, unitwise, 1 thread") == guard.REPEATS


def test_what_the_old_revision_does_not_know_is_left_out(tree, capsys):
    edit(tree, "bench/workloads.py", "}", ', "New": lambda: (Net(), None, None)}')
    assert compare(tree) == []
    assert "New: left out" in capsys.readouterr().out
    with pytest.raises(guard.GuardError, match="does not know the workload New"):
        compare(tree, workloads=["W", "New"])


def test_another_step_is_an_error(tree):
    edit(tree, "bench/loop.py", "+= learning_rate", "+= 2 * learning_rate")
    edit(tree, "bench/oracles.py", "np.ones(3)", "np.full(3, 2.0)")
    with pytest.raises(guard.GuardError, match="do not take the same step"):
        compare(tree)


def test_a_wrong_step_is_an_error(tree):
    edit(tree, "bench/loop.py", "+= learning_rate", "+= 2 * learning_rate")
    with pytest.raises(guard.GuardError, match="the working tree: AssertionError"):
        compare(tree)


def test_errors_say_what_is_wrong(tree, tmp_path):
    with pytest.raises(guard.GuardError, match="unknown revision 'nowhere'"):
        compare(tree, "nowhere")
    with pytest.raises(guard.GuardError, match="does not build:\nno compiler here"):
        compare(tree, "HEAD~1")
    os.utime(tree / "setup.py", (time.time() + 60,) * 2)
    with pytest.raises(guard.GuardError, match=r"older than setup\.py"):
        compare(tree)
    (tree / "fisherkern" / "stub.so").unlink()
    with pytest.raises(guard.GuardError, match="not built"):
        compare(tree)
    with pytest.raises(guard.GuardError, match="not a git repository"):
        compare(tree / "bench")
    with pytest.raises(guard.GuardError, match="not a git repository"):
        compare(tmp_path)


def test_default_revision(tree):
    head = guard.commit("HEAD", tree)
    assert guard.default_revision(tree) == guard.commit("HEAD~1", tree)
    edit(tree, "bench/loop.py", "1e-3", "2e-3")
    assert guard.default_revision(tree) == head
    git("switch", "--quiet", "--create", "work", cwd=tree)
    git("commit", "--quiet", "--all", "--message", "slower", cwd=tree)
    assert guard.default_revision(tree) == head


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_in_between_leaves_nothing(tree, tmp_path, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (f"import sys; from pathlib import Path; from bench import guard; guard.ROOT = "
            f"Path({str(tree)!r}); guard.compare.__kwdefaults__['root'] = guard.ROOT; "
            "sys.argv = ['guard', 'HEAD', '--windows', '100000']; sys.exit(guard.main())")
    with subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE,
                          cwd=Path(__file__).parents[1],
                          env=os.environ | {"TMPDIR": str(scratch)}) as process:
        while "time of the working tree" not in (line := process.stdout.readline()):
            assert line, "ended early"
        assert list(scratch.iterdir())
        time.sleep(0.5)
        process.send_signal(number)
        assert process.wait(20) in (130, 143)
    assert not list(scratch.iterdir())
