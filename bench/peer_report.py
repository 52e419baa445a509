"""Steps of every installed peer beside fisherkern's, as text: who is the fastest."""

from __future__ import annotations

from collections.abc import Collection

from . import peer_table
from .pairing import Paired
from .setting import cases
from .workloads import WORKLOADS

METRIC_STEP = "quasi-diagonal"

# those that take a gradient step, as backpropagation does, on the workload's network
PEERS = tuple(label for label, contender in peer_table.CONTENDERS.items()
              if contender.beside == "backpropagation" and not contender.on)
# the same on the dense network of the same layers, for which this library is not made
DENSE = tuple(label for label, contender in peer_table.CONTENDERS.items()
              if contender.beside == "backpropagation" and contender.on)

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


def compare_metric(results: Results, windows: int | None = None) -> Results:
    """The fastest plain peer of each case again, beside the step with the metric."""
    return {case: peer_table.compare(*case, [fastest_peer(found)], METRIC_STEP, windows)
            for case, found in of(results, PEERS).items()}


def fastest_peer(found: Found) -> str:
    return min(found, key=lambda label: found[label].ratio)


def standing(found: Found) -> str:
    """Of fisherkern beside the fastest peer: "faster", "slower", or "level" where the interval of
    the ratio has 1 in it."""
    result = found[fastest_peer(found)]
    return "faster" if result.low > 1 else "slower" if result.high < 1 else "level"


def sentence(case: tuple[str, int], found: Found, step: str = "gradient") -> str:
    label = fastest_peer(found)
    ratio = found[label]
    peer = f"the fastest peer's{'' if step == 'gradient' else ' plain gradient step'}, {label}"
    how = {
        "faster": f"{ratio.ratio:.2f} times faster ({ratio.low:.2f}-{ratio.high:.2f}) than {peer}",
        "slower": f"{1 / ratio.ratio:.2f} times slower ({1 / ratio.high:.2f}-{1 / ratio.low:.2f}) "
                  f"than {peer}",
        "level": f"as fast as {peer}, as far as this run can tell (ratio {ratio})",
    }[standing(found)]
    return f"- {named(case)}: fisherkern's {step} step is {how}."


def named(case: tuple[str, int]) -> str:
    name, n_threads = case
    return f"{name}, {n_threads} thread{'s' * (n_threads > 1)}"


def text(results: Results, metric: Results) -> str:
    """Table, sentences for each workload, who is missing, conditions."""
    names = dict.fromkeys(name for name, _ in results)
    lines = [line for (name, n), found in results.items()
             for line in peer_table.rows(name, n, found)]
    absent = filter(None, map(peer_table.missing, names))
    return "\n".join([
        *peer_table.HEAD, *lines, "",
        *(sentence(*item) for item in of(results, PEERS).items()), "",
        *(sentence(*item, METRIC_STEP) for item in metric.items()), "",
        *(sentence((f"all weights of {name}'s layers", n), found)
          for (name, n), found in of(results, DENSE).items()), "",
        *(f"{line}\n" for line in absent), notes()])


def verdict(results: Results, metric: Results) -> str:
    """Where fisherkern is the fastest, where not, and who was not there."""
    lines = ["A case is a workload and a number of threads; what peers take is a plain gradient "
             "step in both. Ratios are those of one process: within a tenth of 1, another one may "
             "turn them round."]
    for step, found in (("gradient", of(results, PEERS)), (METRIC_STEP, metric)):
        lines += ["", *_verdict(step, found)]
    slower = [named(case) for case, found in of(results, DENSE).items()
              if standing(found) == "slower"]
    if slower:
        lines += ["", "On **dense** networks of the same layers a library for these is faster in: "
                  f"{'; '.join(slower)}."]
    missing = absent(results)
    if missing:
        lines += ["", f"Not installed in this run, so not compared: {'; '.join(missing)}."]
    return "\n".join(lines)


def _verdict(step: str, results: Results) -> list[str]:
    found = {how: [named(case) for case, found in results.items() if standing(found) == how]
             for how in ("faster", "level", "slower")}
    lines = [f"fisherkern's {step} step is faster than every peer's in {len(found['faster'])} of "
             f"{len(results)} cases."]
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
    return (f"{peer_table.versions()} {peer_table.pools()} The fastest of those beside the same "
            "step on the same network is in bold. W1 has one thread alone: its steps are too short "
            "for two.")
