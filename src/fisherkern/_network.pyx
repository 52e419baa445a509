# cython: language_level=3, boundscheck=False, initializedcheck=False
"""Edges to a checked DAG: topological order, parameter blocks (CSR), outgoing edges (CSC)."""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t


WIDE_LEVEL = 1 << 16  # units, whose rows of one tile take 4 MiB at least
AHEAD = 2             # units whose rows are asked for before their turn in wider levels


cdef counting_order(const int32_t[:] keys, int64_t n_keys):
    """Stable order of `keys` in [0, n_keys), and the offset of each key's group; O(n)."""
    cdef int64_t i, n = keys.shape[0]
    starts = np.zeros(n_keys + 1, np.int64)
    order = np.empty(n, np.int32)
    cdef int64_t[::1] s = starts, place
    cdef int32_t[::1] o = order
    with nogil:
        for i in range(n):
            s[keys[i] + 1] += 1
        for i in range(n_keys):
            s[i + 1] += s[i]
    place = starts[:-1].copy()
    with nogil:
        for i in range(n):
            o[place[keys[i]]] = <int32_t>i
            place[keys[i]] += 1
    return order, starts


cdef take(const int32_t[::1] values, const int32_t[::1] places, int32_t[::1] out):
    """out = values[places], which may be one array; numpy would copy the places as wide integers."""
    cdef int64_t i
    with nogil:
        for i in range(places.shape[0]):
            out[i] = values[places[i]]


cdef find_levels(int64_t n_inputs, const int64_t[::1] in_start, const int64_t[::1] out_start,
                 const int32_t[::1] target):
    """Longest path from a root to each unit; -1 on units that a cycle holds back."""
    cdef int64_t n = in_start.shape[0] - 1, e, head = 0, tail = 0
    cdef int32_t unit
    levels = np.full(n, -1, np.int32)
    cdef int32_t[::1] level = levels
    cdef int32_t[::1] depth = np.zeros(n, np.int32), queue = np.empty(n, np.int32)
    cdef int64_t[::1] waiting = np.diff(in_start)
    with nogil:
        for unit in range(n):
            if waiting[unit] == 0:
                queue[tail] = unit
                tail += 1
        while head < tail:
            unit = queue[head]
            head += 1
            level[unit] = depth[unit] if unit < n_inputs or depth[unit] > 0 else 1
            for e in range(out_start[unit], out_start[unit + 1]):
                if level[unit] + 1 > depth[target[e]]:
                    depth[target[e]] = level[unit] + 1
                waiting[target[e]] -= 1
                if waiting[target[e]] == 0:
                    queue[tail] = target[e]
                    tail += 1
    return levels


cdef list find_cycle(const int32_t[::1] level, const int64_t[::1] in_start,
                     const int32_t[::1] source):
    """A cycle among the units without a level, in the direction of its edges."""
    cdef int64_t e
    cdef int32_t unit = <int32_t>np.flatnonzero(np.asarray(level) < 0)[0]
    seen = {}
    path = []
    while unit not in seen:
        seen[unit] = len(path)
        path.append(unit)
        for e in range(in_start[unit], in_start[unit + 1]):
            if level[source[e]] < 0:
                unit = source[e]
                break
    cycle = path[seen[unit]:][::-1]
    return cycle + cycle[:1]


def check_edges(edges, int64_t n_inputs, int64_t n_units, bint allow_parallel):
    """Raise ValueError on the first edge that is out of range, enters an input or is repeated."""
    cdef const int32_t[:] source = edges[0], target = edges[1]
    cdef int64_t e, bad = -1
    for e in range(source.shape[0]):
        if target[e] < n_inputs:
            bad = e
            break
    if bad >= 0:
        raise ValueError(f"edges[{bad}] = ({source[bad]}, {target[bad]}) leads into input unit "
                         f"{target[bad]}; inputs are units 0 to {n_inputs - 1}")
    if allow_parallel:
        return
    order, _ = counting_order(source, n_units)
    second, start = counting_order(np.asarray(target)[order], n_units)
    order = order[second]
    s, t = np.asarray(source)[order], np.asarray(target)[order]
    same = np.flatnonzero((s[1:] == s[:-1]) & (t[1:] == t[:-1]))
    if same.size:
        again = order[same + 1].min()
        raise ValueError(f"edges[{again}] = ({source[again]}, {target[again]}) is there twice; "
                         "pass allow_parallel=True to give each its own weight")


def edge_order(sources, targets, int64_t n_units):
    """The edges by target, then source, then their given order; O(n_edges)."""
    by_source, _ = counting_order(sources, n_units)
    by_target, _ = counting_order(targets[by_source], n_units)
    return by_source[by_target]


cdef class Dag:
    """Built from checked int32 edge columns; see `fk_dag` in simd/fk.h for the arrays.

    Raises ValueError on a cycle (printed) and on a unit that no path joins to an input.
    """

    def __init__(self, sources, targets, int n_inputs, int n_units, outputs, activation,
                 keeps, double leaky_slope):
        cdef int64_t n_edges = sources.shape[0]
        # of what is made on the way, as little as possible at a time: it decides the memory
        order = edge_order(sources, targets, n_units)
        source, target = sources[order], targets[order]
        del order
        in_start = np.concatenate([[0], np.cumsum(np.bincount(target, minlength=n_units))])
        out_edge, out_start = counting_order(source, n_units)
        levels = find_levels(n_inputs, in_start, out_start, target[out_edge])
        if (levels < 0).any():
            cycle = " -> ".join(map(str, find_cycle(levels, in_start, source)))
            raise ValueError(f"edges contain a cycle: {cycle}")
        del out_edge, out_start
        self._check_reached(n_inputs, in_start, source, levels)
        self._number(n_inputs, levels)
        del levels
        self.indptr = in_start[n_inputs:] + np.arange(n_units - n_inputs + 1)
        # an edge's index in theta: a bias comes before the weights of each unit
        parameter = np.arange(1 - n_inputs, n_edges + 1 - n_inputs, dtype=np.int32)
        parameter += target
        take(self.position, source, source)
        take(self.position, target, target)
        self._index(n_inputs, n_units, n_edges, in_start, source, target, parameter)
        self._link(n_inputs, n_units, outputs, activation, keeps, leaky_slope)

    def _check_reached(self, int64_t n_inputs, in_start, source, levels):
        """A unit is reached when any of its sources is; visited in topological order."""
        reached = np.zeros(levels.size, bool)
        reached[:n_inputs] = True
        cdef uint8_t[::1] mark = reached.view(np.uint8)
        cdef const int64_t[::1] start = in_start
        cdef const int32_t[::1] s = source
        cdef int64_t[::1] order = np.argsort(levels, kind="stable")
        cdef int64_t i, e, k
        for i in range(order.shape[0]):
            k = order[i]
            for e in range(start[k], start[k + 1]):
                mark[k] |= mark[s[e]]
        if not reached.all():
            lost = np.flatnonzero(~reached)
            raise ValueError(f"unit {lost[0]} is joined to no input by any path"
                             + (f" ({lost.size} such units)" if lost.size > 1 else ""))

    def _number(self, int n_inputs, levels):
        """Positions: inputs, then by level, then by number."""
        order, starts = counting_order(levels, int(levels.max()) + 1)
        order = np.concatenate([np.arange(n_inputs), order[order >= n_inputs]])
        self.position = np.empty(levels.size, np.int32)
        self.position[order] = np.arange(levels.size, dtype=np.int32)
        self.level_starts = starts.astype(np.int32)
        self.widest_level = int(np.diff(starts).max())
        self._keep = {"order": order}

    def _index(self, int n_inputs, int n_units, int64_t n_edges, in_start, source, target,
               parameter):
        """Parameter blocks in the public order, and the outgoing edges, all by position."""
        order = self._keep["order"]
        fan_in = np.diff(in_start)
        n_parameters = int(self.indptr[-1])
        self.source = np.zeros(n_parameters, np.int32)
        self.source[parameter] = source
        block = np.zeros(n_units, np.int64)
        block[n_inputs:] = self.indptr[:-1]
        self.block = block[order]
        self.fan_in = fan_in[order].astype(np.int32)
        np.subtract(n_units - 1, source, out=source)  # backwards
        out_edge, out_start = counting_order(source, n_units)
        self.out_start = np.ascontiguousarray(out_start[::-1])
        self.out_target = target[out_edge]
        out_parameter = np.empty(n_parameters, np.int32)
        take(parameter, out_edge, out_parameter)
        out_parameter[n_edges:] = self.block[n_inputs:]
        self._keep["out_parameter"] = out_parameter
        self.view.n_edges = n_edges
        self.view.n_parameters = n_parameters

    def _link(self, int n_inputs, int n_units, outputs, activation, keeps, double leaky_slope):
        """Point `view` into arrays that this object keeps alive."""
        order = self._keep["order"]
        self.outputs = self.position[outputs]
        slot = np.full(n_units, -1, np.int32)
        slot[self.outputs] = np.arange(len(outputs), dtype=np.int32)
        cdef const int32_t[::1] position = self.position, output = self.outputs, slots = slot
        cdef const int32_t[::1] fan_in = self.fan_in, source = self.source
        cdef const int32_t[::1] out_target = self.out_target
        cdef const int32_t[::1] out_parameter = self._keep["out_parameter"]
        cdef const int64_t[::1] block = self.block, out_start = self.out_start
        cdef const int64_t[::1] indptr = self.indptr
        cdef const int32_t[::1] level_starts = self.level_starts
        cdef const uint8_t[::1] code = activation[order], kept = keeps[order]
        self._keep = (position, output, slots, fan_in, source, out_target, out_parameter, block,
                      out_start, indptr, level_starts, code, kept)
        v = &self.view
        v.n_units, v.n_inputs, v.n_outputs = n_units, n_inputs, len(outputs)
        v.leaky_slope = leaky_slope
        v.ahead = AHEAD if self.widest_level > WIDE_LEVEL else 0
        v.n_levels, v.level_starts = level_starts.shape[0] - 1, &level_starts[0]
        v.outputs, v.output_slot, v.position = &output[0], &slots[0], &position[0]
        v.activation, v.keeps = &code[0], &kept[0]
        v.block, v.fan_in, v.source = &block[0], &fan_in[0], &source[0]
        v.out_start, v.out_target = &out_start[0], &out_target[0]
        v.out_parameter, v.indptr = &out_parameter[0], &indptr[0]

    def place_edges(self):
        """(n_parameters,) place of each parameter in the order of the outgoing edges, with the
        biases by position behind them; made when first asked for."""
        if self._places is None:
            order = np.asarray(<const int32_t[:self.view.n_parameters]>self.view.out_parameter)
            made = np.empty(order.size, np.int32)
            made[order] = np.arange(order.size, dtype=np.int32)
            if self._places is None:  # another Python thread may have been here, and be using them
                self._places = made
        return self._places

    def place_blocks(self):
        """(n_units,) offsets of the units' packed lower triangles, which kernels then find too;
        made when first asked for."""
        cdef const int64_t[::1] packed
        if self._packed is None:
            size = self.fan_in.astype(np.int64) + 1
            size[:self.view.n_inputs] = 0
            ends = np.cumsum(size * (size + 1) // 2)
            made = np.concatenate([[0], ends[:-1]])
            packed, n_blocks = made, int(ends[-1])
            if self._packed is None:  # another Python thread may have been here, and be using them
                self.view.packed, self.view.n_blocks = &packed[0], n_blocks
                self._packed = made
        return self._packed
