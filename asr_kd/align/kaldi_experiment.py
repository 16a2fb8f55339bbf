"""What is read of a Kaldi experiment, with all faults of its files together."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from asr_kd.errors import InputError
from asr_kd.io.kaldi.gmm import read_gmms
from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.topology import read_topology
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model
from asr_kd.io.kaldi.tree import ContextTree, read_tree
from asr_kd.io.table import read_table
from asr_kd.labels.kaldi_pdfs import kaldi_labels, tree_faults
from asr_kd.labels.label_set import LabelSet

MODEL, TREE = "final.mdl", "tree"
Unnormalised = Literal["softmax"]
_CHAIN_FILES = ("den.fst", "normalization.fst", "phone_lm.fst")
_SHOWN = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Places:
    """The folders and files of an experiment.

    Attributes:
        experiment: with final.mdl and tree.
        phones: phones.txt.
        ali: folder with ali.1.gz ..., None where there is none.
        jobs: those files, in order.
        graph: folder with HCLG.fst and words.txt, None where there is none.
        lang: Kaldi's lang folder, None where there is none.
    """

    experiment: Path
    phones: Path
    ali: Path | None
    jobs: tuple[Path, ...]
    graph: Path | None
    lang: Path | None

    @classmethod
    def find(
        cls, experiment: Path, lang: Path | None, graph: Path | None, ali: Path | None
    ) -> "Places":
        """Looks for what is not given where Kaldi's recipes have it, in the experiment.

        Raises:
            InputError: for every folder or file that is missing.
        """
        experiment = Path(experiment)
        faults = [
            f"{experiment / name}: no such file; expected a Kaldi experiment with {MODEL} and "
            f"{TREE}"
            for name in (MODEL, TREE)
            if not (experiment / name).is_file()
        ]
        faults += [f"{p}: no such folder" for p in (lang, graph, ali) if p and not p.is_dir()]
        lang = lang or _folder(experiment / "lang", "phones.txt")
        graph = graph or _folder(experiment / "graph", "HCLG.fst")
        ali = ali or (experiment if _jobs(experiment) else _folder(experiment / "ali", "ali.1.gz"))
        jobs = _jobs(ali) if ali is not None else {}
        if ali is not None:
            faults += _missing_jobs(ali, jobs)
        tables = [folder / "phones.txt" for folder in (lang, experiment, graph) if folder]
        phones = next((table for table in tables if table.is_file()), None)
        if phones is None:
            faults.append(f"{experiment}: no phones.txt in it; name Kaldi's lang folder by --lang")
        if faults or phones is None:
            raise InputError(faults)
        return cls(experiment, phones, ali, tuple(jobs[k] for k in sorted(jobs)), graph, lang)

    @property
    def subsampling(self) -> int:
        """Feature frames for each label, of the alignments or else the model.

        Raises:
            InputError: if the file holds no number.
        """
        for folder in (self.ali, self.experiment):
            if folder is not None and (folder / "frame_subsampling_factor").is_file():
                text = (folder / "frame_subsampling_factor").read_text(errors="replace").strip()
                if not re.fullmatch(r"[1-9]\d?", text):
                    raise InputError(
                        f"{folder / 'frame_subsampling_factor'}: {text!r} is no number"
                    )
                return int(text)
        return 1


@dataclass(frozen=True)
class Experiment:
    """A model and what its numbers mean.

    Attributes:
        transitions: transition model.
        tree: context tree.
        label_set: the pdf-ids.
        kind: what the model is: gmm, nnet2, nnet3, chain, or transitions alone.
    """

    transitions: TransitionModel
    tree: ContextTree
    label_set: LabelSet
    kind: Literal["gmm", "nnet2", "nnet3", "chain", "transitions"]

    @classmethod
    def read(cls, places: Places, unnormalised: Unnormalised | None) -> "Experiment":
        """Reads model, tree and tables and holds them against one another.

        Raises:
            InputError: all faults of all files; for a chain model unless `unnormalised` is given.
        """
        faults: list[str] = []
        model_file, tree_file = places.experiment / MODEL, places.experiment / TREE
        reader = _try(faults, lambda: KaldiReader.open(model_file))
        transitions = reader and _try(faults, lambda: read_transition_model(reader))
        kind = reader and transitions and _try(faults, lambda: _kind(places, reader, transitions))
        tree = _try(faults, lambda: read_tree(KaldiReader.open(tree_file)))
        table = _try(faults, lambda: _phones(places.phones))
        if reader and transitions and kind == "gmm":
            gmms = _try(faults, lambda: read_gmms(reader))
            if gmms is not None and len(gmms) != transitions.num_pdfs:
                faults.append(f"{model_file}: {len(gmms)} GMMs of {transitions.num_pdfs} pdfs")
        if kind == "chain" and unnormalised is None:
            faults.append(_chain_refusal(model_file))
        if transitions and tree:
            found = tree_faults(transitions, tree)
            faults += [f"{tree_file}: not the tree of {model_file}: {f}" for f in found[:_SHOWN]]
        if transitions and table is not None:
            missing = sorted(transitions.topology.entry_of.keys() - table.keys())
            faults += [f"{places.phones}: no phone has number {n}" for n in missing]
        if transitions and places.lang and (places.lang / "topo").is_file():
            faults += _lang_faults(places.lang / "topo", transitions)
        if transitions and places.ali and (places.ali / MODEL).is_file():
            faults += _ali_faults(places.ali / MODEL, transitions)
        if faults or not transitions or not tree or table is None or not kind:
            raise InputError(faults)
        return cls(transitions, tree, kaldi_labels(transitions, tree, table), kind)


def _try(faults: list[str], read: Callable[[], T]) -> T | None:
    try:
        return read()
    except InputError as error:
        faults += error.faults
        return None


def _kind(
    places: Places, reader: KaldiReader, transitions: TransitionModel
) -> Literal["gmm", "nnet2", "nnet3", "chain", "transitions"]:
    """What stands behind the transition model."""
    if not reader.data[reader.position : reader.position + 64].strip():  # a text ends in "\n"
        return "transitions"
    token = reader.peek()
    if token == "<DIMENSION>":
        return "gmm"
    if token == "<Nnet3>":
        files = any((places.experiment / name).exists() for name in _CHAIN_FILES)
        return "chain" if files or not transitions.topology.is_hmm else "nnet3"
    if token == "<Nnet>":
        return "nnet2"
    reader.fail(f"{token} behind the transition model; expected a GMM or a network")


def _chain_refusal(model_file: Path) -> str:
    return (
        f"{model_file}: a chain model: it was trained on sequences (LF-MMI), so that its outputs "
        f"are scores that no frame normalises, not posteriors; to use their softmax for posteriors "
        f"all the same, pass --unnormalised softmax, here and to dump-targets"
    )


def _phones(path: Path) -> dict[int, str]:
    table = read_table(path)
    wrong = [name for name, number in table.items() if not re.fullmatch(r"\d{1,9}", number)]
    if wrong:
        raise InputError([f"{path}: {name}: {table[name]!r} is no number" for name in wrong])
    return {int(number): name for name, number in table.items()}


def _lang_faults(topo: Path, transitions: TransitionModel) -> list[str]:
    """A topology of other states than the model's; probabilities may differ."""
    faults: list[str] = []
    topology = _try(faults, lambda: read_topology(KaldiReader.open(topo)))
    if topology is None:
        return faults
    shape = [
        {
            phone: [(s.pdf_class, s.loop_class, [to for to, _ in s.transitions]) for s in states]
            for phone in one.entry_of
            for states in [one.states(phone)]
        }
        for one in (topology, transitions.topology)
    ]
    if shape[0] != shape[1]:
        faults.append(f"{topo}: other phones or HMM states than the model's: not its lang folder")
    return faults


def _ali_faults(model_file: Path, transitions: TransitionModel) -> list[str]:
    """A model beside the alignments whose transition-ids mean something else."""
    faults: list[str] = []
    other = _try(faults, lambda: read_transition_model(KaldiReader.open(model_file)))
    if other is not None and not other.same_transition_ids(transitions):
        faults.append(
            f"{model_file}: transition-ids of another tree than the experiment's; its alignments "
            f"need Kaldi's convert-ali first, or the experiment that made them"
        )
    return faults


def _folder(path: Path, needed: str) -> Path | None:
    return path if (path / needed).is_file() else None


def _jobs(folder: Path) -> dict[int, Path]:
    """Job → ali.JOB.gz (or unpacked, ali.JOB)."""
    found = {}
    for file in folder.glob("ali.*"):
        if match := re.fullmatch(r"ali\.(\d{1,6})(\.gz)?", file.name):
            found[int(match[1])] = file
    return found


def _missing_jobs(ali: Path, jobs: dict[int, Path]) -> list[str]:
    if not jobs:
        return [f"{ali}: no ali.1.gz; expected Kaldi's alignments"]
    expected = max(jobs)
    if (ali / "num_jobs").is_file():
        text = (ali / "num_jobs").read_text(errors="replace").strip()
        if not re.fullmatch(r"\d{1,6}", text):
            return [f"{ali / 'num_jobs'}: {text!r} is no number"]
        expected = max(expected, int(text))
    return [f"{ali}: no ali.{k}.gz of {expected} jobs" for k in range(1, expected + 1)
            if k not in jobs]  # fmt: skip
