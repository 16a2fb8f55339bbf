"""The stage `bundle-units`: the labels of one of torchaudio's bundles, as units."""

from pathlib import Path

from asr_kd.artefact import Artefact
from asr_kd.ensemble.bundle import Bundle
from asr_kd.errors import InputError
from asr_kd.labels.character_units import character_units
from asr_kd.score.normalise import NAMES, normaliser
from asr_kd.shards import rank_and_world


def bundle_units(name: str, out: Path, rules: str = "none", lower: bool = False) -> None:
    """Publishes a folder of units, as `train-units` does, whose labels are a bundle's.

    Args:
        name: of torchaudio's bundle, or a folder with `bundle.yaml`.
        out: folder to publish.
        rules: normaliser of text: none, plain, kaldi, english, or a YAML file of rules.
        lower: whether upper-case letters of the bundle mean lower-case ones of ours.

    Raises:
        InputError: for an unknown bundle, or labels that would be the same in lower case.
    """
    inputs: dict[str, Path | str] = {}
    if rules not in NAMES:
        inputs["rules"] = Path(rules)
    labels = Bundle.find(name).labels[1:]
    names = [label.lower() for label in labels] if lower else list(labels)
    if len(set(names)) < len(names):
        raise InputError(f"{name}: labels {' '.join(labels)} are not different in lower case")
    config = {"labels": names, "normaliser": rules}
    artefact = Artefact(out, "bundle-units", config, inputs)
    if artefact.is_done() or rank_and_world()[0] != 0:
        return
    units = character_units(names, normaliser(rules))
    work = artefact.begin()
    units.write(work)
    artefact.publish({"labels": len(units.label_set), "label_set": units.label_set.digest})
