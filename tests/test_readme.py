"""The README's library examples run as they stand there, one after the other."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert len(example.strip().splitlines()) <= 12
        exec(compile(example, "README.md", "exec"), names)
        accuracy = float(capsys.readouterr().out.split()[-1])
        assert accuracy > 0.9
    assert (tmp_path / "model.safetensors").is_file()


def test_commands_are_one_line_each():
    for heading in ("Run", "Test"):
        section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
        (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        assert len(block.strip().splitlines()) == 1
