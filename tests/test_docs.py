"""What the README and the documentation say is so: examples run, names are there, links lead on."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fisherkern as fk
from fisherkern.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted(DOCS.rglob("*.md"))
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))


def blocks(page, *languages):
    """(language, code) of a page's fenced blocks; what a page takes from a file is run there."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"),
                       re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in found
            if language in languages and "--8<--" not in code]


def with_code(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages
            if blocks(page, "python")]


@pytest.mark.parametrize("page", with_code(PAGES))
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    """Its Python and its fisherkern commands, in order, in one folder and one namespace."""
    monkeypatch.chdir(tmp_path)
    names = {}
    for language, code in blocks(page, "python", "sh"):
        if language == "python":
            exec(compile(code, page.name, "exec"), names)
            continue
        for line in code.splitlines():
            program, *arguments = shlex.split(line)
            if program == "fisherkern":
                assert main(arguments) == 0, line


def test_code_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    examples = blocks(README, "python")
    assert len(examples) == 2
    for _, example in examples:
        assert len(example.strip().splitlines()) <= 12
        exec(compile(example, "README.md", "exec"), names)
        accuracy = float(capsys.readouterr().out.split()[-1])
        assert accuracy > 0.9
    assert (tmp_path / "model.safetensors").is_file()


def test_commands_of_the_readme_are_one_line_each():
    for heading in ("Run", "Test"):
        section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
        (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        assert len(block.strip().splitlines()) == 1


def run(*command, cwd):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run([sys.executable, *map(str, command)], cwd=cwd, text=True,
                          capture_output=True,
                          env=os.environ | {"PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_example_runs_and_leaves_nothing(script, tmp_path):
    done = run("-W", "error", script, cwd=tmp_path)
    assert done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_every_example_is_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for script in EXAMPLES:
        assert f'--8<-- "examples/{script.name}"' in text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a broken link, a page outside of the contents or a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    done = run("-m", "mkdocs", "build", "--strict", "--config-file",  # --quiet would drop warnings
               DOCS / "site" / "mkdocs.yml", "--site-dir", folder, cwd=folder.parent)
    assert "Documentation built" in done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_reference_has_every_public_name(site):
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    html = (site / "api.html").read_text(encoding="utf-8")
    entries = re.findall(r"^::: (\S+)", text, re.MULTILINE)
    for entry in entries:
        assert f'id="{entry}"' in html
    named = {entry.rsplit(".", 1)[1] for entry in entries} | set(re.findall(r"`fk\.(\w+)`", text))
    assert named >= set(fk.__all__) | set(fk.optimizers.PRESETS)


def test_site_asks_nothing_of_others(site):
    """No page loads a script, a style, a font or a picture from elsewhere."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe|link rel="(?:stylesheet|preconnect|icon)")[^>]*'
                            r'(?:src|href)="([^"]+)"', page.read_text(encoding="utf-8"))
        assert loaded
        assert [address for address in loaded if "//" in address] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_relative_links_lead_to_files(name):
    text = re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (ROOT / target.split("#")[0]).exists(), target
