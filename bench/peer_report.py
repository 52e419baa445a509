"""Steps of every installed peer beside fisherkern's, as text: who is the fastest."""

from __future__ import annotations

from collections.abc import Collection

from . import peer_table
from .apart import alone
from .pairing import Paired
from .repeated import RATIOS, over_runs
from .setting import WINDOWS, cases
from .workloads import WORKLOADS

GRADIENT, METRIC_STEP = "backpropagation", "quasi-diagonal"
RUNS = 5

# those that take a gradient step, as backpropagation does, on the workload's network
PEERS = tuple(label for label, contender in peer_table.CONTENDERS.items()
              if contender.beside == GRADIENT and not contender.on)
# by fisherkern's step: those on the dense network of the same layers, which it is not made for
DENSE = {step: tuple(label for label, contender in peer_table.CONTENDERS.items()
                     if contender.beside == step and contender.on)
         for step in dict.fromkeys(contender.beside for contender in
                                   peer_table.CONTENDERS.values() if contender.on)}

Found = dict[str, Paired]
Results = dict[tuple[str, int], Found]


def compare_all(most_threads: int, names: Collection[str] | None = None,
                windows: int | None = None) -> Results:
    """`peer_table.compare` of every contender by workload and threads."""
    return {case: peer_table.compare(*case, windows=windows)
            for case in cases(names or WORKLOADS, most_threads)}


def of(results: Results, labels: Collection[str]) -> Results:
    """The cases that have some of these labels, with these alone."""
    found = {case: {label: result for label, result in found.items() if label in labels}
             for case, found in results.items()}
    return {case: results for case, results in found.items() if results}


def again(results: Results, n_runs: int = RUNS, windows: int | None = None) -> dict[str, Results]:
    """The fastest plain peer of each case over processes, and those that their intervals cannot
    tell from it, beside fisherkern's gradient step and its step with the metric; every case has its
    turn before the next of `n_runs` turns."""
    steps = GRADIENT, METRIC_STEP
    asked = [(case, label) for case, found in of(results, PEERS).items()
             for label in found if found[label].low <= found[fastest_peer(found)].high]
    runs = [{(case, label): alone(peer_table.timed, label, *case, steps,
                                  windows or max(3, WINDOWS[case[0]] // 3))
             for case, label in asked} for _ in range(n_runs)]
    again: dict[str, Results] = {step: {} for step in steps}
    for case, label in asked:
        for i, step in enumerate(steps):
            again[step].setdefault(case, {})[label] = over_runs(
                [run[case, label][i] for run in runs])
    return again


def fastest_peer(found: Found) -> str:
    return min(found, key=lambda label: found[label].ratio)


def standing(found: Found) -> str:
    """Of fisherkern beside the fastest peer: "faster", "slower", or "level" where the interval of
    the ratio has 1 in it."""
    result = found[fastest_peer(found)]
    return "faster" if result.low > 1 else "slower" if result.high < 1 else "level"


def sentence(case: tuple[str, int], found: Found, step: str) -> str:
    label = fastest_peer(found)
    ratio = found[label]
    peer = f"the fastest peer's{' plain gradient step' * (step == METRIC_STEP)}, {label}"
    how = {
        "faster": f"{ratio.ratio:.2f} times faster ({ratio.low:.2f}-{ratio.high:.2f}) than {peer}",
        "slower": f"{1 / ratio.ratio:.2f} times slower ({1 / ratio.high:.2f}-{1 / ratio.low:.2f}) "
                  f"than {peer}",
        "level": f"as fast as {peer}, as far as this run can tell (ratio {ratio})",
    }[standing(found)]
    return f"- {named(case)}: fisherkern's {named_step(step)} step is {how}."


def named_step(step: str) -> str:
    return "gradient" if step == GRADIENT else step


def named(case: tuple[str, int]) -> str:
    name, n_threads = case
    return f"{name}, {n_threads} thread{'s' * (n_threads > 1)}"


def text(results: Results, repeated: dict[str, Results], n_runs: int = RUNS) -> str:
    """Table, sentences for each workload, who is missing, conditions."""
    names = dict.fromkeys(name for name, _ in results)
    lines = [line for (name, n), found in results.items()
             for line in peer_table.rows(name, n, found)]
    absent = filter(None, map(peer_table.missing, names))
    sparse = [line for step, found in repeated.items()
              for line in ["", *(sentence(*item, step) for item in found.items())]]
    dense = [sentence((f"all weights of {name}'s layers", n), found, step)
             for step, labels in DENSE.items() for (name, n), found in of(results, labels).items()]
    return "\n".join([*peer_table.HEAD, *lines, "",
                      f"The fastest peers once more: {RATIOS.format(n_runs)}.", *sparse, "",
                      *dense, "", *(f"{line}\n" for line in absent), notes()])


def verdict(results: Results, repeated: dict[str, Results], n_runs: int = RUNS) -> str:
    """Where fisherkern is the fastest, where not, and who was not there."""
    lines = ["A case is a workload and a number of threads. Peers take a plain gradient step, also "
             "beside the quasi-diagonal one. Of those that may be the fastest, "
             f"{RATIOS.format(n_runs)}; a case whose range has 1 in it counts as undecided."]
    for step, found in repeated.items():
        lines += ["", *_verdict(step, found)]
    dense = {step: of(results, labels) for step, labels in DENSE.items()}
    if any(dense.values()):
        lines += ["", "On the **dense** networks of the same layers, for which this library is not "
                  "made, beside the steps of others that are most like its own, one process each:"]
        lines += [f"- {' '.join(_verdict(step, found))}" for step, found in dense.items() if found]
    missing = absent(results)
    if missing:
        lines += ["", f"Not installed in this run, so not compared: {'; '.join(missing)}."]
    return "\n".join(lines)


def _verdict(step: str, results: Results) -> list[str]:
    found = {how: [named(case) for case, found in results.items() if standing(found) == how]
             for how in ("faster", "level", "slower")}
    lines = [f"fisherkern's {named_step(step)} step is faster than every peer's in "
             f"{len(found['faster'])} of {len(results)} cases."]
    for how, lead in (("slower", "It is **not the fastest** in"),
                      ("level", "It cannot be told from the fastest peer's in")):
        if found[how]:
            lines.append(f"{lead}: {'; '.join(found[how])}.")
    if not found["slower"]:
        lines.append("In none is a peer faster.")
    return lines


def absent(results: Results) -> list[str]:
    """Contenders that are made for one of these workloads and were not found."""
    return [label for label, contender in peer_table.CONTENDERS.items()
            if any(name in contender.workloads and label not in found
                   for (name, _), found in results.items())]


def notes() -> str:
    return f"{peer_table.notes()} W1 has one thread alone: its steps are too short for two."
