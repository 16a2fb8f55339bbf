from pathlib import Path
from typing import Any

import kaldifst
import numpy as np
import pytest

from asr_kd.errors import InputError
from asr_kd.io.kaldi.archive import read_archive
from asr_kd.io.kaldi.fst import read_fst, write_fst
from asr_kd.io.kaldi.stream import KaldiReader
from asr_kd.io.kaldi.transitions import TransitionModel, read_transition_model
from asr_kd.search.decoder import GraphDecoder
from asr_kd.search.kaldi_graph import read_graph


@pytest.fixture
def folder(kaldi: Any, tmp_path: Path) -> Path:
    return Path(kaldi.experiment(tmp_path / "exp") / "graph")


@pytest.fixture
def model(kaldi: Any) -> TransitionModel:
    return read_transition_model(KaldiReader(kaldi.mark + kaldi.transitions(), "final.mdl"))


def test_arcs_read_pdfs_in_place_of_transition_ids(folder: Path, model: TransitionModel) -> None:
    before = read_fst(folder / "HCLG.fst").arcs
    graph, words = read_graph(folder, model)
    expected = [0 if tid == 0 else 1 + model.pdf_of[tid] for tid in before["ilabel"]]
    assert graph.arcs["ilabel"].tolist() == expected
    for name in ("olabel", "weight", "next"):
        np.testing.assert_array_equal(graph.arcs[name], before[name])
    assert words == {"<eps>": "0", "one": "1", "two": "2"}


def test_a_graph_of_a_larger_model_is_refused(folder: Path, kaldi: Any) -> None:
    data = kaldi.mark + kaldi.transitions(kaldi.STATES[:4])
    small = read_transition_model(KaldiReader(data, "final.mdl"))
    with pytest.raises(InputError, match=r"input label 10; the model has transition-ids 1 to 8"):
        read_graph(folder, small)


def test_words_that_the_table_lacks(folder: Path, model: TransitionModel) -> None:
    (folder / "words.txt").write_text("<eps> 0\none 1\n")
    with pytest.raises(InputError, match=r"HCLG\.fst: word 2 is not in .*words\.txt \(1 such"):
        read_graph(folder, model)
    (folder / "words.txt").write_text("<eps> 0\none x\n")
    with pytest.raises(InputError, match=r"words\.txt: one: 'x' is no number"):
        read_graph(folder, model)


def test_the_real_graph_gives_kaldis_words_paths_and_costs(
    shared_data: Path, tmp_path: Path
) -> None:
    """As latgen-faster-mapped: words, transition-ids, graph cost and acoustic cost."""
    real = shared_data / "kaldi" / "an4_tri1"
    if not real.is_dir():
        pytest.skip("the real Kaldi experiment is not here")
    golden = real / "golden"
    model = read_transition_model(KaldiReader.open(real / "final.mdl"))
    graph, _ = read_graph(real / "graph", model)
    write_fst(tmp_path / "pdfs.fst", graph)
    write_fst(tmp_path / "tids.fst", read_fst(real / "graph" / "HCLG.fst"))
    by_pdf, by_tid = (
        GraphDecoder(kaldifst.StdVectorFst.read(str(tmp_path / name)), labels, 15.0, 7000)
        for name, labels in (
            ("pdfs.fst", model.num_pdfs), ("tids.fst", model.num_transition_ids),
        )
    )  # fmt: skip
    words = _table(golden / "latgen.words.int.txt")
    tids = _table(golden / "latgen.ali.txt")
    costs = _table(golden / "latgen.costs.txt")
    scores = dict(read_archive(golden / "loglikes.ark", lambda reader: reader.matrix()))
    assert len(scores) == 3
    for utt, loglikes in scores.items():
        expected = np.array(tids[utt], np.int64)
        graph_cost, acoustic_cost, total = costs[utt]
        path = by_pdf.decode(0.5 * loglikes, utt)
        assert path.complete
        assert path.words == words[utt]
        assert path.labels.tolist() == model.pdf_of[expected].tolist()
        acoustic = -0.5 * float(loglikes[np.arange(len(loglikes)), path.labels].sum())
        assert (path.cost, acoustic) == pytest.approx((total, acoustic_cost), rel=5e-6)
        assert path.cost - acoustic == pytest.approx(graph_cost, rel=2e-5)
        path = by_tid.decode(0.5 * loglikes[:, model.pdf_of[1:]], utt)
        assert (path.labels + 1).tolist() == expected.tolist()


def _table(path: Path) -> dict[str, list[float]]:
    lines = [line.split() for line in path.read_text().splitlines() if line[:1] not in ("", "#")]
    return {line[0]: [float(x) for x in line[1:]] for line in lines}
