"""Where hypotheses come from: files, Kaldi's decode folders, ours; from arguments or from YAML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from asr_kd.score.formats.read import AUTO
from asr_kd.score.formats.transcript import Transcript

DEFAULT_SET = "test"
"""The test set of systems that name none."""

Kind = Literal["decode", "kaldi", "file"]


@dataclass(frozen=True)
class Source:
    """One system's hypotheses of one test set.

    Attributes:
        role: its row in the table.
        seed: the seed of training it belongs to, or None where it is the same for all seeds.
        test_set: the test set.
        hyp: file of hypotheses.
        ref: its reference.
        utt2spk: speakers, if a file says them; see `Loaded.utt2spk` for those of the transcripts.
        kind: `decode` (a folder of `asr-kd decode`), `kaldi` (a Kaldi decode folder), or `file`.
        format: of `hyp`, as `read_transcript` takes it.
        info: `decode`: what the manifest says (params, rtf, partial, …). `kaldi`: `lmwt`, `wip`,
            `chosen_on` (the folder in which they were the best) and `chosen_wer` (percent, there).
        path: what the user named: the folder, or the file.
        ref_format: of `ref`.
    """

    role: str
    seed: str | None
    test_set: str
    hyp: Path
    ref: Path
    utt2spk: Path | None
    kind: Kind
    format: str
    info: dict[str, Any]
    path: Path
    ref_format: str = AUTO


@dataclass(frozen=True)
class Loaded:
    """The transcripts of a source, not yet joined.

    Attributes:
        ref: reference.
        hyp: hypotheses.
        utt2spk: speakers as the source's file or the reference's format says them, of every
            utterance of the reference; None where nothing says them.
    """

    ref: Transcript
    hyp: Transcript
    utt2spk: dict[str, str] | None


def find_sources(
    specs: Sequence[str],
    refs: Sequence[str] = (),
    utt2spks: Sequence[str] = (),
    config: Path | None = None,
) -> list[Source]:
    """Finds what systems were named; reads no transcripts.

    Args:
        specs: `ROLE[@SEED][:SET]=PATH[,dev=DEV_DIR][,format=FORMAT]`. PATH is a file, a folder of
            `asr-kd decode`, or a decode folder of Kaldi; it may be a glob, each match of which is
            a member or a seed of the role. `{role}`, `{seed}` and `{set}` in PATH match a part of
            a name and say what it is; `{role}` needs no `ROLE=` before it. DEV_DIR: Kaldi decode
            folder whose best LM weight and word insertion penalty are taken.
        refs: `[SET=]FILE[,format=FORMAT]`; without SET for all sets that have no other.
        utt2spks: `[SET=]FILE`, Kaldi's `utt2spk`.
        config: YAML file of `CompareConfig`: more of the same, its paths relative to its folder.

    Returns:
        The sources in the order named, those of a glob sorted.

    Raises:
        InputError: all faults together.
    """
    raise NotImplementedError


def read_source(source: Source) -> Loaded:
    """Reads reference, hypotheses and speakers; a ctm is cut by its stm.

    Raises:
        InputError: all faults of all files together.
    """
    raise NotImplementedError
