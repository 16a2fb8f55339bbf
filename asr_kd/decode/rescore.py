"""The stage `rescore`: n-best lists ranked anew with another language model."""

import json
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr_kd.artefact import MANIFEST, Artefact, hash_input
from asr_kd.config import Config, config_dict
from asr_kd.decode.config import Scales, read_scales
from asr_kd.decode.ranking import Decoded, LmGrid, LmScales, Ranking, tune_lm
from asr_kd.decode.words import write_words
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text
from asr_kd.io.table import read_table
from asr_kd.search.needed_ngrams import SentenceModel, read_needed
from asr_kd.search.stages import ARPA
from asr_kd.shards import rank_and_world

_SHOWN = 10
_logger = logging.getLogger("asr_kd.decode")


class RescoreConfig(Config):
    """Configuration of the verb `rescore`.

    Attributes:
        scales: fixed scales; where they are tuned or taken from another rescoring, leave them out.
        grid: where to look for scales when tuning.
    """

    scales: LmScales | None = None
    grid: LmGrid = LmGrid()


def rescore(
    decoded: Path,
    out: Path,
    config: RescoreConfig,
    *,
    lm: Path,
    old_lm: Path,
    tune_on: Path | None = None,
    scales_from: Path | None = None,
) -> None:
    """Publishes a decode directory with the words that are best with another language model.

    Args:
        decoded: output of `decode --nbest`.
        out: decode directory to publish.
        config: scales and grid; without tuning or fixed scales, the new model's scale is 1 and the
            insertion penalty decoding's.
        lm: the new model: ARPA file, packed by gzip or not, or output of `train-lm`. It is read
            once, and only what the lists need is kept.
        old_lm: the model that the decoding graph was made with.
        tune_on: decode directory of dev data, with lists, on which the scales are tuned.
        scales_from: output of `rescore` whose scales are taken.

    Raises:
        InputError: for faults of the inputs, all together, before any work.
    """
    inputs = {"decoded": decoded, "lm": lm, "old_lm": old_lm}
    optional = {"tune_on": tune_on, "scales_from": scales_from}
    inputs |= {name: path for name, path in optional.items() if path is not None}
    if sum(given is not None for given in (tune_on, scales_from, config.scales)) > 1:
        raise InputError("give one of --tune-on, --scales-from and scales.*=, not several")
    artefact = Artefact(out, "rescore", config_dict(config), inputs)
    if artefact.is_done():
        return
    if of_units := [path for path in (lm, old_lm) if _is_of_units(path)]:
        raise InputError(
            [f"{path}: a language model of units; lists of words are rescored, found by a graph "
             f"with one of words and with another of words" for path in of_units]
        )  # fmt: skip
    test, dev, taken = _read(decoded, tune_on, scales_from)
    models = [path / ARPA if path.is_dir() else path for path in (lm, old_lm)]
    if (made_with := test.manifest.info["nbest"]["lm"]) not in (None, *_hashes(old_lm)):
        raise InputError(
            f"{old_lm}: not the language model that make-graph had for the graph of {decoded} "
            f"(its hash begins with {artefact.inputs['old_lm'][:8]}, that one's with "
            f"{made_with[:8]}); give the very file, packed or not as it was then"
        )
    if rank_and_world()[0] != 0:
        return
    both = [test] if dev is None else [test, dev]
    sentences = {one.words for each in both for found in each.lists.values() for one in found}
    started = time.process_time()
    new, old = (read_needed(path, sentences) for path in models)
    reading = time.process_time() - started
    _warn_of_missing(new, models[0])
    started = time.process_time()
    ranked = Ranking.of(test, new, old, models[1])
    seconds = time.process_time() - started
    scales = config.scales or LmScales(insertion_penalty=test.scales.insertion_penalty)
    report: dict[str, Any] = {"source": "given" if config.scales else "defaults"}
    if taken is not None:
        scales, report = taken, {"source": f"taken from {scales_from}"}
    if dev is not None:
        scales, grid = tune_lm(Ranking.of(dev, new, old, models[1]), dev, config.grid)
        report = {"source": f"tuned on {dev.path}", "grid": grid}
        _logger.info("scales tuned on %s: %s", dev.path, config_dict(scales))
    work = artefact.begin()
    stored = {**config_dict(test.scales), **config_dict(scales), **report}
    write_text(work / "scales.json", json.dumps(stored, indent=2) + "\n")
    info = _write(work, out, test, ranked.best(scales), scales, seconds)
    info["lm"] = {
        "kept": [len(level) for level in new.model.ngrams], "cpu_seconds": reading,
        "missing": len(new.missing),
    }  # fmt: skip
    artefact.publish({**info, "scales": config_dict(scales)})


def _is_of_units(lm: Path) -> bool:
    """Whether `train-lm` made a language model of units."""
    folder = lm.parent if lm.name == ARPA else lm
    return (folder / MANIFEST).is_file() and (folder / "labels.json").is_file()


def _hashes(lm: Path) -> list[str]:
    """What identifies a model that make-graph may have been given as a file or as its folder."""
    same = [lm]
    if lm.is_dir():
        same += [lm / ARPA]
    elif lm.name == ARPA and (lm.parent / MANIFEST).is_file():
        same += [lm.parent]
    return [hash_input(path) for path in same]


def _read(
    decoded: Path, tune_on: Path | None, scales_from: Path | None
) -> tuple[Decoded, Decoded | None, LmScales | None]:
    """Reads lists and scales, and holds them against one another."""
    faults: list[str] = []
    found: list[Decoded] = []
    taken: LmScales | None = None
    under: Scales | None = None
    for path in (decoded, tune_on):
        try:
            found += [Decoded.read(path)] if path is not None else []
        except InputError as error:
            faults += error.faults
    if scales_from is not None:
        try:
            taken = read_scales(scales_from, LmScales, "rescore")
            under = read_scales(scales_from, Scales, "rescore")
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    test, dev = found[0], found[1] if tune_on is not None else None
    if dev is not None:
        under = dev.scales
        if dev.manifest.inputs["graph"] != test.manifest.inputs["graph"]:
            faults.append(f"{dev.path}: decoded with another graph than {test.path}")
        if not dev.ref:
            faults.append(f"{dev.path}: was decoded without a reference text: nothing to tune on")
    for name in ("acoustic_scale", "prior_scale") if under is not None else ():
        value, own = getattr(under, name), getattr(test.scales, name)
        if not math.isclose(value, own):
            faults.append(
                f"{tune_on or scales_from}: {name} {value:g}, in {decoded} {own:g}: scales of the "
                f"language model go with it; decode both alike (--scales-from)"
            )
    if faults:
        raise InputError(faults)
    return test, dev, taken


def _warn_of_missing(model: SentenceModel, path: Path) -> None:
    if model.missing:
        shown = " ".join(sorted(model.missing)[:_SHOWN])
        _logger.warning(
            "%d words of the lists are not in %s and count as %s: %s%s", len(model.missing), path,
            model.unknown or "next to impossible", shown,
            " ..." if len(model.missing) > _SHOWN else "",
        )  # fmt: skip


def _write(
    work: Path, out: Path, decoded: Decoded, hyp: Mapping[str, Sequence[str]], scales: LmScales,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    """Writes all that a decode directory holds; what the models did stays as it was decoded."""
    before = decoded.manifest.info
    if (decoded.path / "frames.json").is_file():
        shutil.copyfile(decoded.path / "frames.json", work / "frames.json")
    utt2spk = read_table(decoded.path / "utt2spk")
    words = write_words(
        work, out, hyp, sorted(decoded.partial), utt2spk, decoded.ref,
        scales.lm_scale / decoded.scales.acoustic_scale, scales.insertion_penalty,
        decoded.normaliser,
    )  # fmt: skip
    search = before["nbest"]["rtf"] + seconds / before["audio_seconds"]
    info = {name: value for name, value in before.items() if name not in ("wer", "scales")}
    return {**info, **words, "rtf": {"forward": before["rtf"]["forward"], "search": search}}
