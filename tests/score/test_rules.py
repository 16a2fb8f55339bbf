from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.score.normalise import normaliser

GOOD = """\
name: broadcast
version: 2
base: plain
rules:
  - words:
      colour: color
      you know:
      you know what: huh
      no: "yes"
  - regex: '(\\w+)ise\\b'
    replace: '\\1ize'
  - words: {recognize: spot}
"""


def _rules(path: Path, text: str = GOOD) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_rules_in_their_order_after_the_base(tmp_path: Path) -> None:
    rules = normaliser(_rules(tmp_path / "rules.yaml"))
    text = "Colour, you know! You know what? NO recognise realise colours"
    assert rules.apply({"u": text.split()}).text["u"] == (
        ["color", "huh", "yes", "spot", "realize", "colours"]
    )
    assert (rules.name, rules.version) == ("broadcast", "2")
    assert rules.apply({"u": ["you", "know"]}).text == {"u": []}
    assert rules.apply({"u": []}).text == {"u": []}


def test_the_hash_is_of_the_rules_not_of_the_comments(tmp_path: Path) -> None:
    digest = normaliser(_rules(tmp_path / "a.yaml")).digest
    assert normaliser(_rules(tmp_path / "b.yaml", "# by me\n" + GOOD)).digest == digest
    for changed in (
        GOOD.replace("spot", "see"),
        GOOD.replace("version: 2", "version: 3"),
        GOOD.replace("base: plain", "base: none"),
        GOOD.replace("name: broadcast", "name: b"),
        GOOD.replace("ize'", "yze'"),
    ):
        assert normaliser(_rules(tmp_path / "c.yaml", changed)).digest != digest


def test_words_are_what_is_written(tmp_path: Path) -> None:
    # YAML would make these a truth value, a number, nothing.
    text = "name: n\nversion: 1\nrules:\n- words: {no: yes, 010: ten, ~: null}\n"
    rules = normaliser(_rules(tmp_path / "r.yaml", text))
    assert rules.apply({"u": ["no", "010", "~"]}).text["u"] == ["yes", "ten", "null"]


def test_no_break_spaces_are_parts_of_words(tmp_path: Path) -> None:
    text = "name: n\nversion: 1\nrules:\n- regex: b\n  replace: c d\n- words: {10\u00a0000: x}\n"
    rules = normaliser(_rules(tmp_path / "r.yaml", text))
    words = ["10\u00a0000", "a\u00a0a", "b"]
    assert rules.apply({"u": words}).text["u"] == ["x", "a\u00a0a", "c", "d"]


def test_every_fault_is_named_with_its_line(tmp_path: Path) -> None:
    bad = """\
name: plain
base: fancy
extra: 1
rules:
  - words:
      a: b
      a: c
      " ": d
      e: [f]
  - regex: '(x'
    replace: y
  - regex: 'x'
    replace: '\\2'
  - regex: x
  - words: []
  - just text
  - regex: [x]
    replace: y
  - regex: x
    replace: '\\g<n>'
"""
    path = _rules(tmp_path / "bad.yaml", bad)
    with pytest.raises(InputError) as refused:
        normaliser(path)
    found = [
        (int(fault.removeprefix(f"{path}:").split(":")[0]), fault) for fault in refused.value.faults
    ]
    expected = [
        (3, "extra"), (1, "version is missing"), (1, "name of another"), (2, "fancy"),
        (7, "already"), (8, "a word: is empty"), (9, "e: expected text"), (10, "(x"),
        (12, r"\\2"), (14, "`regex:` and `replace:`"), (15, "from: to"), (16, "a rule"),
        (17, "regex: expected text"), (19, "<n>"),
    ]  # fmt: skip
    assert [line for line, _ in found] == [line for line, _ in expected]
    for (_, fault), (_, part) in zip(found, expected, strict=True):
        assert part in fault


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a rules file"),
        (b"- a\n", "expected a rules file"),
        (b"name: [\n", "line 2"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"name: n\nversion: 1\nrules: colour\n", r":3: rules: expected a list"),
        (b"name: n\nname: m\nversion: 1\nrules: []\n", r":2: name stands already"),
    ],
)
def test_files_that_are_no_rules(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        normaliser(str(path))
