"""The distillation view: what a smaller model costs, and what it knows, beside its word errors.

Figures come from what `decode` recorded in its folders. Folders of earlier versions, other tools'
folders and text files lack some or all of them; a dash stands there.

For `compare`: `read_figures` for each decode folder, `role_figures` over all folders of all roles,
`COST_HEADER` and `cost_cells` for a table, and from `report.inheritance` which errors a student
inherited, with `INHERITED_HEADER` and `inherited_cells`; `facts` for the lines below the tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_kd.report.inheritance import Inheritance, Inherited
from asr_kd.report.statistics import Estimate
from asr_kd.score.bootstrap import RESAMPLES
from asr_kd.score.calibration import Calibration


@dataclass(frozen=True)
class Figures:
    """What one decode folder says of its models; None, or empty, where it says nothing.

    Attributes:
        ali: hash of the alignment behind frame figures.
        frames: utterance id → frames, correct frames, summed cross-entropy (nats).
        calibration: of the frames.
        params: parameters of all models together.
        multiply_adds: of all models together, for one second of speech.
        num_bytes: of all models' files.
        rtf: CPU seconds per second of speech: models, search.
    """

    ali: str | None = None
    frames: Mapping[str, tuple[int, int, float]] | None = None
    calibration: Calibration | None = None
    params: int | None = None
    multiply_adds: float | None = None
    num_bytes: int | None = None
    rtf: tuple[float, float] | None = None


@dataclass(frozen=True)
class RoleFigures:
    """The figures of one role: means over its folders, and ranges of what models are.

    A figure is None unless all folders of the role have it.

    Attributes:
        role: its row.
        folders: how many.
        cross_entropy: nats a frame, with the interval of the comparison's bootstrap.
        calibration_error: expected calibration error, 0 to 1, mean of the folders' errors.
        params, multiply_adds, num_bytes: least and most of a folder.
        rtf: mean of models and search together.
    """

    role: str
    folders: int
    cross_entropy: Estimate | None
    calibration_error: float | None
    params: tuple[float, float] | None
    multiply_adds: tuple[float, float] | None
    num_bytes: tuple[float, float] | None
    rtf: float | None

    @property
    def empty(self) -> bool:
        """Whether there is no figure at all."""
        raise NotImplementedError


COST_HEADER = ("cross-entropy", "ECE %", "params", "mult-adds/s", "RTF", "bytes")
"""Columns of `cost_cells`; frame accuracy, WER and the kept share come from `Statistics`."""

INHERITED_HEADER = ("system", "wrong words", "inherited", "same word", "lost", "own",
                    "of the ensemble's errors %", "of its fixes kept %")  # fmt: skip


def read_figures(folder: Path) -> Figures:
    """Reads a finished decode folder, of this version or an earlier one.

    Raises:
        InputError: if `folder` is no decode folder, or its frames.json is not readable.
    """
    raise NotImplementedError


def role_figures(
    folders: Sequence[tuple[str, str | None, Figures]],
    utt_ids: Sequence[str],
    utt2spk: Mapping[str, str] | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, RoleFigures]:
    """The figures of each role.

    Args:
        folders: role, seed of training (None: the same for all seeds) and figures of each folder.
        utt_ids: the utterances of the comparison; frames of others do not count, and where there
            are such, there is no calibration error.
        utt2spk: speakers; the bootstrap draws them if there are two or more, else utterances.
        resamples, seed: of the bootstrap; the draws are those of `Statistics`.

    Returns:
        Role → figures, in the order given.
    """
    raise NotImplementedError


def cost_cells(figures: RoleFigures) -> tuple[str, ...]:
    """One role's cells under `COST_HEADER`."""
    raise NotImplementedError


def inherited_cells(row: Inherited) -> tuple[str, ...]:
    """One role's cells under `INHERITED_HEADER`."""
    raise NotImplementedError


def facts(figures: Mapping[str, RoleFigures], found: Inheritance | None) -> list[str]:
    """What the reader of these tables has to know: bins, units, the ensemble's effect, words."""
    raise NotImplementedError
