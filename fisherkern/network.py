"""Networks: sparse directed acyclic graphs of units, their parameters and their passes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np

from . import _network, _pass, initialization, topology
from ._validation import (
    available_threads,
    boolean,
    finite_number,
    float_dtype,
    frozen_flags,
    integer_array,
    numeric_array,
    positive_integer,
    random_generator,
    sample_array,
)
from .interpretations import (
    ACTIVATIONS,
    INTERPRETATIONS,
    KEEPS_SLOPE,
    KEEPS_Z,
    SLOPE_FROM_ACTIVITY,
    check_bernoulli_outputs,
    check_name,
    check_targets,
    unit_activations,
)

_DEFINITION = frozenset({
    "n_inputs", "n_units", "n_edges", "n_parameters", "dtype", "interpretation", "activations",
    "outputs", "indptr", "leaky_slope", "_dag", "_theta", "_frozen"})


class Network:
    """A sparse feed-forward network on any directed acyclic graph [O, Notation].

    Unit k computes ``z_k = w_0k + sum_i w_ik a_i`` and ``a_k = s_k(z_k)``.

    Parameters
    ----------
    n_inputs : int
        Units 0 to n_inputs - 1 are inputs.
    edges : (n_edges, 2) array_like of int
        (source, target) pairs; any acyclic numbering of the other units.
    outputs : sequence of int, optional
        Output units in the order of Y's columns; default: the non-input units without outgoing
        edges, ascending. An output may feed other units.
    activation : str, sequence or mapping
        One name for all, one per non-input unit, or a mapping from unit to name (others: tanh).
        identity, sigmoid, tanh, relu, leaky_relu, erf, lecun_tanh, softplus, silu, gelu.
    interpretation : {"square", "bernoulli", "softmax", "spherical"}
        The output distribution, hence the loss (in nats).
    frozen : (n_edges,) array_like of bool, optional
        Weights that act but are not trained.
    allow_parallel : bool
        Accept repeated edges, each with a weight of its own.
    dtype : {"float64", "float32"}
    rng : None, int or numpy.random.Generator
        Of the initial parameters (scheme "ollivier").
    leaky_slope : float
        Slope of leaky_relu below zero.

    Raises
    ------
    ValueError, TypeError
        Naming the unit, edge or cycle at fault.

    Notes
    -----
    `theta` is one vector of unit blocks: for each non-input unit ascending, its bias, then its
    weights by ascending source; `indptr` are the block offsets. Building costs O(n_edges).
    """

    def __init__(self, n_inputs: int, edges: Any, *, outputs: Any = None,
                 activation: str | Sequence[str] | Mapping[int, str] = "tanh",
                 interpretation: str = "square", frozen: Any = None,
                 allow_parallel: bool = False, dtype: Any = "float64", rng: Any = None,
                 leaky_slope: float = 0.01) -> None:
        self.n_inputs = positive_integer(n_inputs, "n_inputs", most=topology.MOST_UNITS)
        self.dtype = float_dtype(dtype)
        self.interpretation = check_name(interpretation, INTERPRETATIONS, "interpretation")
        self.leaky_slope = finite_number(leaky_slope, "leaky_slope", least=0,
                                         most=float(np.finfo(self.dtype).max))
        allow_parallel = boolean(allow_parallel, "allow_parallel")
        rng = random_generator(rng)
        columns = topology.edge_columns(edges)
        self.n_units = max(int(max(column.max() for column in columns)) + 1, self.n_inputs + 1)
        self.n_edges = columns[0].size
        topology.check_sources(columns[1], self.n_inputs, self.n_units)
        if self.n_edges + self.n_units - self.n_inputs > topology.MOST_UNITS:
            raise ValueError(f"edges: {self.n_edges} edges make more than 2**31 parameters")
        _network.check_edges(columns, self.n_inputs, self.n_units, allow_parallel)
        self.activations = unit_activations(activation, self.n_inputs, self.n_units)
        self.outputs = self._output_units(outputs, columns[0])
        keeps = np.zeros(self.n_units, np.uint8)
        codes = np.zeros(self.n_units, np.uint8)
        number = {name: code for code, name in enumerate(ACTIVATIONS)}
        codes[self.n_inputs:] = np.fromiter(map(number.get, self.activations), np.uint8)
        from_activity = [number[name] for name in SLOPE_FROM_ACTIVITY]
        keeps[self.n_inputs:][~np.isin(codes[self.n_inputs:], from_activity)] = KEEPS_SLOPE
        if self.interpretation == "bernoulli":
            check_bernoulli_outputs(self.outputs, self.activations, self.n_inputs)
            keeps[self.outputs] = KEEPS_Z
        elif self.interpretation == "square":
            keeps[self.outputs[codes[self.outputs] == number["erf"]]] = KEEPS_Z
        self._dag = _network.Dag(columns[0], columns[1], self.n_inputs, self.n_units, self.outputs,
                                 codes, keeps, self.leaky_slope)
        self.indptr = self._dag.indptr
        # views, which cannot be resized under the kernels
        self.indptr, self.outputs = self.indptr[:], self.outputs[:]
        for array in (self.indptr, self.outputs):
            array.flags.writeable = False
        self.n_parameters = int(self.indptr[-1])
        self._theta = np.zeros(self.n_parameters, self.dtype)[:]
        self._frozen = np.zeros(self.n_parameters, bool)[:]
        if frozen is not None:
            given = frozen_flags(frozen, self.n_edges, "edge")
            order = _network.edge_order(*columns, self.n_units)
            self._frozen[self._weight_mask] = given[order]
        self._theta[:] = initialization.ollivier(self, rng)
        self._sealed = True

    def __setattr__(self, name: str, value: Any) -> None:
        # the kernels read buffers of these sizes; a new definition is a new network
        if name in _DEFINITION and getattr(self, "_sealed", False):
            raise AttributeError(f"{name} is part of the network's definition and cannot be "
                                 "assigned; build a new Network")
        super().__setattr__(name, value)

    # --- definition -----------------------------------------------------------------------------

    def _output_units(self, outputs: Any, sources: np.ndarray) -> np.ndarray:
        if outputs is None:
            feeds = np.zeros(self.n_units, bool)
            feeds[sources] = True
            feeds[:self.n_inputs] = True
            units = np.flatnonzero(~feeds)
            # without any, the edges close a cycle, which the DAG's construction prints
            return units if units.size else np.array([self.n_units - 1])
        units = integer_array(outputs, "outputs").astype(np.int64)
        if units.ndim != 1 or units.size == 0:
            raise ValueError(f"outputs must be a sequence of units; its shape is {units.shape}")
        bad = (units < self.n_inputs) | (units >= self.n_units)
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(f"outputs[{i}] = {units[i]} is no non-input unit; those are "
                             f"{self.n_inputs} to {self.n_units - 1}")
        if np.unique(units).size < units.size:
            values, counts = np.unique(units, return_counts=True)
            raise ValueError(f"outputs names unit {values[counts > 1][0]} twice")
        return units

    @classmethod
    def layered(cls, sizes: Sequence[int], *, fan_in: Any = None, fan_out: Any = None,
                density: float | None = None, replace: bool = False, rng: Any = None,
                **options: Any) -> Self:
        """Layers of the given sizes, each joined to the next; outputs are the last layer.

        Parameters
        ----------
        sizes : sequence of int
            Inputs first.
        fan_in, fan_out : int or one int per layer gap
            Random sources of each unit, or random targets of each source unit.
        density : float
            Probability of each edge. With none of the three, layers are dense.
        replace : bool
            Draw with replacement and keep repeated draws as parallel edges.
        rng : None, int or numpy.random.Generator
            Of the edges and the initial parameters.
        **options
            As for `Network`. A unit that a draw leaves without inputs gets one at random.
        """
        replace = boolean(replace, "replace")
        rng = random_generator(rng)
        sizes = topology.layer_sizes(sizes)
        edges = topology.layer_edges(sizes, fan_in, fan_out, density, replace, rng)
        n = sum(sizes)
        options = {"outputs": np.arange(n - sizes[-1], n), "allow_parallel": replace} | options
        return cls(sizes[0], edges, rng=rng, **options)

    @classmethod
    def residual(cls, width: int, depth: int, *, alpha: float, sigma_v: float,
                 sigma_w: float = 1.0, sigma_b: float = 0.0, activation: str = "relu",
                 rng: Any = None, **options: Any) -> Self:
        """Residual blocks x' = V phi(W x + b) + alpha x of equal width [A section 6].

        Skip edges carry `alpha` and are frozen. V ~ N(0, sigma_v^2/width),
        W ~ N(0, sigma_w^2/width), b ~ N(0, sigma_b^2); the last block's x are the outputs. The
        paper keeps V fixed: set `frozen` on its entries for that.
        """
        width = positive_integer(width, "width")
        depth = positive_integer(depth, "depth")
        alpha = finite_number(alpha, "alpha")
        sigmas = {"v": finite_number(sigma_v, "sigma_v", least=0),
                  "w": finite_number(sigma_w, "sigma_w", least=0),
                  "b": finite_number(sigma_b, "sigma_b", least=0)}
        check_name(activation, ACTIVATIONS, "activation")
        if "frozen" in options:
            raise TypeError("residual freezes the skip edges; assign `frozen` for more")
        rng = random_generator(rng)
        edges, skip, linear = topology.residual_edges(width, depth)
        names = ([activation] * width + ["identity"] * width) * depth
        options = {"outputs": np.arange(width) + 2 * depth * width} | options
        net = cls(width, edges, activation=names, frozen=skip, rng=rng, **options)
        order = _network.edge_order(*topology.edge_columns(edges), net.n_units)
        spread = np.where(linear, sigmas["v"], sigmas["w"]) / np.sqrt(width)
        weights = rng.standard_normal(net.n_edges) * spread[order]
        net._theta[net._weight_mask] = np.where(skip[order], alpha, weights)
        biases = rng.standard_normal(len(names)) * sigmas["b"]
        net._theta[net.indptr[:-1]] = np.where(np.array(names) == "identity", 0.0, biases)
        return net

    @classmethod
    def from_scipy(cls, matrix: Any, *, n_inputs: int | None = None, **options: Any) -> Self:
        """From a square scipy.sparse matrix whose entry [i, k] is the weight of edge i -> k.

        Stored zeros are edges. `n_inputs` defaults to the leading units without incoming edges.
        Biases start at zero.
        """
        import scipy.sparse

        if not scipy.sparse.issparse(matrix):
            raise TypeError(f"matrix must be a scipy.sparse matrix; got {type(matrix).__name__}")
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"matrix must be square; its shape is {matrix.shape}")
        entries = matrix.tocoo()
        edges = np.column_stack([entries.row, entries.col]).astype(np.int64)
        if n_inputs is None:
            entered = np.zeros(matrix.shape[0] + 1, bool)
            entered[-1] = True
            entered[edges[:, 1]] = True
            n_inputs = int(np.argmax(entered))
            if n_inputs == 0:
                raise ValueError("matrix has no input: its column 0 holds an entry")
        elif positive_integer(n_inputs, "n_inputs") >= matrix.shape[0]:
            raise ValueError(f"n_inputs must be below the matrix's {matrix.shape[0]} units; got "
                             f"{n_inputs}")
        return cls._with_weights(n_inputs, matrix.shape[0], edges, entries.data, "matrix.data",
                                 options)

    @classmethod
    def from_networkx(cls, graph: Any, *, inputs: Any = None, **options: Any) -> Self:
        """From a networkx digraph. `inputs` defaults to the nodes without incoming edges.

        Units are numbered inputs first, then the other nodes in the graph's order. Where every
        edge has a "weight", weights are those and biases zero. `outputs` and `activation` are by
        unit number.
        """
        n_inputs, edges, weights, nodes = topology.graph_edges(graph, inputs)
        if graph.is_multigraph():
            options = {"allow_parallel": True} | options
        return cls._with_weights(n_inputs, len(nodes), edges, weights, "edge weights", options)

    @classmethod
    def _with_weights(cls, n_inputs: int, n_units: int, edges: np.ndarray, weights: Any,
                      name: str, options: dict) -> Self:
        """A network of checked weights in the edges' order and zero biases."""
        last = max(edges.max(initial=0), n_inputs - 1)
        if last < n_units - 1:
            raise ValueError(f"unit {last + 1} is joined to no input by any path: it has no edge")
        net = cls(n_inputs, edges, **options)
        if weights is not None:
            weights = numeric_array(weights, name, net.dtype)
            net._theta[:] = 0
            order = _network.edge_order(*topology.edge_columns(edges), net.n_units)
            net._theta[net._weight_mask] = weights[order]
        return net

    # --- parameters -----------------------------------------------------------------------------

    @property
    def theta(self) -> np.ndarray:
        """(n_parameters,) live parameters; assignable whole or by entries."""
        return self._theta

    @theta.setter
    def theta(self, values: Any) -> None:
        if values is self._theta:
            return
        checked = numeric_array(values, "theta", self.dtype)
        if checked.shape != self._theta.shape:
            raise ValueError(f"theta must have shape ({self.n_parameters},); got {checked.shape}")
        self._theta[:] = checked

    @property
    def frozen(self) -> np.ndarray:
        """(n_parameters,) live booleans in theta's order; assignable."""
        return self._frozen

    @frozen.setter
    def frozen(self, values: Any) -> None:
        if values is self._frozen:
            return
        flags = values if isinstance(values, (bool, np.bool_)) else frozen_flags(
            values, self.n_parameters, "parameter")
        self._frozen[:] = flags

    @property
    def _weight_mask(self) -> np.ndarray:
        mask = np.ones(self.n_parameters, bool)
        mask[self.indptr[:-1]] = False
        return mask

    @property
    def _order(self) -> np.ndarray:
        """Unit number of each position in the kernels' order."""
        order = np.empty(self.n_units, np.int64)
        order[self._dag.position] = np.arange(self.n_units)
        return order

    @property
    def edges(self) -> np.ndarray:
        """(n_edges, 2) (source, target) in theta's order (a copy)."""
        fan_in = np.diff(self.indptr) - 1
        target = np.repeat(np.arange(self.n_inputs, self.n_units), fan_in)
        return np.column_stack([self._order[self._dag.source[self._weight_mask]], target])

    @property
    def weights(self) -> np.ndarray:
        """(n_edges,) weights in theta's order (a copy)."""
        return self._theta[self._weight_mask]

    @property
    def biases(self) -> np.ndarray:
        """(n_units - n_inputs,) biases (a copy)."""
        return self._theta[self.indptr[:-1]]

    @property
    def n_outputs(self) -> int:
        return self.outputs.size

    def initialize(self, scheme: str = "ollivier", rng: Any = None, X: Any = None) -> Self:
        """Draw new parameters in place; frozen ones keep their values. Returns the network.

        Parameters
        ----------
        scheme : {"ollivier", "data"}
            That of [O section 4], or one scaled to the samples `X` so that no feature's unit or
            origin matters.
        rng : None, int or numpy.random.Generator
        X : (n_samples, n_inputs) array_like or scipy.sparse matrix
            For "data" only; at most 500 rows of it are used, but for the ranges of sparse ones.
        """
        check_name(scheme, ("ollivier", "data"), "scheme")
        rng = random_generator(rng)
        if scheme == "data":
            if X is None:
                raise ValueError("scheme 'data' needs X")
            X = sample_array(X, self.n_inputs, np.dtype(np.float64), sparse=True)
            theta = initialization.from_data(self, X, rng)
        else:
            theta = initialization.ollivier(self, rng)
        large = ~self._frozen & ~(np.abs(theta) <= np.finfo(self.dtype).max)
        if large.any():
            entry = int(np.argmax(large))
            raise ValueError(f"X: theta[{entry}] would be {theta[entry]:g}, which does not fit "
                             f"{self.dtype}; the activities that it weights are too large or small")
        self._theta[:] = np.where(self._frozen, self._theta, theta)
        return self

    # --- passes ---------------------------------------------------------------------------------

    def activities(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """(n_samples, n_units) activities [O (2)]; O(n_samples n_edges)."""
        return self._forward(X, "activities", self.n_units, n_threads)

    def forward(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """(n_samples, n_outputs) output activities; O(n_samples n_edges)."""
        return self._forward(X, "outputs", self.n_outputs, n_threads)

    def _forward(self, X: Any, what: str, width: int, n_threads: int | None) -> np.ndarray:
        X = self._checked_inputs(X)
        out = np.empty((X.shape[0], width), self.dtype)
        self._pass("forward", X, None, n_threads).run(**{what: out})
        return out

    def losses(self, X: Any, Y: Any, *, n_threads: int | None = None) -> np.ndarray:
        """(n_samples,) float64 losses in nats; +inf where the target has probability zero."""
        X, Y = self._samples(X, Y)
        out = np.empty(X.shape[0])
        self._pass("output", X, Y, n_threads).run(sample_loss=out)
        return out

    def loss(self, X: Any, Y: Any, *, n_threads: int | None = None) -> float:
        """Mean of `losses` in nats."""
        X, Y = self._samples(X, Y)
        return float(self._pass("output", X, Y, n_threads).run())

    def gradient(self, X: Any, Y: Any, *, n_threads: int | None = None) -> np.ndarray:
        """(n_parameters,) gradient of the mean loss [O (5), (10)]; frozen entries are 0.

        O(n_samples n_edges): about three forward passes.
        """
        X, Y = self._samples(X, Y)
        batch = self._pass("statistics", X, Y, n_threads)
        batch.run()
        raise_fault(batch)
        gradient = -batch.sums()[0]
        gradient[self._frozen] = 0
        return gradient

    def backpropagated_modulus(self, X: Any, reduced: bool = False, *,
                               n_threads: int | None = None) -> np.ndarray:
        """(n_samples, n_units) m_k [O Def. 7], or r_k^2 m_k where `reduced`.

        A saturated output's m_k may be +inf. O(n_samples n_edges).
        """
        X = self._checked_inputs(X)
        out = np.empty((X.shape[0], self.n_units), self.dtype)
        batch = self._pass("backward", X, None, n_threads, signals="values_modulus")
        batch.run(**{"modulus" if reduced else "sums": out})
        if not reduced:
            own = np.empty((X.shape[0], self.n_outputs), self.dtype)
            self._pass("output", X, None, n_threads).run(output_metric=own)
            out[:, self.outputs] += own
        return out

    def transfer_rates(self, X: Any, *, n_threads: int | None = None) -> np.ndarray:
        """(n_samples, n_units, n_outputs) J_k^o = d a_o / d a_k [O Def. 2].

        O(n_samples n_edges n_outputs).
        """
        X = self._checked_inputs(X)
        out = np.empty((self.n_outputs, X.shape[0], self.n_units), self.dtype)
        self._pass("backward", X, None, n_threads, signals="transfer_rates").run(rates=out)
        return np.moveaxis(out, 0, 2)

    def fisher_modulus(self, X: Any, reduced: bool = False, *,
                       n_threads: int | None = None) -> np.ndarray:
        """(n_samples, n_units) Phi_k = J_k^T Omega J_k [O Def. 3], or r_k^2 Phi_k where `reduced`.

        A saturated output's Phi_k may be +inf. O(n_samples n_edges n_outputs).
        """
        X = self._checked_inputs(X)
        out = np.empty((X.shape[0], self.n_units), self.dtype)
        batch = self._pass("backward", X, None, n_threads, signals="values_fisher")
        batch.run(**{"modulus" if reduced else "sums": out})
        return out

    def _checked_inputs(self, X: Any) -> np.ndarray:
        return sample_array(X, self.n_inputs, self.dtype)

    def _samples(self, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray]:
        X = self._checked_inputs(X)
        return X, check_targets(Y, self.interpretation, X.shape[0], self.n_outputs, self.dtype)

    def _doubled(self, X: Any, Y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
        """Checked samples in float64: what is solved without damping needs its digits."""
        if Y is None:
            return self._checked_inputs(X).astype(np.float64, copy=False), None
        X, Y = self._samples(X, Y)
        return X.astype(np.float64, copy=False), Y if Y.ndim == 1 else Y.astype(np.float64,
                                                                               copy=False)

    def _pass(self, stage: str, X: np.ndarray, Y: np.ndarray | None, n_threads: int | None,
              signals: str = "values", reduction: str = "none", n_draws: int = 1) -> _pass.Pass:
        """A pass over checked arrays, ready to run, in the dtype of X."""
        batch = _pass.Pass(self._dag, X.dtype, X.shape[0], _pass.STAGES[stage],
                           INTERPRETATIONS.index(self.interpretation), _pass.SIGNALS[signals],
                           _pass.REDUCTIONS[reduction], available_threads(n_threads),
                           n_draws=n_draws)
        batch.set_theta(self._theta.astype(X.dtype, copy=False))
        batch.set_data(X, Y)
        return batch

    # --- copies and files -----------------------------------------------------------------------

    def copy(self) -> Self:
        """An independent network of equal definition and parameters."""
        return type(self)._from_state(*self._state())

    def save(self, path: Any) -> None:
        """Write definition and parameters to a safetensors file, atomically; see `load`."""
        from .io import save

        save(self, path)

    def _state(self) -> tuple[dict, dict]:
        """Definition (strings and numbers) and arrays, enough to build an equal network."""
        names = sorted(set(self.activations))
        codes = np.array([names.index(name) for name in self.activations], np.uint8)
        definition = {"n_inputs": self.n_inputs, "interpretation": self.interpretation,
                      "leaky_slope": self.leaky_slope, "activations": names,
                      "dtype": self.dtype.name}
        arrays = {"edges": self.edges, "outputs": self.outputs, "activation": codes,
                  "theta": self._theta.copy(), "frozen": self._frozen.copy()}
        return definition, arrays

    @classmethod
    def _from_state(cls, definition: dict, arrays: dict) -> Self:
        names = definition["activations"]
        n_units = definition["n_inputs"] + arrays["activation"].size
        if arrays["edges"].size == 0 or arrays["edges"].max() != n_units - 1:
            raise ValueError(f"edges do not end at unit {n_units - 1}, the last that has an "
                             "activation")
        if arrays["theta"].dtype != definition["dtype"]:
            raise ValueError(f"theta has dtype {arrays['theta'].dtype}, not {definition['dtype']}")
        if arrays["activation"].max(initial=0) >= len(names):
            raise ValueError("activation names an activation that is not listed")
        net = cls(definition["n_inputs"], arrays["edges"], outputs=arrays["outputs"],
                  activation=[names[code] for code in arrays["activation"]],
                  interpretation=definition["interpretation"], allow_parallel=True,
                  dtype=definition["dtype"], rng=0, leaky_slope=definition["leaky_slope"])
        for name, place_ in (("theta", net._theta), ("frozen", net._frozen)):
            if arrays[name].shape != place_.shape:
                raise ValueError(f"{name} must have shape {place_.shape}; "
                                 f"got {arrays[name].shape}")
            place_[:] = arrays[name]
        return net

    def __reduce__(self) -> tuple:
        return _rebuild, (type(self), *self._state())

    def __repr__(self) -> str:
        kinds = sorted(set(self.activations), key=self.activations.count, reverse=True)
        return (f"<Network {self.n_inputs} inputs, {self.n_units - self.n_inputs} units "
                f"({', '.join(kinds)}), {self.n_edges} edges, {self.n_outputs} "
                f"{self.interpretation} outputs, {self.n_parameters} parameters, {self.dtype}>")


def _rebuild(cls: type[Network], definition: dict, arrays: dict) -> Network:
    return cls._from_state(definition, arrays)


def raise_fault(batch: _pass.Pass, rows: np.ndarray | None = None) -> None:
    """ValueError where the spherical loss of a sample has no derivative; `rows` are the numbers of
    the batch's samples, if not 0, 1, ..."""
    fault = batch.fault()
    if fault is not None:
        sample = fault[0] if rows is None else rows[fault[0]]
        raise ValueError(f"the spherical loss of sample {sample} has no derivative: output "
                         f"{fault[1]}, which its target needs, is 0")
