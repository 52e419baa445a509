"""The forms of `jax_forms`, each in a process that has as many threads as the row says."""

from .apart import Apart


class BCOOPeer(Apart):
    """A sparse matrix for each layer."""

    form = "bench.jax_forms", "BCOOForm"


class GatherPeer(Apart):
    """Gathered rows for each layer."""

    form = "bench.jax_forms", "GatherForm"


class LevelsPeer(Apart):
    """Gathered rows for each level of an irregular graph."""

    form = "bench.jax_forms", "LevelsForm"


class DensePeer(Apart):
    """Dense layers with a mask."""

    form = "bench.jax_forms", "DenseForm"
