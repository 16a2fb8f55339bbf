"""What the outputs of `compare` show, and when they are made anew."""

import json
from collections.abc import Callable
from pathlib import Path

from asr_kd.report.compare import Settings, compare


def text(path: Path, lines: str) -> str:
    path.write_text(lines)
    return str(path)


def test_another_reference_of_the_same_folders_makes_the_report_anew(
    tmp_path: Path, decode_dir: Callable[..., Path]
) -> None:
    words = {"s-1": "a b", "s-2": "c d"}
    systems = [f"x={decode_dir('x', words, words, {'s-1': 's', 's-2': 't'})}"]
    made = []
    for name, last in (("one", "d"), ("two", "e")):
        ref = text(tmp_path / name, f"s-1 a b\ns-2 c {last}\n")
        compare(systems, tmp_path / "out", "T", [], Settings(refs=(ref,)))
        found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]
        made.append((found["rows"][0]["wer"]["value"], found["speakers"]))
    speakers = text(tmp_path / "utt2spk", "s-1 s\ns-2 s\n")
    compare(systems, tmp_path / "out", "T", [], Settings(refs=(ref,), utt2spks=(speakers,)))
    found = json.loads((tmp_path / "out" / "results.json").read_text())["sets"][0]
    made.append((found["rows"][0]["wer"]["value"], found["speakers"]))
    assert made == [(0.0, 2), (0.25, 2), (0.25, 1)]
