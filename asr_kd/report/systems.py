"""Decode directories as the systems of one comparison, held against one another first."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr_kd.artefact import Manifest, read_manifest
from asr_kd.errors import InputError
from asr_kd.io.table import read_table
from asr_kd.score.text import mismatches, read_text
from asr_kd.score.wer import WordErrors, count_errors

_SYSTEM = re.compile(r"(?P<role>[^@=]+)(@(?P<seed>[^@=]+))?=(?P<path>.+)")


@dataclass(frozen=True)
class Decoding:
    """One decode directory.

    Attributes:
        role: its row in the table.
        seed: the seed of training it belongs to, or None where it is the same for all seeds.
        path: its folder.
        errors: utterance id → word errors.
        frames: utterance id → (frames, correct frames); empty where none were measured.
        ali: hash of the alignment behind `frames`.
        info: what the manifest says: params, rtf, partial, utterances.
    """

    role: str
    seed: str | None
    path: Path
    errors: dict[str, WordErrors]
    frames: dict[str, tuple[int, int]]
    ali: str | None
    info: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Systems over the same utterances.

    Attributes:
        decodings: in the order given.
        utt2spk: speaker of each utterance.
    """

    decodings: list[Decoding]
    utt2spk: dict[str, str]

    @property
    def roles(self) -> list[str]:
        """The rows, in the order they were first named."""
        return list(dict.fromkeys(decoding.role for decoding in self.decodings))

    @property
    def seeds(self) -> list[str]:
        """Seeds of training, sorted; empty where none was named."""
        return sorted({d.seed for d in self.decodings if d.seed is not None})

    def of(self, role: str) -> list[Decoding]:
        """The decodings of one role."""
        return [decoding for decoding in self.decodings if decoding.role == role]


def parse_system(spec: str) -> tuple[str, str | None, Path]:
    """Role, seed and folder of `ROLE[@SEED]=FOLDER`.

    Raises:
        InputError: for an argument of another form.
    """
    match = _SYSTEM.fullmatch(spec)
    if match is None:
        raise InputError(f"{spec!r}: expected ROLE=FOLDER or ROLE@SEED=FOLDER")
    return match["role"].strip(), match["seed"], Path(match["path"])


def read_systems(specs: Sequence[str]) -> Comparison:
    """Reads `ROLE[@SEED]=DECODE_DIR` arguments.

    Raises:
        InputError: all faults together: arguments of another form, folders that are no decode
            directories or were not scored, and folders over other utterances, another reference,
            other speakers or another alignment than the first.
    """
    faults: list[str] = []
    parsed: list[tuple[str, str | None, Path, Manifest]] = []
    for spec in specs:
        try:
            role, seed, path = parse_system(spec)
            manifest = read_manifest(path, "decode")
        except InputError as error:
            faults += error.faults
            continue
        if not (path / "ref").is_file():
            faults.append(f"{path}: was decoded without a reference text; nothing to compare")
            continue
        parsed.append((role, seed, path, manifest))
    if faults:
        raise InputError(faults)
    first = parsed[0][2]
    ref, utt2spk = read_text(first / "ref"), read_table(first / "utt2spk")
    decodings = []
    for role, seed, path, manifest in parsed:
        hyp = read_text(path / "hyp")
        wrong = _differences(path, hyp, first, ref, utt2spk)
        faults += wrong
        if not wrong:
            frames, ali = _read_frames(path / "frames.json")
            errors = count_errors(ref, hyp)
            decodings.append(Decoding(role, seed, path, errors, frames, ali, manifest.info))
    comparison = Comparison(decodings, utt2spk)
    faults += _frame_faults(decodings) + _seed_faults(comparison)
    if faults:
        raise InputError(faults)
    return comparison


def _differences(
    path: Path,
    hyp: Mapping[str, Sequence[str]],
    first: Path,
    ref: Mapping[str, Sequence[str]],
    utt2spk: Mapping[str, str],
) -> list[str]:
    faults = mismatches(ref, hyp, f"{first}/ref", f"{path}/hyp")
    own_ref, own_speakers = read_text(path / "ref"), read_table(path / "utt2spk")
    faults += [
        f"{path}/ref: {utt_id}: another reference than in {first}/ref"
        for utt_id in sorted(ref.keys() & own_ref)
        if ref[utt_id] != own_ref[utt_id]
    ]
    faults += [
        f"{path}/utt2spk: {utt_id}: another speaker than in {first}/utt2spk"
        for utt_id in sorted(ref.keys() & own_speakers)
        if own_speakers[utt_id] != utt2spk[utt_id]
    ]
    return faults


def _read_frames(path: Path) -> tuple[dict[str, tuple[int, int]], str | None]:
    if not path.is_file():
        return {}, None
    content = json.loads(path.read_text(encoding="utf-8"))
    frames = {utt: (one["frames"], one["correct"]) for utt, one in content["utterances"].items()}
    return frames, content["ali"]


def _frame_faults(decodings: Sequence[Decoding]) -> list[str]:
    measured = [decoding for decoding in decodings if decoding.frames]
    faults = []
    for decoding in measured[1:]:
        first = measured[0]
        if decoding.ali != first.ali:
            faults.append(
                f"{decoding.path}: frame accuracy against another alignment than {first.path}; "
                f"decode both with the same --ali"
            )
        elif _counts(decoding) != _counts(first):
            faults.append(
                f"{decoding.path}: frames of other utterances or lengths than {first.path}"
            )
    return faults


def _counts(decoding: Decoding) -> dict[str, int]:
    return {utt_id: frames for utt_id, (frames, _) in decoding.frames.items()}


def _seed_faults(comparison: Comparison) -> list[str]:
    faults = []
    for role in comparison.roles:
        own = {decoding.seed for decoding in comparison.of(role)}
        missing = set(comparison.seeds) - own
        if own != {None} and (missing or None in own):
            faults.append(
                f"role {role}: its folders have the seeds {sorted(map(str, own))}, the comparison "
                f"{comparison.seeds}; give each role all seeds, or no seed at all"
            )
        with_frames = {bool(decoding.frames) for decoding in comparison.of(role)}
        if len(with_frames) > 1:
            faults.append(f"role {role}: frame accuracy measured in some of its folders only")
    return faults
