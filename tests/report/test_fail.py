"""The gate of `compare --fail-if-worse` among many systems."""

from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.report.compare import Settings, compare
from asr_kd.report.fail import WorseError
from asr_kd.report.pairs import Chosen

WORDS = ("the", "cat", "sat", "on", "the", "mat")


def many_systems(folder: Path, count: int) -> list[str]:
    """The last of them has an error in each utterance, the others in few."""
    utts = [f"u{u:02}" for u in range(40)]
    (folder / "ref").write_text("".join(f"{utt} {' '.join(WORDS)}\n" for utt in utts))
    for k in range(count):
        wrong = set(utts if k == count - 1 else utts[k % 7 :: 13])
        (folder / f"s{k:02}").write_text(
            "".join(f"{u} {' '.join(('a', *WORDS[1:]) if u in wrong else WORDS)}\n" for u in utts)
        )
    return [f"s{k:02}={folder}/s{k:02}" for k in range(count)]


def test_it_fires_among_many_systems(tmp_path: Path) -> None:
    systems = many_systems(tmp_path, 24)  # 276 pairs: none of them could be below 0.05
    settings = Settings(refs=(str(tmp_path / "ref"),), fail_if_worse="s23")
    with pytest.raises(WorseError, match="s23 is worse than s00"):
        compare(systems, None, "T", [], settings)


def test_what_could_never_fire_is_refused(tmp_path: Path) -> None:
    systems = many_systems(tmp_path, 6)
    refs = (str(tmp_path / "ref"),)
    settings = Settings(refs=refs, fail_if_worse="s05", alpha=0.0009)
    with pytest.raises(InputError, match=r"is 0\.001 corrected for .* pairs, 5;"):
        compare(systems, None, "T", [], settings)
    chosen = Chosen(baseline="s00")
    settings = Settings(refs=refs, fail_if_worse="s05", alpha=0.0009, chosen=chosen)
    with pytest.raises(WorseError):
        compare(systems, None, "T", [], settings)
