"""Edges: checks, and those of common architectures, drawn with a numpy Generator."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ._validation import finite_number, integer_array, place, positive_integer

MOST_UNITS = 2**31 - 2


def edge_columns(edges: Any) -> tuple[np.ndarray, np.ndarray]:
    """int32 sources and targets of checked range; views, where the edges are int32."""
    array = integer_array(edges, "edges")
    if array.ndim != 2 or array.shape[1] != 2 or array.shape[0] == 0:
        raise ValueError(f"edges must have shape (n_edges, 2) with n_edges >= 1; "
                         f"got {array.shape}")
    if array.min() < 0 or array.max() > MOST_UNITS:
        bad = (array < 0) | (array > MOST_UNITS)
        index = tuple(np.argwhere(bad)[0])
        raise ValueError(f"edges{place(index)} = {array[index]} is out of range")
    return array[:, 0].astype(np.int32, copy=False), array[:, 1].astype(np.int32, copy=False)


def check_sources(targets: np.ndarray, n_inputs: int, n_units: int) -> None:
    """Before anything of n_units entries is made: every non-input unit is some edge's target."""
    if n_units <= n_inputs + targets.size:
        lonely = np.ones(n_units, bool)
        lonely[targets] = False
        if not lonely[n_inputs:].any():
            return
    entered = np.unique(targets[targets >= n_inputs])
    if entered.size < n_units - n_inputs:
        gaps = np.flatnonzero(entered != np.arange(n_inputs, n_inputs + entered.size))
        unit = n_inputs + (int(gaps[0]) if gaps.size else entered.size)
        raise ValueError(f"unit {unit} is joined to no input by any path: it has no incoming edge")


def layer_sizes(sizes: Any) -> list[int]:
    """At least two checked layer sizes."""
    if not np.iterable(sizes) or isinstance(sizes, str):
        raise TypeError(f"sizes must be a sequence of layer sizes; got {sizes!r}")
    widths = [positive_integer(size, f"sizes[{i}]") for i, size in enumerate(sizes)]
    if len(widths) < 2:
        raise ValueError(f"sizes must name at least two layers; got {widths}")
    if sum(widths) > MOST_UNITS:
        raise ValueError(f"sizes must add up to at most 2**31 - 1 units; got {sum(widths)}")
    return widths


def layer_edges(widths: list[int], fan_in: Any, fan_out: Any, density: float | None, replace: bool,
                rng: np.random.Generator) -> np.ndarray:
    """(n_edges, 2) edges between consecutive layers; see `Network.layered`."""
    given = [name for name, value in
             (("fan_in", fan_in), ("fan_out", fan_out), ("density", density)) if value is not None]
    if len(given) > 1:
        raise ValueError(f"give one of fan_in, fan_out and density; got {' and '.join(given)}")
    if density is not None:
        density = finite_number(density, "density", above=0, most=1)
    starts = np.cumsum([0, *widths])
    gaps = []
    for layer, (n_below, n_above) in enumerate(pairwise(widths)):
        if fan_in is not None:
            count = _per_gap(fan_in, layer, len(widths) - 1, "fan_in", n_below, replace)
            above, below = _draw(n_above, n_below, count, replace, rng)
        elif fan_out is not None:
            count = _per_gap(fan_out, layer, len(widths) - 1, "fan_out", n_above, replace)
            below, above = _draw(n_below, n_above, count, replace, rng)
        elif density is not None and density < 1:
            below, above = np.nonzero(rng.random((n_below, n_above)) < density)
        else:
            below, above = np.divmod(np.arange(n_below * n_above), n_above)
        lonely = np.setdiff1d(np.arange(n_above), above)
        below = np.concatenate([below, rng.integers(n_below, size=lonely.size)])
        above = np.concatenate([above, lonely])
        gaps.append(np.column_stack([below + starts[layer], above + starts[layer + 1]]))
    return np.concatenate(gaps)


def _per_gap(value: Any, gap: int, n_gaps: int, name: str, most: int, replace: bool) -> int:
    """The draws per unit of one gap; more than there are units means all of them."""
    if np.ndim(value):
        if len(value) != n_gaps:
            raise ValueError(f"{name} must have one entry per layer gap ({n_gaps}); "
                             f"got {len(value)}")
        value = value[gap]
        name = f"{name}[{gap}]"
    count = positive_integer(value, name)
    return count if replace else min(count, most)


def _draw(n_units: int, n_choices: int, count: int, replace: bool,
          rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`count` choices for each unit: (unit, choice) columns."""
    unit = np.repeat(np.arange(n_units), count)
    if replace:
        return unit, rng.integers(n_choices, size=n_units * count)
    if count == n_choices:
        return unit, np.tile(np.arange(n_choices), n_units)
    if n_choices <= 4096:
        keys = rng.random((n_units, n_choices), dtype=np.float32)
        return unit, np.argpartition(keys, count, axis=1)[:, :count].ravel()
    return unit, np.concatenate([rng.choice(n_choices, count, replace=False, shuffle=False)
                                 for _ in range(n_units)])


def residual_edges(width: int, depth: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges of [A] section 6, which of them are skip edges, and which lead to a linear unit.

    A block is `width` nonlinear units u = phi(W x + b) and `width` linear ones
    x' = V u + alpha x.
    """
    grid = np.divmod(np.arange(width * width), width)
    blocks = []
    for block in range(depth):
        x = block * 2 * width
        u, out = x + width, x + 2 * width
        blocks.append((np.column_stack([grid[0] + x, grid[1] + u]), False, False))
        blocks.append((np.column_stack([grid[0] + u, grid[1] + out]), False, True))
        blocks.append((np.column_stack([np.arange(width) + x, np.arange(width) + out]), True, True))
    edges = np.concatenate([part for part, _, _ in blocks])
    skip = np.concatenate([np.full(len(part), is_skip) for part, is_skip, _ in blocks])
    linear = np.concatenate([np.full(len(part), to_linear) for part, _, to_linear in blocks])
    return edges, skip, linear


def graph_edges(graph: Any, inputs: Any) -> tuple[int, np.ndarray, list | None, list]:
    """Inputs, edges and weights (None unless every edge has one) of a networkx digraph.

    Nodes are renumbered: inputs first, then the others in the graph's order; the list gives the
    node of each unit.
    """
    if not hasattr(graph, "is_directed"):
        raise TypeError(f"graph must be a networkx digraph; got {type(graph).__name__}")
    if not graph.is_directed():
        raise ValueError("graph must be directed")
    if inputs is None:
        inputs = [node for node in graph.nodes if graph.in_degree(node) == 0]
        if not inputs:
            raise ValueError("graph has no node without incoming edges; name its inputs")
    inputs = list(inputs)
    missing = [node for node in inputs if node not in graph]
    if missing:
        raise ValueError(f"inputs names {missing[0]!r}, which is no node of the graph")
    chosen = set(inputs)
    if len(chosen) < len(inputs):
        twice = next(node for i, node in enumerate(inputs) if node in inputs[:i])
        raise ValueError(f"inputs names node {twice!r} twice")
    nodes = inputs + [node for node in graph.nodes if node not in chosen]
    number = {node: unit for unit, node in enumerate(nodes)}
    triples = list(graph.edges(data="weight"))
    edges = np.array([(number[s], number[t]) for s, t, _ in triples], np.int64).reshape(-1, 2)
    weights = [weight for _, _, weight in triples]
    return len(inputs), edges, None if None in weights else weights, nodes
