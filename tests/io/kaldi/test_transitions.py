import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.io.kaldi.gmm import read_gmms
from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.topology import NO_PDF, read_topology
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model


def read(data: bytes) -> TransitionModel:
    return read_transition_model(KaldiReader(data, "final.mdl"))


def test_what_a_transition_id_means(kaldi: Any) -> None:
    model = read(kaldi.mark + kaldi.transitions())
    assert (model.num_pdfs, model.num_transition_ids) == (5, 10)
    ids = slice(1, None)
    assert model.phone_of[ids].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert model.pdf_of[ids].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert model.is_loop[ids].tolist() == [True, False] * 5
    assert model.target_of[ids].tolist() == [0, 1, 1, 2, 0, 1, 0, 1, 0, 1]
    assert np.flatnonzero(model.is_last[ids]).tolist() == [3, 5, 7, 9]
    assert model.log_probs[2] == pytest.approx(math.log(0.25))
    assert model.topology.is_hmm
    assert model.topology.all_emit
    classes = [{s.pdf_class for s in model.topology.states(p)} - {NO_PDF} for p in (1, 2, 3)]
    assert classes == [{0, 1}, {0}, {0}]


def test_self_loops_with_pdfs_of_their_own(kaldi: Any) -> None:
    states = ((1, 0, 0, 5), (1, 1, 1, 6), (2, 0, 2, 7), (2, 0, 3, 7), (3, 0, 4, 8))
    model = read(kaldi.mark + kaldi.transitions(states))
    assert not model.topology.is_hmm
    assert model.pdf_of[1:].tolist() == [5, 0, 6, 1, 7, 2, 7, 3, 8, 4]
    assert model.num_pdfs == 9


def test_models_of_one_tree_have_the_same_transition_ids(kaldi: Any) -> None:
    model = read(kaldi.mark + kaldi.transitions())
    others = [kaldi.STATES[:-1], (*kaldi.STATES[:-1], (3, 0, 3))]
    assert model.same_transition_ids(read(kaldi.mark + kaldi.transitions()))
    for states in others:
        assert not model.same_transition_ids(read(kaldi.mark + kaldi.transitions(states)))


def test_mixtures_as_kaldi_keeps_them(kaldi: Any) -> None:
    gmms = read_gmms(KaldiReader(kaldi.mark + kaldi.gmms(3), "final.mdl"))
    assert [gmm.weights.tolist() for gmm in gmms] == [[0.25, 0.75]] * 3
    for p, gmm in enumerate(gmms):
        np.testing.assert_allclose(gmm.means, [[p, 0], [p, 1]])
        np.testing.assert_allclose(gmm.variances, [[0.5, 0.5], [2, 2]])


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([(4, 0, 0)], "transition-state 1: phone 4 is not in the topology"),
        ([(2, 1, 0)], "transition-state 1: phone 2 has no emitting state 1"),
        ([(2, -1, 0)], "phone 2 has no emitting state -1"),
        ([(2, 0, -1)], "pdfs -1 and -1 of 1 states"),
        ([(2, 0, 10**9)], "pdfs 1000000000"),
    ],
)
def test_states_that_do_not_fit_the_topology(
    kaldi: Any, states: list[tuple[int, int, int]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read(kaldi.mark + kaldi.transitions(states))


@pytest.mark.parametrize("kaldi", ["text"], indirect=True)
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"<State> 0", b"<State> 1", "state 1, expected 0"),
        (b"2 3\n", b"2 2\n", "phone 2 is not positive, or has an entry already"),
        (b"2 3\n", b"\n", "not every entry has a phone"),
        (b"<Transition> 1 0.25", b"<Transition> 2 0.25", "leads to state 2 of 2"),
        (b"<Transition> 1 0.25", b"<Transition> 0 0.25", "two to the same state"),
        (b"<PdfClass> 0", b"", "emits nothing"),
        (b"<PdfClass> 0", b"<PdfClass> -3", "has pdf-class -3"),
        (b"</Topology>", b"</Top>", "expected <TopologyEntry> or </Topology>, found </Top>"),
    ],
)
def test_a_text_that_is_no_topology(kaldi: Any, old: bytes, new: bytes, said: str) -> None:
    good = kaldi.topology()
    assert old in good
    read_topology(KaldiReader(good, "topo"))
    with pytest.raises(InputError, match=r"^topo: byte ") as error:
        read_topology(KaldiReader(good.replace(old, new, 1), "topo"))
    assert said in str(error.value)


def test_probabilities_are_as_many_as_transition_ids(kaldi: Any) -> None:
    good = kaldi.mark + kaldi.transitions()
    short = kaldi.vector([0.0] * 10)
    log_probs = [0.0, *[math.log(0.75), math.log(0.25)] * 5]
    with pytest.raises(InputError, match="9 probabilities for 10 transition-ids"):
        read(good.replace(kaldi.vector(log_probs), short))
    with pytest.raises(InputError, match="above 1 or no number"):
        read(good.replace(kaldi.vector(log_probs), kaldi.vector([math.nan] * 11)))


@pytest.mark.parametrize(
    ("old", "new"),
    [([0.25, 0.75], [0.25, 0.25]), ([0.25, 0.75], [1.25, -0.25]), ([0.25, 0.75], [0.25])],
)
def test_weights_that_are_no_mixture(kaldi: Any, old: list[float], new: list[float]) -> None:
    data = kaldi.mark + kaldi.gmms(2).replace(kaldi.vector(old), kaldi.vector(new), 1)
    with pytest.raises(InputError, match="pdf 0: "):
        read_gmms(KaldiReader(data, "final.mdl"))


@settings(max_examples=150)
@given(data=st.data(), cut=st.booleans())
def test_a_damaged_model_is_refused_or_read_but_never_breaks(
    kaldi: Any, data: st.DataObject, cut: bool
) -> None:
    whole = bytearray(kaldi.mark + kaldi.transitions() + kaldi.gmms(2))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(whole))) if cut else len(whole)
    stream = KaldiReader(bytes(whole[:end]), "final.mdl")
    try:
        model = read_transition_model(stream)
        assert model.pdf_of.max() < 10
        read_gmms(stream)
    except InputError as error:
        assert "final.mdl: byte " in str(error)  # noqa: PT017
