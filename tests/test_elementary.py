"""The kernels' own polynomials, in units in the last place, over the whole range of each dtype."""

import numpy as np
import pytest
from strategies import DTYPES

import fisherkern as fk

LONG = np.longdouble
EXACT = {
    "tanh": np.tanh,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
    "silu": lambda z: z / (1 + np.exp(-z)),
    "lecun_tanh": lambda z: LONG("1.7159") * np.tanh(z * 2 / 3),
}
# the largest errors seen are 3.05 (tanh), 2.6 (sigmoid, softplus), 3.5 (silu) and 4.15 (lecun_tanh,
# a tanh and two products)
MOST = {"tanh": 3.5, "sigmoid": 3.0, "softplus": 3.0, "silu": 4.0, "lecun_tanh": 4.75}


def points(dtype, rng, n=200_000):
    """Every binade down to the smallest normal numbers, and densely where the curves bend."""
    lowest = np.log2(float(np.finfo(dtype).tiny))
    size = np.exp2(rng.uniform(lowest, 14, n))
    z = np.concatenate([size, -size, rng.uniform(-20, 20, n), np.linspace(-2, 2, n)])
    return z.astype(dtype)


@pytest.mark.skipif(np.finfo(LONG).nmant < 63, reason="long double is no wider than double")
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_error_in_units_in_the_last_place(dtype, name):
    z = points(dtype, np.random.default_rng(0))
    net = fk.Network(1, [(0, 1)], activation=name, dtype=dtype, rng=0)
    net.theta[:] = [0, 1]
    actual = net.forward(z[:, None])[:, 0].astype(LONG)
    with np.errstate(over="ignore", under="ignore"):
        exact = EXACT[name](z.astype(LONG))
    # a result, or the e^-|z| in it, below the smallest normal number may be zero
    tiny = np.finfo(dtype).tiny
    normal = np.abs(exact) >= tiny * np.maximum(1, np.abs(z))
    error = np.abs(actual - exact)
    assert np.all(error[~normal] <= tiny * np.maximum(1, np.abs(z[~normal])))
    ulp = np.spacing(np.abs(exact[normal]).astype(dtype)).astype(LONG)
    worst = np.argmax(error[normal] / ulp)
    assert error[normal][worst] <= MOST[name] * ulp[worst], \
        f"{float(error[normal][worst] / ulp[worst]):.2f} ulp at z = {z[normal][worst]!r}"


@pytest.mark.parametrize("name", ["tanh", "lecun_tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_has_no_sign(dtype, name):
    net = fk.Network(1, [(0, 1)], activation=name, dtype=dtype, rng=0)
    net.theta[:] = [0, 1]
    a = net.forward(np.zeros((40, 1), dtype))
    assert not a.any()
    assert not np.signbit(a).any()
