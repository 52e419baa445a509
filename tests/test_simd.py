"""Every instruction set that this machine runs computes the same, and FISHERKERN_ISA forces it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from strategies import assert_close

import fisherkern as fk
from fisherkern import _simd

ISAS = _simd.available_isas()
TESTS = Path(__file__).parent
KERNEL_TESTS = ("test_passes.py", "test_metrics.py", "test_optimizers.py", "test_training.py",
                "test_threads.py", "test_initialization.py")
PROGRAM = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from strategies import random_problem
import fisherkern as fk
assert fk.config()["isa"] == sys.argv[2]
for dtype in ("float32", "float64"):
    net, X, Y = random_problem(np.random.default_rng(0), n_samples=130, dtype=dtype, frozen=0)
    for values in (net.activities(X), net.losses(X, Y), net.gradient(X, Y)):
        print(*np.asarray(values, np.float64).ravel())
"""


def forced(isa, *command):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=600,
                          cwd=TESTS.parent, env=os.environ | {"FISHERKERN_ISA": isa})


def test_the_choice_is_the_best_or_the_forced_one():
    assert ISAS[-1] == "baseline"
    assert fk.config()["isa"] == (os.environ.get("FISHERKERN_ISA") or ISAS[0])


def test_instruction_sets_agree_to_rounding():
    outputs = []
    for isa in ISAS:
        finished = forced(isa, "-c", PROGRAM, str(TESTS), isa)
        assert finished.returncode == 0, finished.stderr
        lines = [np.fromstring(line, sep=" ") for line in finished.stdout.splitlines()]
        assert len(lines) == 6
        outputs.append(lines)
    for other in outputs[1:]:
        for place, (one, two) in enumerate(zip(outputs[0], other, strict=True)):
            assert_close(one, two, "float32" if place < 3 else "float64")


def test_unknown_instruction_set_is_an_import_error():
    finished = forced("avx9", "-c", "import fisherkern")
    assert finished.returncode == 1
    assert f"FISHERKERN_ISA='avx9': this machine runs {', '.join(ISAS)}" in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("isa", ISAS[1:])
def test_kernel_tests_pass_with_every_other_instruction_set(isa):
    finished = forced(isa, "-m", "pytest", "--quiet",
                      *(str(TESTS / name) for name in KERNEL_TESTS))
    assert finished.returncode == 0, finished.stdout[-2000:]
