"""`score`: one hypothesis against its reference; on the terminal, and as a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asr_kd.artefact import Artefact
from asr_kd.report.comparison import Scoring, normaliser_of
from asr_kd.report.kaldi_folders import NO_PENALTY, scales_text
from asr_kd.report.sources import Source, find_source, read_source, speakers_of
from asr_kd.report.table import NONE, operations, percent, terminal
from asr_kd.score.bootstrap import METHOD
from asr_kd.score.join import REFERENCE, join
from asr_kd.score.result import FORMAT, Score, score, write_score

_MOST_SPEAKERS = 100


def score_files(
    files: Sequence[str],
    utt2spk: str | None,
    scoring: Scoring,
    out: Path | None,
    normaliser: str | None = None,
) -> None:
    """Scores hypotheses: prints a table and publishes `wer.json` and Kaldi's files.

    Args:
        files: reference and hypotheses, or only a decode folder, ours or Kaldi's; each as
            `report.sources.find_source` takes it.
        utt2spk: Kaldi's `utt2spk`, where files do not tell the speakers.
        scoring: how words are compared, but for the normaliser.
        out: folder to publish; None to print alone.
        normaliser: as `report.comparison.normaliser_of` takes it.

    Raises:
        InputError: all faults of the files together.
    """
    *refs, hyp = files
    source = find_source(hyp, refs[0] if refs else None, utt2spk)
    scoring = replace(scoring, normaliser=normaliser_of([source], normaliser))
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
        joined.ref, joined.hyps[name], speakers_of(source, loaded, joined.ref), scoring.alignment,
        scoring.normaliser, joined.partial, f"{loaded.ref.source}: the reference",
    )  # fmt: skip
    _show(name, source, result)
    if artefact is not None and out is not None and not artefact.is_done():
        said = {"ref": str(source.ref), "hyp": str(source.hyp)}
        if source.kind == "kaldi":
            said |= source.info
        write_score(result, artefact.begin(), out, said, *_scales(source))
        artefact.publish()


def _artefact(source: Source, scoring: Scoring, out: Path) -> Artefact:
    config = {
        "normaliser": scoring.normaliser.to_dict(),
        "alignment": scoring.alignment,
        "partial": scoring.partial,
        "formats": [source.ref_format, source.format],
        "scales": list(_scales(source)),
        "chosen": source.info if source.kind == "kaldi" else None,
        "intervals": METHOD,
        "format": FORMAT,
    }
    inputs = {"ref": source.ref, "hyp": source.hyp}
    if source.utt2spk is not None:
        inputs["utt2spk"] = source.utt2spk
    return Artefact(out, "score", config, inputs)


def _scales(source: Source) -> tuple[str, str]:
    """Language model weight and word insertion penalty, as far as they are known."""
    if source.kind == "kaldi":
        return str(source.info["lmwt"]), str(source.info["wip"] or NO_PENALTY)
    if source.kind == "decode":
        scales: dict[str, Any] = source.info["scales"]
        return f"{1 / scales['acoustic_scale']:.4g}", str(scales["insertion_penalty"])
    return "1", "0.0"


def _show(name: str, source: Source, result: Score) -> None:
    from rich.console import Console

    rows = []
    notes = result.notes()
    if source.kind == "kaldi":
        notes.append(f"Decoded by Kaldi, {source.hyp}: {scales_text(source.path, source.info)}.")
    if len(result.speakers) > _MOST_SPEAKERS:
        notes.append(
            f"{len(result.speakers):,} speakers, too many to be printed; --out writes each, "
            f"scoring_kaldi/wer_details/per_spk."
        )
    else:
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
    console.print(terminal(title, ("speaker", "words", "WER %", "S/D/I"), rows))
    for note in notes:
        console.print(note, markup=False, highlight=False)
