"""Kaldi's decode folders: the LM weight that was best on dev, and the texts that scoring left."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.errors import InputError

_WER_FILE = re.compile(r"wer_(?P<lmwt>\d+(\.\d+)?)(_(?P<wip>-?\d+(\.\d+)?))?")
_WER = re.compile(r"^%WER (?P<wer>\S+) \[", re.MULTILINE)
_FEW = 5
NO_PENALTY = "0.0"
"""The word insertion penalty of scorings that tried none."""


@dataclass(frozen=True)
class Scored:
    """One of the scorings of a decode folder.

    Attributes:
        lmwt: LM weight, as the file's name says it.
        wip: word insertion penalty, the same; None where scoring tried none.
        wer: percent, as Kaldi wrote it.
    """

    lmwt: str
    wip: str | None
    wer: float

    @property
    def name(self) -> str:
        """The file's name."""
        return f"wer_{self.lmwt}" + ("" if self.wip is None else f"_{self.wip}")


def is_kaldi_folder(folder: Path) -> bool:
    """Whether Kaldi decoded into the folder, scored or not."""
    lattices = any(folder.glob("lat.*.gz")) or (folder / "num_jobs").is_file()
    scored = any((folder / name).is_dir() for name in ("scoring_kaldi", "scoring"))
    return lattices or scored or any(_WER_FILE.fullmatch(p.name) for p in folder.glob("wer_*"))


def scorings(folder: Path) -> list[Scored]:
    """All scorings of a folder, by penalty and then by LM weight.

    Raises:
        InputError: if there are none, and every file that holds no word error rate.
    """
    found, faults = [], []
    for path in sorted(folder.glob("wer_*")):
        match = _WER_FILE.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        line = _WER.search(path.read_text(encoding="utf-8", errors="replace"))
        wer = _number(line["wer"]) if line else math.nan
        if math.isfinite(wer):
            found.append(Scored(match["lmwt"], match["wip"], wer))
        else:
            faults.append(f"{path}: no line `%WER RATE [ ...`; was the scoring broken off?")
    if not found and not faults:
        faults.append(f"{folder}: {_why_none(folder)}")
    if faults:
        raise InputError(faults)
    return sorted(found, key=lambda s: (float(s.wip or 0), float(s.lmwt)))


def best_scoring(folder: Path) -> Scored:
    """The scoring of the lowest word error rate, as `best_wer.sh` finds it.

    Of equal ones it is the first in the order in which `score_kaldi_wer.sh` lists them: the lowest
    penalty, then the lowest LM weight.

    Raises:
        InputError: as `scorings`.
    """
    return min(scorings(folder), key=lambda s: s.wer)


def the_scoring(folder: Path, dev: Path | None) -> Scored:
    """The scoring of a test folder that is to be taken.

    Args:
        folder: decode folder of the test set.
        dev: decode folder whose best scoring says which; None where the test set has but one.

    Raises:
        InputError: if it is not said which, or the test set lacks it.
    """
    own = scorings(folder)
    if dev is None:
        if len(own) > 1:
            raise InputError(
                f"{folder}: {len(own)} scorings ({_listed(own)}): name the decode folder of a dev "
                f"set that chooses one, as `,dev=DEV_DIR` (`dev:` in YAML); dev={folder} would "
                f"choose on the test set itself, which flatters"
            )
        return own[0]
    if not dev.is_dir():
        raise InputError(f"{dev}: no such folder (dev of {folder})")
    best = best_scoring(dev)
    for one in own:
        if (one.lmwt, one.wip) == (best.lmwt, best.wip):
            return best
    raise InputError(
        f"{folder}: {best.name} is the best on {dev}, but was not scored here ({_listed(own)})"
    )


def scales_text(folder: Path, info: Mapping[str, Any]) -> str:
    """LM weight and penalty of a decode folder, and how they were chosen.

    Args:
        folder: of the test set.
        info: `lmwt`, `wip`, `chosen_on`, `chosen_wer` of its `report.sources.Source`.
    """
    chosen = "the only ones that were scored"
    if info["chosen_on"] is not None:
        chosen = f"the best on {info['chosen_on']} ({info['chosen_wer']}%)"
        if Path(info["chosen_on"]).resolve() == folder.resolve():
            chosen += ", the test set itself, which flatters"
    return f"LM weight {info['lmwt']}, word insertion penalty {info['wip'] or NO_PENALTY}: {chosen}"


def hypothesis_file(folder: Path, scored: Scored) -> Path:
    """The text behind a scoring.

    Raises:
        InputError: if it is not there, or holds numbers in place of words.
    """
    plain = scored.lmwt if scored.wip is None else f"{scored.lmwt}.{scored.wip}"
    files = [folder / "scoring" / f"{plain}.{ending}" for ending in ("txt", "tra")]
    if scored.wip is not None:
        files.insert(0, folder / f"scoring_kaldi/penalty_{scored.wip}/{scored.lmwt}.txt")
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        listed = " or ".join(str(file.relative_to(folder)) for file in files)
        raise InputError(f"{folder}: {scored.name} is there, but not its text: no {listed}")
    if file.suffix == ".tra" and _is_numbers(file):
        raise InputError(
            f"{file}: numbers in place of words; make words of them with Kaldi's `int2sym.pl -f 2- "
            f"words.txt` and name that file (if the words are numbers, name this one)"
        )
    return file


def reference_file(folder: Path) -> Path:
    """The reference as it was filtered for scoring.

    Raises:
        InputError: if there is none.
    """
    for name in ("scoring_kaldi", "scoring"):
        if (file := folder / name / "test_filt.txt").is_file():
            return file
    raise InputError(f"{folder}: no reference beside it (scoring_kaldi/test_filt.txt)")


def _why_none(folder: Path) -> str:
    if any(folder.glob("score_*")):
        return "scored by sclite (score_*): name the ctm as hypotheses, the stm as reference"
    if any(folder.glob("lat.*.gz")):
        return "lattices only; score them with Kaldi's steps/scoring/score_kaldi_wer.sh first"
    return "no scores in files like wer_10_0.0"


def _listed(found: list[Scored]) -> str:
    names = [one.name for one in found]
    return ", ".join(names if len(names) <= _FEW else [*names[:2], "…", names[-1]])


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _is_numbers(file: Path) -> bool:
    lines = file.read_bytes().split(b"\n")
    words = [word for line in lines for word in line.split()[1:]]
    return bool(words) and all(word.isdigit() for word in words)
