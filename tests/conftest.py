"""Fixtures that every room's tests share."""

import gzip
import itertools
import math
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import hypothesis
import pytest
import torch
from torch import Tensor

from asr_kd import shards

# A busy machine is no fault of the code.
hypothesis.settings.register_profile(
    "asr_kd", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("asr_kd")

# Real corpora stand beside a developer's checkout; a user has none of them.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared corpora are not here")
    return SHARED


@pytest.fixture(autouse=True)
def _single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # A suite started under srun or torchrun must not believe to be one of many processes.
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        if name in os.environ:
            monkeypatch.delenv(name)


@pytest.fixture
def as_two_ranks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None], Path], None]:
    """`as_two_ranks(stage, out)`: the stage as two processes run it, one after the other.

    The first one's wait for the second is cut short: it finds that one's shards at its next call.
    """

    class Waits(BaseException):
        pass

    def wait(*arguments: object) -> None:
        raise Waits

    def run(stage: Callable[[], None], out: Path) -> None:
        markers = out.with_name(f".{out.name}.building") / "shards"
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        with monkeypatch.context() as patched, pytest.raises(Waits):
            patched.setattr(shards, "_wait", wait)
            stage()
        first = {int(path.stem) for path in markers.glob("*.json")}
        monkeypatch.setenv("RANK", "1")
        stage()
        second = {int(path.stem) for path in markers.glob("*.json")} - first
        assert {k % 2 for k in first} == {0}
        assert {k % 2 for k in second} == {1}
        assert not out.exists()
        monkeypatch.setenv("RANK", "0")
        stage()
        for name in ("RANK", "WORLD_SIZE"):
            monkeypatch.delenv(name)

    return run


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where losses and networks are to give the same."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture
def enumerated() -> Callable[[Tensor, Sequence[int]], Tensor]:
    """log p(y|x) of logits (T,V), without padding, by all V^T paths."""

    def log_prob(logits: Tensor, tokens: Sequence[int]) -> Tensor:
        log_post = logits - logits.exp().sum(1, keepdim=True).log()
        paths = [
            sum(log_post[t, label] for t, label in enumerate(path))
            for path in itertools.product(range(logits.shape[1]), repeat=len(logits))
            if [k for k, _ in itertools.groupby(path) if k != 0] == list(tokens)
        ]
        if not paths:
            return logits.new_tensor(-torch.inf)
        return torch.stack(paths).exp().sum().log()  # type: ignore[arg-type]

    return log_prob


class KaldiWriter:
    """Writes small Kaldi files by hand, binary or text, without the code that reads them.

    The model: SIL (1) of two states, A (2) and B (3) of one. A has one pdf behind SIL and another
    elsewhere. Transition-id 2k + 1 stays in transition-state k, 2k + 2 leaves it.
    """

    STATES = ((1, 0, 0), (1, 1, 1), (2, 0, 2), (2, 0, 3), (3, 0, 4))
    PHONES = "<eps> 0\nSIL 1\nA 2\nB 3\n#0 4\n"

    def __init__(self, binary: bool) -> None:
        self.binary = binary
        self.mark = b"\0B" if binary else b""

    def tokens(self, *tokens: str) -> bytes:
        return b"".join(f"{token} ".encode() for token in tokens)

    def ints(self, *values: int) -> bytes:
        if self.binary:
            return b"".join(b"\4" + value.to_bytes(4, "little", signed=True) for value in values)
        return b"".join(f"{value} ".encode() for value in values)

    def floats(self, *values: float) -> bytes:
        if self.binary:
            return b"".join(b"\4" + struct.pack("<f", value) for value in values)
        return b"".join(f"{value!r} ".encode() for value in values)

    def int_vector(self, values: Sequence[int]) -> bytes:
        if self.binary:
            return b"\4" + struct.pack(f"<i{len(values)}i", len(values), *values)
        return f"[ {' '.join(map(str, values))} ]\n".encode()

    def vector(self, values: Sequence[float]) -> bytes:
        if self.binary:
            return b"FV " + self.ints(len(values)) + struct.pack(f"<{len(values)}f", *values)
        return f" [ {' '.join(map(repr, values))} ]\n".encode()

    def matrix(self, rows: Sequence[Sequence[float]]) -> bytes:
        columns = len(rows[0]) if rows else 0
        if self.binary:
            flat = [value for row in rows for value in row]
            return b"FM " + self.ints(len(rows), columns) + struct.pack(f"<{len(flat)}f", *flat)
        return (
            f" [\n{''.join('  ' + ' '.join(map(repr, row)) + chr(10) for row in rows)}]\n".encode()
        )

    def topology(self, own_loops: bool = False) -> bytes:
        """With `own_loops` as chain models have it: B stays by a pdf-class of its own."""
        entries: list[tuple[list[int], list[list[tuple[int, float]]]]] = [
            ([2, 3], [[(0, 0.75), (1, 0.25)], []]),
            ([1], [[(0, 0.75), (1, 0.25)], [(1, 0.75), (2, 0.25)], []]),
        ]
        if not self.binary:
            text = "<Topology>\n"
            for phones, states in entries:
                text += f"<TopologyEntry>\n<ForPhones>\n{' '.join(map(str, phones))}\n"
                text += "</ForPhones>\n"
                for number, pairs in enumerate(states):
                    kind = (
                        "<PdfClass> {0}"
                        if not own_loops
                        else ("<ForwardPdfClass> {0} <SelfLoopPdfClass> {1}")
                    )
                    classes = kind.format(number, number + 1) if pairs else ""
                    moves = " ".join(f"<Transition> {to} {prob}" for to, prob in pairs)
                    text += f"<State> {number} {classes} {moves} </State>\n"
                text += "</TopologyEntry>\n"
            return f"{text}</Topology>\n".encode()
        data = self.tokens("<Topology>") + self.int_vector([1, 2, 3])
        data += self.int_vector([-1, 1, 0, 0])
        data += self.ints(-1, 2) if own_loops else self.ints(2)
        for _, states in entries:
            data += self.ints(len(states))
            for number, pairs in enumerate(states):
                data += self.ints(number if pairs else -1)
                data += self.ints(number + 1 if pairs else -1) if own_loops else b""
                data += self.ints(len(pairs))
                data += b"".join(self.ints(to) + self.floats(prob) for to, prob in pairs)
        return data + self.tokens("</Topology>")

    def transitions(self, states: Sequence[tuple[int, ...]] = STATES) -> bytes:
        """Tuples of four numbers make a model whose self-loops have pdfs of their own."""
        own_loops = len(states[0]) == 4
        name = "Tuples" if own_loops else "Triples"
        data = self.tokens("<TransitionModel>") + self.topology(own_loops)
        data += self.tokens(f"<{name}>") + self.ints(len(states))
        data += b"".join(self.ints(*state) for state in states) + self.tokens(f"</{name}>")
        log_probs = [0.0, *[math.log(0.75), math.log(0.25)] * len(states)]
        data += self.tokens("<LogProbs>") + self.vector(log_probs)
        return data + self.tokens("</LogProbs>", "</TransitionModel>")

    def gmms(self, num_pdfs: int = 5) -> bytes:
        """Of pdf p: two Gaussians with the means (p, 0) and (p, 1), variances 0.5 and 2."""
        data = self.tokens("<DIMENSION>") + self.ints(2)
        data += self.tokens("<NUMPDFS>") + self.ints(num_pdfs)
        for p in range(num_pdfs):
            data += self.tokens("<DiagGMM>", "<GCONSTS>") + self.vector([0.0, 0.0])
            data += self.tokens("<WEIGHTS>") + self.vector([0.25, 0.75])
            means = [[p / 0.5, 0.0], [p / 2, 1 / 2]]
            data += self.tokens("<MEANS_INVVARS>") + self.matrix(means)
            data += self.tokens("<INV_VARS>") + self.matrix([[2.0, 2.0], [0.5, 0.5]])
            data += self.tokens("</DiagGMM>")
        return data

    def tree(self) -> bytes:
        question = self.tokens("SE")
        leaf = self.tokens("CE")
        silence = (
            question + self.ints(-1) + self.int_vector([0]) + self.tokens("{")
            + leaf + self.ints(0) + leaf + self.ints(1) + self.tokens("}")
        )  # fmt: skip
        a = (
            question + self.ints(0) + self.int_vector([1]) + self.tokens("{")
            + leaf + self.ints(2) + leaf + self.ints(3) + self.tokens("}")
        )  # fmt: skip
        size = b"\xfc\4\0\0\0" if self.binary else b"4 "  # unsigned
        root = self.tokens("TE") + self.ints(1) + size + self.tokens("(", "NULL")
        root += silence + a + leaf + self.ints(4) + self.tokens(")")
        head = self.tokens("ContextDependency") + self.ints(3, 1) + self.tokens("ToPdf")
        return self.mark + head + root + self.tokens("EndContextDependency")

    def alignments(self, tids: Mapping[str, Sequence[int]]) -> bytes:
        archive = b""
        for utt, values in tids.items():
            if self.binary:
                archive += f"{utt} ".encode() + b"\0B" + self.ints(len(values), *values)
            else:
                archive += f"{utt} {' '.join(map(str, values))} \n".encode()
        return archive

    def posteriors(self, frames_of: Mapping[str, Sequence[Mapping[int, float]]]) -> bytes:
        archive = b""
        for utt, frames in frames_of.items():
            archive += f"{utt} ".encode() + self.mark
            archive += self.ints(len(frames)) if self.binary else b""
            for frame in frames:
                pairs = b"".join(self.ints(i) + self.floats(p) for i, p in frame.items())
                archive += self.ints(len(frame)) + pairs if self.binary else b"[ " + pairs + b"] "
            archive += b"" if self.binary else b"\n"
        return archive

    def graph(self, path: Path) -> None:
        """A loop of two words, A behind silence and B."""
        import kaldifst

        fst = kaldifst.StdVectorFst()
        states = [fst.add_state() for _ in range(5)]
        fst.start = states[0]
        fst.set_final(states[4], 0.5)
        chain = [(2, 0, 0.1), (4, 1, 0.2), (6, 0, 0.3), (10, 2, 0.4)]
        for source, (tid, word, cost) in enumerate(chain):
            fst.add_arc(source, kaldifst.StdArc(tid, word, cost, source + 1))
            fst.add_arc(source + 1, kaldifst.StdArc(tid - 1, 0, 0.7, source + 1))
        fst.add_arc(states[4], kaldifst.StdArc(0, 0, 1.0, states[0]))
        assert fst.write(str(path))

    def experiment(self, folder: Path) -> Path:
        """A whole experiment with two jobs of alignments."""
        for name in ("lang", "graph", "ali"):
            (folder / name).mkdir(parents=True)
        (folder / "final.mdl").write_bytes(self.mark + self.transitions() + self.gmms())
        (folder / "tree").write_bytes(self.tree())
        (folder / "lang/phones.txt").write_text(self.PHONES)
        (folder / "lang/topo").write_bytes(KaldiWriter(binary=False).topology())
        jobs: list[dict[str, list[int]]] = [
            {"spk-1": [2, 1, 1, 4, 6, 5, 10], "spk-2": [2, 4, 3, 6]},
            {"spk-3": [2, 4, 10, 9, 8]},
        ]
        for job, tids in enumerate(jobs, start=1):
            (folder / f"ali/ali.{job}.gz").write_bytes(gzip.compress(self.alignments(tids)))
        (folder / "ali/num_jobs").write_text("2\n")
        self.graph(folder / "graph/HCLG.fst")
        (folder / "graph/words.txt").write_text("<eps> 0\none 1\ntwo 2\n")
        return folder


@pytest.fixture(scope="session", params=["binary", "text"])
def kaldi(request: pytest.FixtureRequest) -> KaldiWriter:
    return KaldiWriter(request.param == "binary")
