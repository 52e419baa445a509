"""Results are bitwise the same for any number of threads, OpenMP's or Python's."""

import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from strategies import DTYPES, random_targets

import fisherkern as fk
from fisherkern.interpretations import INTERPRETATIONS

METHODS = {
    "activities": lambda net, X, Y, n: net.activities(X, n_threads=n),
    "forward": lambda net, X, Y, n: net.forward(X, n_threads=n),
    "losses": lambda net, X, Y, n: net.losses(X, Y, n_threads=n),
    "loss": lambda net, X, Y, n: net.loss(X, Y, n_threads=n),
    "gradient": lambda net, X, Y, n: net.gradient(X, Y, n_threads=n),
    "backpropagated_modulus": lambda net, X, Y, n: net.backpropagated_modulus(X, n_threads=n),
    "reduced_modulus": lambda net, X, Y, n: net.backpropagated_modulus(X, True, n_threads=n),
    "transfer_rates": lambda net, X, Y, n: net.transfer_rates(X, n_threads=n),
    "fisher_modulus": lambda net, X, Y, n: net.fisher_modulus(X, n_threads=n),
    "monte_carlo": lambda net, X, Y, n: fk.metric(
        net, X, kind="monte_carlo", reduction="diagonal", n_draws=3, rng=8, n_threads=n).diagonal(),
}
# the last tile is short, the slots do not divide evenly among threads, and the last count makes
# a slot own two tiles
SAMPLE_COUNTS = (650, 1300)


def large_problem(interpretation="square", dtype="float64", n_samples=650):
    """Enough edges and samples that five threads find work."""
    rng = np.random.default_rng(0)
    last = "identity" if interpretation in ("square", "softmax") else "sigmoid"
    net = fk.Network.layered(
        [40, 60, 50, 7], fan_in=12, rng=rng, dtype=dtype, interpretation=interpretation,
        activation=["tanh"] * 60 + ["silu"] * 50 + [last] * 7)
    net.frozen = rng.random(net.n_parameters) < 0.1
    X = rng.standard_normal((n_samples, 40)).astype(dtype)
    return net, X, random_targets(rng, net, n_samples)


@pytest.mark.parametrize("n_samples", SAMPLE_COUNTS)
def test_problem_is_large_enough_for_five_threads(n_samples):
    net, X, Y = large_problem(n_samples=n_samples)
    for stage in ("forward", "output", "backward", "statistics"):
        assert net._pass(stage, X, Y, 5).n_threads == 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_samples", SAMPLE_COUNTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interpretation", INTERPRETATIONS)
def test_thread_count_does_not_change_a_bit(interpretation, dtype, n_samples, method):
    net, X, Y = large_problem(interpretation, dtype, n_samples)
    alone = METHODS[method](net, X, Y, 1)
    for n_threads in (2, 3, 5, None):
        np.testing.assert_array_equal(METHODS[method](net, X, Y, n_threads), alone,
                                      err_msg=f"n_threads={n_threads}", strict=True)


@pytest.mark.parametrize("n_samples", [1, 17, 64, 65])
def test_more_threads_than_work(n_samples):
    net, X, Y = large_problem(n_samples=n_samples)
    for compute in METHODS.values():
        np.testing.assert_array_equal(compute(net, X, Y, 64), compute(net, X, Y, 1))


@pytest.mark.parametrize("n_threads", [1, 3])
def test_calls_from_python_threads_equal_serial_calls(n_threads):
    net, X, Y = large_problem("softmax")
    jobs = [(name, start) for start in (0, 64, 200) for name in METHODS] * 4

    def run(job):
        name, start = job
        return METHODS[name](net, X[start:], Y[start:], n_threads)

    serial = [run(job) for job in jobs]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(run, jobs))
    for job, one, other in zip(jobs, together, serial, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=str(job))


def test_networks_from_python_threads_equal_serial_ones():
    def build(seed):
        X = np.random.default_rng(seed).standard_normal((100, 20))
        net = fk.Network.layered([20, 30, 5], fan_in=6, rng=seed)
        return net.initialize("data", rng=seed, X=X).theta

    serial = [build(seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        np.testing.assert_array_equal(list(pool.map(build, range(12))), serial)


def test_first_unitwise_passes_of_several_python_threads_find_the_same_offsets():
    n = 200_000
    edges = np.column_stack([np.arange(n) % 10, np.arange(n) + 10])
    for _ in range(5):
        dag = fk.Network(10, edges, dtype="float32", rng=0, outputs=[10])._dag
        start = threading.Barrier(4)

        def first(dag=dag, start=start):
            start.wait()
            return dag.place_blocks()

        with ThreadPoolExecutor(4) as pool:
            found = [job.result() for job in [pool.submit(first) for _ in range(4)]]
        assert all(offsets is found[0] for offsets in found)


def test_forked_child_computes_after_its_parent_used_threads():
    net = fk.Network.layered([100, 300, 10], fan_in=50, rng=0)
    X = np.random.default_rng(0).normal(size=(1000, 100))
    expected = net.forward(X, n_threads=2)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        actual = pool.apply_async(net.forward, (X,)).get(timeout=60)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_training_takes_denormal_results_for_zero_and_nothing_after_it(n_threads):
    # the gradient, 1e-20 squared, is no normal number of float32; 1e30 times it would be 1e-10
    net = fk.Network(1, [(0, 1)], dtype="float32", rng=0)
    net.theta[:] = [0, 1e-25]
    X = np.full((1, 1), 1e-20, np.float32)
    assert net.gradient(X, X)[1] != 0
    fk.train(net, X, X, fk.optimizers.Backpropagation(), steps=1, step_size=lambda step: 1e30,
             n_threads=n_threads)
    assert net.theta[1] == np.float32(1e-25)
    assert np.float64(5e-324) * 1.5 > 0


OTHER_RUNTIMES = {
    "torch": """
import torch
torch.set_num_threads(2)
x = torch.ones(300, 300)
def other():
    return float((x @ x).relu().sum())
""",
    "sklearn": """
import numpy as np
from sklearn.cluster import KMeans
x = np.random.default_rng(0).standard_normal((2000, 20))
def other():
    return float(KMeans(5, n_init=1, random_state=0).fit(x).inertia_)
""",
    "numba": """
import numba
import numpy as np
x = np.ones(100_000)
@numba.njit(parallel=True)
def total(x):
    sum = 0.0
    for i in numba.prange(x.size):
        sum += x[i]
    return sum
def other():
    return total(x)
""",
}
BESIDE_ANOTHER = """
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import fisherkern as fk
{first}
def work(n_threads):
    rng = np.random.default_rng(0)
    net = fk.Network.layered([40, 60, 50, 7], fan_in=12, rng=0, interpretation="softmax")
    X = rng.standard_normal((650, 40))
    Y = rng.integers(7, size=650)
    optimizer = fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient()
    fk.train(net, X, Y, optimizer, epochs=2, batch_size=200, rng=0, n_threads=n_threads)
    return net.theta
expected, value = work(1), other()
for i in range(5):
    assert np.array_equal(work(2), expected) and other() == value
with ThreadPoolExecutor(4) as pool:
    ours = [pool.submit(work, 2) for i in range(6)]
    theirs = [pool.submit(other) for i in range(6)]
    assert all(np.array_equal(one.result(60), expected) for one in ours)
    assert all(one.result(60) == value for one in theirs)
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert np.array_equal(pool.apply_async(work, (2,)).get(60), expected)
print("well")
"""


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("library", OTHER_RUNTIMES)
def test_beside_another_library_with_threads_of_its_own(library, ours_first):
    pytest.importorskip(library)
    script = BESIDE_ANOTHER.format(first=OTHER_RUNTIMES[library])
    if not ours_first:
        script = f"import {library}\n" + script
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True,
                          text=True, timeout=120)
    assert done.stdout == "well\n", done.stderr
