"""The stage `perturb-speed`: the same utterances once more, played slower and faster.

Ko, Povey, Peddinti and Khudanpur, *Audio augmentation for speech recognition* (Interspeech 2015):
copies at 0.9 and 1.1 times the speed, resampled, so that pitch and formants move too.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from asr_kd.artefact import Artefact
from asr_kd.data.directory import DataDir, speed_mark
from asr_kd.data.tables import BAD_SPEED, parse_speed
from asr_kd.errors import InputError
from asr_kd.features.sources import absolute
from asr_kd.shards import rank_and_world

VERB = "perturb-speed"
V = TypeVar("V")
_logger = logging.getLogger("asr_kd.features")


def parse_factors(text: str) -> tuple[float, ...]:
    """Reads `0.9,1.1`.

    Raises:
        InputError: for each that is no speed, is 1 or stands twice.
    """
    factors: list[float] = []
    faults = []
    for part in text.split(","):
        factor = parse_speed(part)
        if factor is None:
            faults.append(f"factor {part!r}: {BAD_SPEED}")
        elif factor == 1:
            faults.append(f"factor {part!r}: the original speed is always kept; name the others")
        elif factor in factors:
            faults.append(f"factor {part!r}: stands twice")
        else:
            factors.append(factor)
    if faults:
        raise InputError(faults)
    return tuple(factors)


def perturb_speed(
    data_dir: Path, factors: Sequence[float], out: Path, allow_pipes: bool = False
) -> None:
    """Publishes a data directory with every utterance at its own speed and at each other one.

    Tables alone: sound stays where it is, and make-feats resamples it as utt2speed says. Perturbed
    utterances and speakers are called `sp0.9-NAME`; they have alignments and targets of their own.
    Features are left behind, they are not those of the other speeds.

    Args:
        data_dir: with sound, at its original speed.
        factors: speeds besides 1, see `parse_factors`.
        out: where it is published.
        allow_pipes: whether commands in wav.scp are accepted; nothing is run here.

    Raises:
        InputError: for faults of the tables, utterances that are perturbed already, and names that
            would stand twice.
    """
    if rank_and_world()[0] != 0:
        return
    data = absolute(DataDir.read(data_dir, ("wav",), allow_pipes))
    marks = {factor: speed_mark(factor) for factor in factors}
    faults = [
        f"{data.path}: {utt}: its speed is {speed:g} already; perturb the original directory"
        for utt, speed in data.speed.items()
        if speed != 1
    ]
    taken = set(data.utt2spk) | set(data.utt2spk.values())
    faults += [
        f"{data.path}: {name}: stands already, and would be the name of another at speed {factor:g}"
        for factor, mark in marks.items()
        for name in sorted({mark + name for name in taken} & taken, key=str.encode)
    ]
    if faults:
        raise InputError(faults)
    artefact = Artefact(out, VERB, {"factors": list(factors)}, {"data": Path(data_dir)})
    if artefact.is_done():
        return

    def copies(table: dict[str, V], copy: Callable[[str, V], V]) -> dict[str, V]:
        """The table, and its entries once more under the name at each speed."""
        return table | {
            mark + k: copy(mark, v) for mark in marks.values() for k, v in table.items()
        }

    speed = dict.fromkeys(data.utt2spk, 1.0)
    for factor, mark in marks.items():
        speed |= {mark + utt: factor for utt in data.utt2spk}
    perturbed = replace(
        data,
        utt2spk=copies(dict(data.utt2spk), lambda mark, speaker: mark + speaker),
        # Segments of all speeds are cut from the one recording, before it is resampled.
        wav=data.wav if data.segments else copies(dict(data.wav), lambda _, file: file),
        segments=copies(dict(data.segments), lambda _, segment: segment),
        text=copies(dict(data.text), lambda _, words: words),
        speed=speed,
        feats={}, cmvn={}, num_frames={},
    )  # fmt: skip
    perturbed.write(artefact.begin())
    _logger.info("%s: %d utterances, %d of them originals",
                 out, len(perturbed.utt2spk), len(data.utt2spk))  # fmt: skip
    artefact.publish({"utterances": len(perturbed.utt2spk), "originals": len(data.utt2spk)})
