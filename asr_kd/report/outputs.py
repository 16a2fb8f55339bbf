"""The figures of `compare` for other programs: results.json with a published schema, and CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asr_kd import __version__
from asr_kd.report.comparison import Comparison, Decoding, Scoring
from asr_kd.report.distillation import Distillation, RoleFigures
from asr_kd.report.pairs import Pair
from asr_kd.report.statistics import Estimate, Row, Statistics
from asr_kd.score.pair import TESTS

FORMAT = "asr_kd compare 1"
"""Stands in results.json; `schema/compare-1.schema.json` says what it holds."""


@dataclass(frozen=True, eq=False)
class SetFigures:
    """All figures of one test set."""

    statistics: Statistics
    rows: Sequence[Row]
    pairs: Sequence[Pair]
    distillation: Distillation | None

    @property
    def comparison(self) -> Comparison:
        """What was compared."""
        return self.statistics.comparison


def results_json(title: str, command: str, scoring: Scoring, sets: Sequence[SetFigures]) -> str:
    """The text of results.json. Rates are parts of 1, not percent."""
    content = {
        "format": FORMAT,
        "version": __version__,
        "title": title,
        "command": command,
        "normaliser": scoring.normaliser.to_dict(),
        "alignment": scoring.alignment,
        "sets": [_set(one) for one in sets],
    }
    return json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _set(one: SetFigures) -> dict[str, Any]:
    statistics, comparison = one.statistics, one.comparison
    gain = statistics.gain()
    return {
        "name": comparison.name,
        "reference": comparison.ref_source,
        "partial": None if comparison.partial is None else comparison.partial.to_dict(),
        "utterances": statistics.utterances,
        "words": statistics.words,
        "words_changed": comparison.ref_changed,
        "frames": statistics.frames,
        "speakers": statistics.speakers,
        "seeds": comparison.seeds,
        "resampled": statistics.blocks,
        "gain": None if gain is None else asdict(gain),
        "rows": [asdict(row) for row in one.rows],
        "pairs": [_pair(pair) for pair in one.pairs],
        "distillation": None if one.distillation is None else asdict(one.distillation),
        "folders": [_folder(decoding) for decoding in comparison.decodings],
    }


def _pair(pair: Pair) -> dict[str, Any]:
    result, accuracy = pair.result, pair.frame_accuracy
    return {
        **asdict(result),
        "tests": [
            {**asdict(test), "p_corrected": pair.corrected[test.name]} for test in result.tests
        ],
        "frame_accuracy": None if accuracy is None else asdict(accuracy),
    }


def _folder(decoding: Decoding) -> dict[str, Any]:
    correct, *errors = decoding.counts.sum(axis=0).tolist()
    substitutions, deletions, insertions = errors
    return {
        **decoding.info,
        "role": decoding.role,
        "seed": decoding.seed,
        "path": str(decoding.path),
        "kind": decoding.source.kind,
        "words_changed": decoding.changed,
        "correct": correct,
        "substitutions": substitutions,
        "deletions": deletions,
        "insertions": insertions,
        "sentence_errors": int((decoding.counts[:, 1:].sum(axis=1) > 0).sum()),
        "character_errors": int(decoding.characters[:, 0].sum()),
        "characters": int(decoding.characters[:, 1].sum()),
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN: what is not defined is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def systems_csv(sets: Sequence[SetFigures]) -> str:
    """A line for each test set and system; rates are parts of 1."""
    names = ("wer", "cer", "ser", "frame_accuracy", "share")
    ends = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    header = [
        "set", "system", "folders", "scored", "of", "utterances", "words", *ends,
        "substitutions", "deletions", "insertions", "params", "rtf", "cross_entropy",
        "cross_entropy_low", "cross_entropy_high", "calibration_error", "multiply_adds", "bytes",
        "latency_ms",
    ]  # fmt: skip
    lines = []
    for one in sets:
        view = () if one.distillation is None else one.distillation.rows
        known = {figures.role: figures for figures in view}
        for row in one.rows:
            more = known.get(row.role, RoleFigures(row.role, None, None, None, None))
            lines.append([
                one.comparison.name, row.role, row.folders, *one.comparison.counted,
                one.statistics.utterances, one.statistics.words,
                *(cell for name in names for cell in _ends(getattr(row, name))),
                *row.operations,
                None if row.params is None else row.params[1],
                None if row.rtf is None else sum(row.rtf),
                *_ends(more.cross_entropy), more.calibration_error,
                None if more.multiply_adds is None else more.multiply_adds[1],
                None if more.num_bytes is None else more.num_bytes[1],
                None if row.latency_ms is None else row.latency_ms[1],
            ])  # fmt: skip
    return _csv(header, lines)


def pairs_csv(sets: Sequence[SetFigures]) -> str:
    """A line for each test set and pair; differences are parts of 1, a minus b."""
    header = [
        "set", "a", "b", "scored", "of", "wer_a", "wer_b", "difference", "low", "high",
        "bca_low", "bca_high", "a_better", "smallest", "smallest_mapsswe",
        *(f"{test}_{what}" for test in TESTS for what in ("statistic", "p", "p_holm")),
    ]  # fmt: skip
    lines = []
    for one in sets:
        for pair in one.pairs:
            r = pair.result
            lines.append([
                one.comparison.name, r.a, r.b, *one.comparison.counted,
                r.wer_a, r.wer_b, r.difference, *r.percentile, *r.bca, r.better,
                r.smallest, r.smallest_mapsswe,
                *(
                    cell
                    for t in r.tests
                    for cell in (t.statistic, t.p_value, pair.corrected[t.name])
                ),
            ])  # fmt: skip
    return _csv(header, lines)


def speakers_csv(sets: Sequence[SetFigures]) -> str:
    """A line for each test set, system and speaker; errors are means over the system's folders."""
    lines: list[list[Any]] = []
    for one in sets:
        comparison = one.comparison
        if comparison.utt2spk is None:
            continue
        speakers = list(comparison.utt2spk.values())
        for role in comparison.roles:
            folders = comparison.of(role)
            sums: dict[str, list[float]] = {name: [0.0] * 5 for name in sorted(set(speakers))}
            counts = np.mean([folder.counts for folder in folders], axis=0)
            for speaker, (correct, *errors) in zip(speakers, counts.tolist(), strict=True):
                row = [1, correct + errors[0] + errors[1], *errors]
                sums[speaker] = [a + b for a, b in zip(sums[speaker], row, strict=True)]
            for speaker, (utterances, words, *errors) in sums.items():
                wer = sum(errors) / words if words else None
                lines.append([
                    comparison.name, role, *comparison.counted, speaker, int(utterances),
                    round(words), *errors, wer,
                ])  # fmt: skip
    header = ["set", "system", "scored", "of", "speaker", "utterances", "words", "substitutions",
              "deletions", "insertions", "wer"]  # fmt: skip
    return _csv(header, lines)


def _ends(estimate: Estimate | None) -> tuple[float | None, ...]:
    return (None, None, None) if estimate is None else (estimate.value, *estimate.interval)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_finite(cell) for cell in row] for row in rows)
    return text.getvalue()
