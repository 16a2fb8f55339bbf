"""Kaldi's decoding graph with pdf-ids in place of transition-ids."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from asr_kd.errors import InputError
from asr_kd.io.kaldi.fst import Fst, read_fst
from asr_kd.io.kaldi.transitions import TransitionModel
from asr_kd.io.table import read_table

HCLG = "HCLG.fst"


def read_graph(folder: Path, model: TransitionModel) -> tuple[Fst, Mapping[str, str]]:
    """Reads HCLG.fst and words.txt of a Kaldi graph folder.

    States, costs and words stay as they are; the label of an arc becomes its transition-id's
    pdf-id + 1. Costs of transitions are part of Kaldi's HCLG.

    Args:
        folder: output of Kaldi's utils/mkgraph.sh.
        model: transition model that the graph was made with.

    Returns:
        The graph, and words with their numbers.

    Raises:
        InputError: for damaged files, and for labels that the model or words.txt do not have.
    """
    graph, words = read_fst(folder / HCLG), read_table(folder / "words.txt")
    faults = [
        f"{folder / 'words.txt'}: {word}: {number!r} is no number"
        for word, number in words.items()
        if not (number.isascii() and number.isdigit())
    ]
    if faults:
        raise InputError(faults)
    labels = graph.arcs["ilabel"]
    if len(labels) and labels.max() > model.num_transition_ids:
        faults.append(
            f"{folder / HCLG}: input label {labels.max()}; the model has transition-ids 1 to "
            f"{model.num_transition_ids}: a graph of another model, or not a finished HCLG"
        )
    faults += _unknown_words(folder, graph, {int(number) for number in words.values()})
    if faults:
        raise InputError(faults)
    arcs = graph.arcs.copy()
    arcs["ilabel"] = np.where(labels > 0, model.pdf_of[labels] + 1, 0)
    return replace(graph, arcs=arcs), words


def _unknown_words(folder: Path, graph: Fst, known: Collection[int]) -> list[str]:
    unknown = sorted(set(np.unique(graph.arcs["olabel"]).tolist()) - set(known) - {0})
    if not unknown:
        return []
    return [f"{folder / HCLG}: word {unknown[0]} is not in {folder / 'words.txt'} "
            f"({len(unknown)} such words)"]  # fmt: skip
