"""What README shows is what the tests run and what the recipes measured."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_its_code_is_tested_code() -> None:
    shown = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    tested = textwrap.indent(shown[1].rstrip(), "    ")
    assert tested in (ROOT / "tests/ensemble/test_plain_torch.py").read_text()


def test_its_tables_are_those_of_the_recipes() -> None:
    command = [sys.executable, ROOT / "tools/update_readme.py", "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_its_files_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
