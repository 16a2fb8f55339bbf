"""A real Kaldi experiment, against what Kaldi's own programs print for it."""

import re
from pathlib import Path

import numpy as np
import pytest

from asr_kd.features.deltas import add_deltas
from asr_kd.io.kaldi.alignments import read_int_vector, split_phones
from asr_kd.io.kaldi.archive import read_archive
from asr_kd.io.kaldi.gmm import read_gmms
from asr_kd.io.kaldi.stream import KaldiReader, read_file
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model
from asr_kd.io.kaldi.tree import read_tree
from asr_kd.io.sphinx import read_mfc
from asr_kd.io.table import read_table
from asr_kd.labels.gmm import DiagGmms


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Path:
    folder = shared_data / "kaldi" / "an4_tri1"
    if not folder.is_dir():
        pytest.skip("the real Kaldi experiment is not here")
    return folder


@pytest.fixture(scope="module")
def reader(real: Path) -> KaldiReader:
    return KaldiReader.open(real / "final.mdl")


@pytest.fixture(scope="module")
def model(reader: KaldiReader) -> TransitionModel:
    return read_transition_model(reader)


def numbers(path: Path) -> dict[str, list[int]]:
    return {utt: [int(x) for x in ids.split()] for utt, ids in read_table(path).items()}


def test_show_transitions(real: Path, model: TransitionModel) -> None:
    text = bytes(read_file(real / "golden/show-transitions.txt.gz")).decode()
    names = {int(number): name for name, number in read_table(real / "lang/phones.txt").items()}
    state, tids = 0, 0
    for line in text.splitlines():
        head = re.fullmatch(
            r"Transition-state (\d+): phone = (\S+) hmm-state = (\d+) pdf = (\d+) *", line
        )
        if head:
            state += 1
            phone, hmm_state, pdf, _ = model.states[state - 1].tolist()
            assert head.groups() == (str(state), names[phone], str(hmm_state), str(pdf))
            continue
        arc = re.fullmatch(
            r" Transition-id = (\d+) p = (\S+) \[(?:self-loop|(\d+) -> (\d+))\] *", line
        )
        assert arc, line
        tids += 1
        assert int(arc[1]) == tids
        assert np.exp(model.log_probs[tids]) == pytest.approx(float(arc[2]), rel=2e-5)
        assert model.state_of[tids] == state - 1
        assert model.is_loop[tids] == (arc[3] is None)
        if arc[3] is not None:
            move = (model.states[state - 1, 1], model.target_of[tids])
            assert move == (int(arc[3]), int(arc[4]))
    assert (state, tids) == (len(model.states), model.num_transition_ids)


def test_am_info(real: Path, model: TransitionModel, reader: KaldiReader) -> None:
    info = {
        line.rpartition(" ")[0]: int(line.rpartition(" ")[2])
        for line in (real / "golden/am-info.txt").read_text().splitlines()
    }
    gmms = read_gmms(reader)
    assert info == {
        "number of phones": len(model.topology.entry_of),
        "number of pdfs": len(gmms),
        "number of transition-ids": model.num_transition_ids,
        "number of transition-states": len(model.states),
    }
    assert reader.left == 0
    assert model.num_pdfs == len(gmms)


def test_text_and_binary_are_the_same_model(real: Path, model: TransitionModel) -> None:
    text = read_transition_model(KaldiReader.open(real / "golden/transition-model.txt.gz"))
    assert text.topology == model.topology
    assert text.same_transition_ids(model)
    np.testing.assert_allclose(text.log_probs, model.log_probs, rtol=1e-6)


def test_text_and_binary_are_the_same_tree(real: Path, model: TransitionModel) -> None:
    tree = read_tree(KaldiReader.open(real / "tree"))
    assert tree == read_tree(KaldiReader.open(real / "golden/tree.txt.gz"))
    info = dict(line.split() for line in (real / "golden/tree-info.txt").read_text().splitlines())
    assert {name: int(value) for name, value in info.items()} == {
        "num-pdfs": tree.num_pdfs, "context-width": tree.width, "central-position": tree.central,
    }  # fmt: skip
    for phone, state, pdf, _ in model.states.tolist():
        pdf_class = model.topology.states(phone)[state].pdf_class
        assert pdf in tree.pdf_ids(phone, pdf_class)


def test_ali_to_pdf_and_ali_to_phones(real: Path, model: TransitionModel) -> None:
    tids = dict(read_archive(real / "ali/ali.1.gz", read_int_vector))
    pdfs = numbers(real / "golden/ali-to-pdf.25.txt")
    per_frame = numbers(real / "golden/ali-to-phones.per-frame.25.txt")
    lengths = read_table(real / "golden/ali-to-phones.lengths.25.txt")
    assert len(pdfs) == len(per_frame) == len(lengths) == 25
    for utt, expected in pdfs.items():
        assert model.pdf_of[tids[utt]].tolist() == expected
        assert model.phone_of[tids[utt]].tolist() == per_frame[utt]
        found = split_phones(model, tids[utt])
        assert found is not None
        pairs = zip(found.phones.tolist(), found.num_frames.tolist(), strict=True)
        assert " ; ".join(f"{phone} {frames}" for phone, frames in pairs) == lengths[utt]


def test_the_gmms_fit_what_they_were_trained_on(
    real: Path, shared_data: Path, model: TransitionModel
) -> None:
    """The likeliest pdf of a frame is mostly that of Kaldi's alignment, for one speaker.

    Kaldi's features here: the mean of the speaker taken off, two orders of deltas.
    """
    stream = KaldiReader.open(real / "final.mdl")
    read_transition_model(stream)
    gmms = read_gmms(stream)
    tids = {
        utt: ids
        for utt, ids in read_archive(real / "ali/ali.1.gz", read_int_vector)
        if utt.startswith("fejs-")
    }
    (folder,) = (shared_data / "an4").glob("**/fejs")
    feats = {utt: read_mfc(folder / f"{utt.removeprefix('fejs-')}.mfc") for utt in tids}
    mean = np.concatenate(list(feats.values())).mean(0)
    sizes = np.array([len(gmm.weights) for gmm in gmms])
    arrays = (np.concatenate(parts) for parts in zip(*gmms, strict=True))
    scorer = DiagGmms(np.cumsum(sizes) - sizes, *arrays)
    right = [
        scorer.log_likes(add_deltas((feats[utt] - mean).astype(np.float32), 2)).argmax(1)
        == model.pdf_of[ids]
        for utt, ids in list(tids.items())[:4]
    ]
    assert np.concatenate(right).mean() > 0.75


def test_every_alignment_is_a_path_through_the_model(real: Path, model: TransitionModel) -> None:
    for job in (1, 2):
        for utt, tids in read_archive(real / f"ali/ali.{job}.gz", read_int_vector):
            assert split_phones(model, tids) is not None, utt
