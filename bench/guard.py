"""Is the working tree slower than another revision? `python -m bench guard [REVISION]`.

The revision is built in a temporary folder. A process for each side then takes windows of the same
steps in turn, one idle while the other works. Where the ratio of the working tree's time to the
revision's is above the limit, REPEATS more pairs of processes measure it again: two that run the
same code may differ by a tenth, as their memory lies elsewhere, which the interval of one pair does
not show. A slowdown is above 1 in every pair, and above the limit in their median. Exit code: 0
none, 1 a slowdown, 2 the comparison could not be made.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fisherkern._validation import available_threads

from .oracles import TOLERANCE
from .pairing import Paired, paired
from .peer_table import SECONDS_OF_OTHERS, SECONDS_OF_SPINNING
from .setting import program

ROOT = Path(__file__).parents[1]
SIDE = Path(__file__).with_name("guard_side.py")
LIMIT = 1.05
STEPS = ("backpropagation", "quasi-diagonal", "quasi-diagonal, mini-batch", "unitwise")
WINDOWS, SECONDS = 31, 0.05
REPEATS = 4
# threads of one process that wait for work spin while the other is timed: with GCC's runtime for
# some milliseconds, with others longer
PAUSE = SECONDS_OF_OTHERS if sys.platform == "linux" else SECONDS_OF_SPINNING
TAIL = 25


class GuardError(Exception):
    """The comparison could not be made."""


class Case(NamedTuple):
    """What is timed: a step of a workload."""

    workload: str
    step: str
    threads: int

    def __str__(self) -> str:
        return f"{self.workload}, {self.step}, {self.threads} thread{'s' * (self.threads > 1)}"


Measure = Callable[[list[Case]], Iterator[tuple[Case, Paired]]]


def git(*arguments: str, root: Path) -> str:
    """Output of a git command."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, text=True, capture_output=True)
    except FileNotFoundError:
        raise GuardError("git is not installed") from None
    if done.returncode:
        raise GuardError(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def check_repository(root: Path) -> None:
    """GuardError unless the tree is the top of a git repository and its kernels are up to date."""
    try:
        top = git("rev-parse", "--show-toplevel", root=root)
    except GuardError as error:
        raise GuardError(f"not a git repository: {error}") from None
    if Path(top).resolve() != root.resolve():
        raise GuardError("not a git repository: the tree lies inside another one")
    modules = [*root.glob("fisherkern/*.so"), *root.glob("fisherkern/*.pyd")]
    if not modules:
        raise GuardError("the working tree is not built: python setup.py build_ext --inplace")
    oldest = min(module.stat().st_mtime for module in modules)
    sources = [root / "setup.py", *(path for path in root.glob("src/**/*") if path.is_file())]
    newer = [path for path in sources if path.stat().st_mtime > oldest]
    if newer:
        raise GuardError(f"the working tree's kernels are older than {newer[0].relative_to(root)}: "
                         "python setup.py build_ext --inplace")


def commit(revision: str, root: Path) -> str:
    """The full name of a revision."""
    try:
        return git("rev-parse", "--verify", f"{revision}^{{commit}}", root=root)
    except GuardError:
        raise GuardError(f"unknown revision {revision!r}") from None


def default_revision(root: Path) -> str:
    """Where HEAD left `main`. On main itself HEAD, if tracked files differ from it, or else the
    commit before it."""
    head = commit("HEAD", root)
    try:
        base = git("merge-base", "HEAD", commit("main", root), root=root)
    except GuardError:
        base = head
    if base != head:
        return base
    return head if git("status", "--porcelain", "-uno", root=root) else commit("HEAD~1", root)


@contextmanager
def child(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process, which ends with the block together with its own children."""
    process = subprocess.Popen(command, text=True, start_new_session=True, **options)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def extract(revision: str, folder: Path, root: Path) -> None:
    """A revision's files; the repository itself keeps no trace of it."""
    archive = folder.with_suffix(".tar")
    git("archive", "--output", str(archive), revision, root=root)
    folder.mkdir()
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    archive.unlink()


def build(folder: Path, revision: str) -> None:
    """Compile in place; GuardError with the end of the output where that fails."""
    with child([sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder,
               stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        output, _ = process.communicate()
    if process.returncode:
        tail = "\n".join(output.splitlines()[-TAIL:])
        raise GuardError(f"{revision[:12]} does not build:\n{tail}")


class Side:
    """A process that times the steps of one tree."""

    def __init__(self, name: str, process: subprocess.Popen) -> None:
        self._name, self._process = name, process
        self._answer()

    def ask(self, do: str, **request: Any) -> dict:
        try:
            print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise GuardError(f"{self._name}: the process ended") from None
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise GuardError(f"{self._name}: the process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise GuardError(f"{self._name}: {answer['error']}")
        return answer

    def run(self, n: int) -> float:
        """Seconds of n steps, on the process's own clock."""
        return self.ask("run", n=n)["seconds"]


class Comparison:
    """Both trees.

    Parameters
    ----------
    new, old : Path
    revision : str
        The old one's name in messages.
    scratch : Path
        A folder for the steps that are compared.
    windows : int
    seconds : float
        Of a window.
    """

    def __init__(self, new: Path, old: Path, revision: str, scratch: Path,
                 windows: int = WINDOWS, seconds: float = SECONDS) -> None:
        self._trees = {"the working tree": new, revision[:12]: old}
        self._scratch, self._windows, self._seconds = scratch, windows, seconds

    @contextmanager
    def sides(self) -> Iterator[list[Side]]:
        """Fresh processes."""
        with ExitStack() as stack:
            yield [Side(name, stack.enter_context(child(
                [sys.executable, "-P", str(SIDE)], cwd=tree, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE))) for name, tree in self._trees.items()]

    def cases(self, workloads: list[str] | None, threads: list[int]) -> tuple[list[Case], list]:
        """What both sides know, and names of what one of them does not."""
        with self.sides() as sides:
            known = [side.ask("known") for side in sides]
        names = workloads or known[0]["workloads"]
        missing = {name: tree for answer, tree in zip(known, self._trees, strict=True)
                   for kind, wanted in (("workloads", names), ("steps", STEPS))
                   for name in wanted if name not in answer[kind]}
        if workloads and (unknown := set(missing) & set(workloads)):
            name = min(unknown)
            raise GuardError(f"{missing[name]} does not know the workload {name}")
        return ([Case(name, step, n) for name in names for step in STEPS for n in threads
                 if not {name, step} & set(missing) and (name, n) != ("W1", 2)],
                [f"{name}: left out, {tree} does not know it" for name, tree in missing.items()])

    def measure(self, cases: list[Case]) -> Iterator[tuple[Case, Paired]]:
        """Ratios of the working tree's times to the revision's, checked first."""
        with self.sides() as sides:
            for case in cases:
                added = []
                for i, side in enumerate(sides):
                    save = self._scratch / f"{i}.npy"
                    side.ask("prepare", **case._asdict(), save=str(save))
                    added.append(np.load(save))
                check_same(case, *added)
                yield case, paired(*(side.run for side in sides), windows=self._windows,
                                   seconds=self._seconds, timer=lambda run, n: run(n),
                                   pause=PAUSE if case.threads > 1 else 0.0)


def check_same(case: Case, new: np.ndarray, old: np.ndarray) -> None:
    """GuardError where the two sides do not take the same step."""
    if new.shape == old.shape and new.dtype == old.dtype:
        # each is within the tolerance of its own oracle
        error = np.linalg.norm(new - old) / np.linalg.norm(old)
        if error <= 2 * TOLERANCE[new.dtype.name]:
            return
    raise GuardError(f"{case}: the two sides do not take the same step; their times cannot be "
                     "compared")


def slowdowns(measure: Measure, cases: list[Case], limit: float = LIMIT,
              say: Callable[[str], object] = print) -> list[Case]:
    """Cases whose ratio is above 1 in every measurement and above the limit in their median; only
    what is above the limit at first is measured again, until it is not slower.

    Each call of `measure` starts processes of its own, so cases are measured again one by one.
    """
    above: dict[Case, list[float]] = {}
    for case, result in measure(cases):
        say(f"{case}: {result}{'  above the limit' * (result.ratio > limit)}")
        if result.ratio > limit:
            above[case] = [result.ratio]
    for case, ratios in above.items():
        while len(ratios) <= REPEATS and min(ratios) > 1:
            [(_, result)] = measure([case])
            ratios.append(result.ratio)
            say(f"again, {case}: {result}")
    return [case for case, ratios in above.items() if min(ratios) > 1
            and float(np.median(ratios)) > limit]


def compare(revision: str | None, workloads: list[str] | None, threads: list[int], *,
            limit: float = LIMIT, root: Path = ROOT, windows: int = WINDOWS,
            seconds: float = SECONDS) -> list[Case]:
    """Build a revision and return what is slower in the working tree."""
    check_repository(root)
    name = commit(revision, root) if revision else default_revision(root)
    with tempfile.TemporaryDirectory(prefix="guard-", ignore_cleanup_errors=True) as folder:
        old = Path(folder) / "revision"
        print(f"building {name[:12]}", flush=True)
        extract(name, old, root)
        build(old, name)
        both = Comparison(root, old, name, Path(folder), windows, seconds)
        cases, left_out = both.cases(workloads, threads)
        print(*left_out, f"time of the working tree / time of {name[:12]}:", sep="\n", flush=True)
        return slowdowns(both.measure, cases, limit, lambda text: print(text, flush=True))


def parser() -> argparse.ArgumentParser:
    made = program("guard", __doc__)
    made.prog = "python -m bench guard"
    made.add_argument("revision", nargs="?", help="default: where HEAD left main; on main itself "
                      "HEAD if tracked files differ from it, or else the commit before it")
    made.add_argument("--workloads", nargs="+", metavar="W", help="default: all")
    made.add_argument("--threads", nargs="+", type=int, metavar="N",
                      default=sorted({1, min(2, available_threads(None))}))
    made.add_argument("--limit", type=float, default=LIMIT)
    made.add_argument("--windows", type=int, default=WINDOWS)
    return made


def main() -> int:
    given = parser().parse_args()
    # the blocks that clean up run as at Ctrl-C
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        slower = compare(given.revision, given.workloads, given.threads, limit=given.limit,
                         windows=given.windows)
    except GuardError as error:
        print(f"guard: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"slower: {'; '.join(map(str, slower))}" if slower else
          f"no step is more than {100 * (given.limit - 1):.0f} % slower in {1 + REPEATS} pairs of "
          "processes")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
