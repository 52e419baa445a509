"""Settings and fixtures that the test files share."""

import os

import pytest
from hypothesis import HealthCheck, settings

from fisherkern import cli

settings.register_profile(
    "fisherkern", deadline=None, max_examples=30,
    # the same examples at every run of CI; new ones at a developer's
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.load_profile("fisherkern")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder, capsys):
    """Standard output of a command, or the only line of its errors."""
    def call(*arguments, fails=False):
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert code == (2 if fails else 0), captured.err
        if fails:
            assert captured.err.startswith("fisherkern: error: ")
            assert captured.err.count("\n") == 1
            return captured.err
        return captured.out

    return call
