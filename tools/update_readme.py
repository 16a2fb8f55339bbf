"""Puts the tables of the recipes' RESULTS.md into README.md, so that no figure is typed by hand.

A block `<!-- table: FILE -->` ... `<!-- end -->` holds the first table of FILE.
Usage: python tools/update_readme.py [--check]
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table: (?P<file>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def first_table(text: str) -> str:
    """The first Markdown table of a text, with its line ends."""
    match = re.search(r"^(\|.*\n)+", text, re.MULTILINE)
    if match is None:
        raise SystemExit("no table found")
    return match.group()


def updated(readme: str) -> str:
    """README's text with every block filled from the file that it names."""
    return BLOCK.sub(
        lambda block: block[1] + first_table((ROOT / block["file"]).read_text()) + block[3], readme
    )


def main() -> None:
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = updated(before)
    if "--check" in sys.argv[1:]:
        raise SystemExit(int(after != before))
    readme.write_text(after)


if __name__ == "__main__":
    main()
