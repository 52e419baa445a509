"""The sdist and the wheel install and work outside the repository; so does a serial build."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMOKE = """
import json, sys
import numpy as np
import fisherkern as fk
X = np.random.default_rng(0).normal(size=(200, 6))
Y = X[:, :2] ** 2
import fisherkern.experiments.ollivier
net = fk.Network.layered([6, 9, 2], fan_in=4, rng=1)
net.initialize("data", X=X, rng=1)
optimizer = fk.optimizers.QuasiDiagonalBackpropagatedMetricGradient()
fk.train(net, X, Y, optimizer, steps=30, batch_size=50, rng=2)
net.save("model.safetensors")
assert (fk.load("model.safetensors").theta == net.theta).all()
print(json.dumps([fk.__file__, fk.config()["openmp"], net.theta.tolist()]))
"""

pytestmark = pytest.mark.slow


def run(*command, cwd, **environment):
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True,
                          env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
                          | environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def smoke(python, folder):
    import json

    return json.loads(run(python, "-c", SMOKE, cwd=folder).splitlines()[-1])


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Built from a copy of the tracked files, so that nothing built in place leaks in."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "source"
    listed = run("git", "ls-files", cwd=ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", cwd=source)
    return folder / "dist"


def new_environment(folder, *install, **environment):
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    output = run(python, "-m", "pip", "install", *install, cwd=folder, **environment)
    return python, output


def test_wheel_outside_the_repository(distributions, tmp_path):
    (wheel,) = distributions.glob("*.whl")
    python, _ = new_environment(tmp_path / "env", f"{wheel}[io]")
    where, openmp, theta = smoke(python, tmp_path)
    assert Path(where).is_relative_to(tmp_path / "env")
    assert openmp
    assert run(tmp_path / "env" / "bin" / "fisherkern", "info", cwd=tmp_path)

    (sdist,) = distributions.glob("*.tar.gz")
    serial, output = new_environment(tmp_path / "serial", "-v", f"{sdist}[io]",
                                     FISHERKERN_NO_OPENMP="1")
    assert "WITHOUT threads" in output
    _, serial_openmp, serial_theta = smoke(serial, tmp_path)
    assert not serial_openmp
    assert serial_theta == theta


def test_sdist_holds_what_a_build_needs(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    for name in ("setup.py", "LICENSE", "src/fisherkern/simd/leaves.h",
                 "src/fisherkern/simd/leaves_avx2.c", "src/fisherkern/_loop.pyx",
                 "fisherkern/py.typed", "tests/test_packaging.py"):
        assert name in names
    assert not any(name.endswith((".so", ".pyc")) for name in names)
