"""`compare`: rows of systems, pairs below; on the terminal, and as a folder of reports."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.artefact import Artefact
from asr_kd.errors import InputError
from asr_kd.report.comparison import Comparison, Scoring, normaliser_of
from asr_kd.report.distillation import distillation
from asr_kd.report.facts import common_facts
from asr_kd.report.fail import SMALLEST_P, WorseError, verdicts
from asr_kd.report.outputs import FORMAT, SetFigures
from asr_kd.report.page import command_text
from asr_kd.report.pairs import Chosen, compared_pairs
from asr_kd.report.publish import Report, set_report, show, write_report
from asr_kd.report.sources import Source, find_sources
from asr_kd.report.statistics import Statistics
from asr_kd.report.systems import read_comparisons
from asr_kd.score.alignment import Method
from asr_kd.score.bootstrap import METHOD, RESAMPLES
from asr_kd.shards import rank_and_world


@dataclass(frozen=True)
class Settings:
    """What is compared, and how.

    Attributes:
        refs: references, `[SET=]FILE`.
        utt2spks: speakers, `[SET=]FILE`.
        config: YAML file that names systems, references and speakers.
        normaliser: name, or a file of rules; None for that of decode folders, else none.
        alignment: method.
        partial: score what all have.
        frames: whether frame accuracies are compared.
        chosen: which pairs.
        fail_if_worse: the system that must not be worse than another.
        alpha: level of that test.
    """

    refs: tuple[str, ...] = ()
    utt2spks: tuple[str, ...] = ()
    config: Path | None = None
    normaliser: str | None = None
    alignment: Method = "levenshtein"
    partial: bool = False
    frames: bool = True
    chosen: Chosen = field(default_factory=Chosen)
    fail_if_worse: str | None = None
    alpha: float = 0.05


def compare(
    systems: Sequence[str],
    out: Path | None,
    title: str,
    notes: Sequence[str],
    settings: Settings | None = None,
) -> None:
    """Compares systems: prints the tables and publishes a folder of reports.

    Args:
        systems: `ROLE[@SEED][:SET]=PATH`, as `report.sources.find_sources` takes them. Several of
            one role are averaged; seeds are paired over the roles and drawn by the bootstrap, a
            role without seeds is the same for all of them.
        out: folder to publish; None to print alone.
        title: heading.
        notes: lines below the tables.
        settings: what else is compared, and how.

    Raises:
        InputError: if the systems cannot be compared, listing every reason.
        WorseError: when all is written, if the system of `fail_if_worse` is worse than another.
    """
    if rank_and_world()[0] != 0:
        return
    settings = settings or Settings()
    sources = find_sources(systems, settings.refs, settings.utt2spks, settings.config)
    scoring = Scoring(
        normaliser_of(sources, settings.normaliser), settings.alignment, settings.partial,
        settings.frames,
    )  # fmt: skip
    artefact = None
    if out is not None:  # before any work: what is read must not be replaced
        shown = {"systems": list(systems), "title": title, "notes": list(notes)}
        artefact = _artefact(sources, out, settings, scoring, shown)
    comparisons = read_comparisons(sources, scoring)
    _check(settings, comparisons)
    statistics = [Statistics(comparison) for comparison in comparisons]
    views = [distillation(comparison) for comparison in comparisons]
    pairs = compared_pairs(statistics, settings.chosen)
    sets = [
        set_report(
            SetFigures(one, one.rows(), own, view),
            sum(map(len, pairs)),
            settings.chosen.centre(one.comparison.roles),
        )
        for one, own, view in zip(statistics, pairs, views, strict=True)
    ]
    verdict, worse = verdicts(
        settings.fail_if_worse, settings.alpha,
        [(one.figures.comparison, one.figures.pairs) for one in sets],
    )  # fmt: skip
    facts = common_facts(scoring, statistics, [pair for own in pairs for pair in own])
    report = Report(
        title=title,
        sets=sets,
        facts=facts,
        verdict=verdict,
        notes=notes,
        command=command_text("compare", systems, _options(out, title, notes, settings)),
        scoring=scoring,
    )
    show(report)
    if artefact is not None and not artefact.is_done():
        write_report(artefact.begin(), report)
        artefact.publish()
    if worse:
        raise WorseError(verdict)


def _check(settings: Settings, comparisons: Sequence[Comparison]) -> None:
    """Refuses names of systems that are none.

    Raises:
        InputError: all of them together.
    """
    faults = settings.chosen.faults(comparisons)
    system = settings.fail_if_worse
    if system is not None:
        chosen = [pair for one in comparisons for pair in settings.chosen.of(one.roles)]
        if not any(system in pair for pair in chosen):
            pairs = ", ".join(":".join(pair) for pair in dict.fromkeys(chosen)) or "none"
            faults.append(
                f"--fail-if-worse {system}: no pair has that system; the pairs are {pairs}"
            )
        gated = sum(system in pair for pair in chosen)
        if gated * SMALLEST_P >= settings.alpha:
            faults.append(
                f"--fail-if-worse {system}: cannot find anything at --alpha {settings.alpha:g}: "
                f"{RESAMPLES:,} resamples show no p-value below {SMALLEST_P:.2g}, which is "
                f"{gated * SMALLEST_P:.2g} corrected for the number of its pairs, {gated}; name "
                f"fewer pairs by --baseline or --difference, or a greater --alpha"
            )
    if faults:
        raise InputError(faults)


def _artefact(
    sources: Sequence[Source],
    out: Path,
    settings: Settings,
    scoring: Scoring,
    shown: Mapping[str, Any],
) -> Artefact:
    inputs: dict[str, Path | str] = {}
    for i, source in enumerate(sources):
        name = f"{i} {source.role}@{source.seed}"
        folder = source.path if source.kind == "decode" else None
        inputs[name] = folder or source.hyp
        for what, file in (("ref", source.ref), ("utt2spk", source.utt2spk)):
            if file is not None and (folder is None or not file.is_relative_to(folder)):
                inputs[f"{name} {what}"] = file
    config = {
        **shown,
        "sets": [source.test_set for source in sources],
        "formats": [[source.ref_format, source.format] for source in sources],
        "scales": [source.info if source.kind == "kaldi" else None for source in sources],
        "chosen": asdict(settings.chosen),
        "normaliser": scoring.normaliser.to_dict(),
        "alignment": scoring.alignment,
        "partial": scoring.partial,
        "frames": scoring.frames,
        "fail_if_worse": [settings.fail_if_worse, settings.alpha],
        "intervals": METHOD,
        "format": FORMAT,
    }
    return Artefact(out, "compare", config, inputs)


def _options(
    out: Path | None, title: str, notes: Sequence[str], settings: Settings
) -> list[tuple[str, str]]:
    """The options that were given, for the command that stands in RESULTS.md."""
    chosen, default = settings.chosen, Settings()
    options = [("--ref", ref) for ref in settings.refs]
    options += [("--utt2spk", utt2spk) for utt2spk in settings.utt2spks]
    if settings.config is not None:
        options.append(("--config", str(settings.config)))
    if settings.normaliser is not None:
        options.append(("--normaliser", settings.normaliser))
    if settings.alignment != default.alignment:
        options.append(("--alignment", settings.alignment))
    if settings.partial:
        options.append(("--partial", ""))
    if not settings.frames:
        options.append(("--no-frames", ""))
    if chosen.baseline is not None:
        options.append(("--baseline", chosen.baseline))
    options += [("--difference", pair) for pair in chosen.differences]
    if settings.fail_if_worse is not None:
        options.append(("--fail-if-worse", settings.fail_if_worse))
        options.append(("--alpha", f"{settings.alpha:g}"))
    if out is not None:
        options.append(("--out", str(out)))
    return [*options, ("--title", title), *(("--note", note) for note in notes)]
