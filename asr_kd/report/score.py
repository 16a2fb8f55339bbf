"""`score`: one hypothesis against its reference; on the terminal, and as a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.report.comparison import Scoring
from asr_kd.report.sources import Source, find_sources, read_source
from asr_kd.report.table import NONE, operations, percent, terminal
from asr_kd.score.join import REFERENCE, join
from asr_kd.score.result import Score, score, write_score

_MOST_SPEAKERS = 100


def score_files(
    files: Sequence[str], utt2spk: str | None, scoring: Scoring, out: Path | None
) -> None:
    """Scores hypotheses: prints a table and publishes `wer.json` and Kaldi's files.

    Args:
        files: reference and hypotheses, or only a decode folder, ours or Kaldi's; each as
            `report.sources.find_sources` takes a path.
        utt2spk: Kaldi's `utt2spk`, where files do not tell the speakers.
        scoring: how words are compared.
        out: folder to publish; None to print alone.

    Raises:
        InputError: all faults of the files together.
    """
    source = _source(files, utt2spk)
    artefact = _artefact(source, scoring, out) if out is not None else None
    loaded = read_source(source)
    name = str(source.path)
    joined = join(
        loaded.ref.text,
        {name: loaded.hyp.text},
        {name: loaded.hyp.source, REFERENCE: loaded.ref.source},
        scoring.partial,
    )
    result = score(
        joined.ref, joined.hyps[name], loaded.utt2spk, scoring.alignment, scoring.normaliser,
        joined.partial,
    )  # fmt: skip
    _show(name, result)
    if artefact is not None and out is not None and not artefact.is_done():
        write_score(result, artefact.begin(), out, None, *_scales(source))
        artefact.publish()


def _source(files: Sequence[str], utt2spk: str | None) -> Source:
    *refs, hyp = files
    if not refs and Path(hyp).is_file():
        raise InputError(f"{hyp}: a reference is needed: asr-kd score REF {hyp}")
    sources = find_sources([f"hyp={hyp}"], refs, [] if utt2spk is None else [utt2spk])
    if len(sources) > 1:
        raise InputError(f"{hyp}: {len(sources)} files match; `asr-kd compare` takes several")
    return sources[0]


def _artefact(source: Source, scoring: Scoring, out: Path) -> Artefact:
    config = {
        "normaliser": scoring.normaliser.to_dict(),
        "alignment": scoring.alignment,
        "partial": scoring.partial,
        "formats": [source.ref_format, source.format],
        "scales": list(_scales(source)),
    }
    inputs = {"ref": source.ref, "hyp": source.hyp}
    if source.utt2spk is not None:
        inputs["utt2spk"] = source.utt2spk
    return Artefact(out, "score", config, inputs)


def _scales(source: Source) -> tuple[str, str]:
    """Language model weight and word insertion penalty, as far as they are known."""
    if source.kind == "kaldi":
        return str(source.info["lmwt"]), str(source.info["wip"])
    if source.kind == "decode":
        scales: dict[str, Any] = source.info["scales"]
        return f"{1 / scales['acoustic_scale']:.4g}", str(scales["insertion_penalty"])
    return "1", "0.0"


def _show(name: str, result: Score) -> None:
    from rich.console import Console

    rows = []
    if len(result.speakers) <= _MOST_SPEAKERS:
        rows = [
            (speaker, str(n.words), percent(n.wer, None, 2) if n.words else NONE, operations(n))
            for speaker, n in result.speakers.items()
        ]
    corpus = result.corpus
    figures = percent(corpus.wer, result.interval, 2), operations(corpus)
    rows.append(("all", str(corpus.words), *figures))
    title = f"{name}: word error rate, 95% interval over {result.blocks}"
    if result.partial is not None:
        title = f"{name}: PARTIAL word error rate, 95% interval over {result.blocks}"
    console = Console()
    console.print(terminal(title, ("speaker", "words", "WER %", "S / D / I"), rows))
    for note in result.notes():
        console.print(note, markup=False, highlight=False)
