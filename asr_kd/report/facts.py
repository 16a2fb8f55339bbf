"""What the reader of the tables has to know, as names and sentences."""

from collections.abc import Sequence

from asr_kd.report.comparison import Comparison, Scoring
from asr_kd.report.kaldi_folders import scales_text
from asr_kd.report.pairs import Pair
from asr_kd.report.statistics import Estimate, Row, Statistics
from asr_kd.report.table import difference, plural
from asr_kd.report.tables import TESTS
from asr_kd.score.bootstrap import drawn
from asr_kd.score.power import ALPHA, POWER

Fact = tuple[str, str]

_ALIGNMENTS = {
    "levenshtein": "an alignment with the fewest errors",
    "sclite": "sclite's alignment (a substitution weighs 4, a deletion or an insertion 3)",
}


def lines(facts: Sequence[Fact]) -> list[str]:
    """As they stand below a table."""
    return [f"{name}: {text}" for name, text in facts]


def set_facts(statistics: Statistics, rows: Sequence[Row]) -> list[Fact]:
    """Of the systems on one test set."""
    comparison = statistics.comparison
    seeds = len(comparison.seeds)
    sizes = [plural(statistics.utterances, "utterance"), plural(statistics.words, "word")]
    if statistics.frames:
        sizes.append(plural(statistics.frames, "aligned frame"))
    if statistics.speakers:
        sizes.append(plural(statistics.speakers, "speaker"))
    facts = [("Test data", ", ".join(sizes) + ".")]
    if comparison.partial is not None:
        facts.insert(0, ("Left out", comparison.partial.describe()))
    facts.append(("Brackets", f"{drawn(seeds or 1, statistics.blocks)}."))
    if statistics.few:
        facts.append(("Too few", f"intervals are {statistics.few}, and too narrow."))
    if seeds:
        spread = "." if seeds > 1 else "; the intervals do not hold the spread between seeds."
        facts.append(("Seeds of training", f"{seeds}{spread}"))
    facts += _kaldi(comparison)
    decoded = [row.partial for row in rows if row.partial is not None]
    if unfinished := sum(partial for partial, _ in decoded):
        facts.append((
            "Paths",
            f"{plural(unfinished, 'path')} did not reach a final state; "
            f"words are counted as found, and partial.txt in each decode directory names them.",
        ))  # fmt: skip
    elif decoded:
        facts.append(("Paths", "all reached a final state."))
    return facts + _lists(comparison)


def _lists(comparison: Comparison) -> list[Fact]:
    """What the best choices from n-best lists would have reached, by role."""
    found: dict[str, list[str]] = {}
    for decoding in comparison.decodings:
        oracle = decoding.info.get("nbest", {}).get("oracle")
        if oracle is not None:
            rate = f"{100 * oracle['wer']:.2f}% ({decoding.info['nbest']['mean_length']:.1f})"
            found.setdefault(decoding.role, []).append(rate)
    if not found:
        return []
    told = "; ".join(f"{role} {', '.join(rates)}" for role, rates in found.items())
    return [("WER of the best choice from each n-best list (mean length)", f"{told}.")]


def gain_facts(gain: Estimate) -> list[Fact]:
    """Of the ensemble's gain, and of what is kept of it."""
    low, high = gain.interval
    why = "the ensemble loses" if high < 0 else "the ensemble may gain nothing"
    return [(
        "Gain of the ensemble in frame accuracy over the mean teacher",
        f"{difference(gain.value, gain.interval, 2)} points. Kept: (system − teacher) / "
        f"(ensemble − teacher){'' if low > 0 else f', not defined: {why}'}.",
    )]  # fmt: skip


def pair_facts(
    pairs: Sequence[Pair], every: int, family: int, centre: str | None, in_words: bool
) -> list[Fact]:
    """Of the differences on one test set.

    Args:
        pairs: those that are shown.
        every: how many there are.
        family: how many there are on all test sets together.
        centre: as `Chosen.centre`.
        in_words: as for `pairs_table`.
    """
    facts = []
    if len(pairs) < every:
        others = any(centre not in (pair.result.a, pair.result.b) for pair in pairs)
        facts.append((
            "Shown",
            f"differences from {centre}{', and of student, teacher, ensemble' * others}; pairs.csv "
            f"has all {every}. --baseline takes another system than {centre}, --difference single "
            f"pairs.",
        ))  # fmt: skip
    if not in_words and family > 1:
        facts.append(("Intervals", f"not corrected for {family} comparisons; p-values are."))
    elif in_words and any(pair.corrected["bootstrap"] is not None for pair in pairs):
        corrected = f", corrected by Holm for {family} comparisons," if family > 1 else ""
        frames = any(pair.frame_accuracy is not None for pair in pairs)
        but = f"Intervals are not corrected{', nor is the verdict on frame accuracy' * frames}."
        facts.append((
            "Noise",
            f"a difference in WER is outside where the bootstrap's p{corrected} is below {ALPHA:g}."
            + f" {but}" * (family > 1),
        ))  # fmt: skip
    return [*facts, *_can_show(pairs), *_not_defined(pairs)]


def _can_show(pairs: Sequence[Pair]) -> list[Fact]:
    name = "The smallest difference that this test set can show"
    found = sorted(p.result.smallest for p in pairs if p.result.smallest is not None)
    if not found:
        same = "here is none to compare"
        if pairs:
            of = pairs[0].result.blocks
            same = f"all resamples of {of} show the same difference between these"
        return [(name, f"not known: it depends on how two systems differ, and {same}.")]
    low, high = (f"{100 * end:.2f}" for end in (found[0], found[-1]))
    span = low if low == high else f"{low} to {high}, pair by pair,"
    return [(
        name,
        f"{span} points of WER between such systems (paired bootstrap at {ALPHA:.0%}, found in "
        f"{POWER:.0%} of such test sets).",
    )]  # fmt: skip


def _not_defined(pairs: Sequence[Pair]) -> list[Fact]:
    """Why tests have no p-value, a line for each reason."""
    found: dict[str, dict[str, list[str]]] = {}  # reason, test, pairs
    for pair in pairs:
        for test in pair.result.tests:
            if test.p_value is None:
                name = f"{pair.result.a} − {pair.result.b}"
                found.setdefault(test.note, {}).setdefault(TESTS[test.name][0], []).append(name)
    facts = []
    for note, tests in found.items():
        of = dict.fromkeys(name for names in tests.values() for name in names)
        where = "" if len(of) == len(pairs) else f" for {', '.join(of)}"
        facts.append((f"Not defined{where}", f"{', '.join(tests)}: {note}."))
    return facts


def _kaldi(comparison: Comparison) -> list[Fact]:
    facts = []
    for decoding in comparison.decodings:
        if decoding.source.kind == "kaldi":
            told = scales_text(decoding.path, decoding.info)
            facts.append((f"{decoding.role}, decoded by Kaldi", f"{told}."))
    return facts


def common_facts(
    scoring: Scoring, statistics: Sequence[Statistics], pairs: Sequence[Pair]
) -> list[Fact]:
    """Of all test sets together.

    Args:
        scoring: how words were compared.
        statistics: of each test set.
        pairs: of all of them.
    """
    comparisons = [one.comparison for one in statistics]
    facts = [
        ("WER", f"of {_ALIGNMENTS[scoring.alignment]}; all words of a corpus together."),
        ("Normaliser", scoring.normaliser.describe() + _changes(comparisons)),
    ]
    if pairs:
        several = f", corrected by Holm for {len(pairs)} comparisons" if len(pairs) > 1 else ""
        shown = [
            f"{name} on {on}"
            for test, (name, on) in TESTS.items()
            if any(pair.corrected[test] is not None for pair in pairs)
        ]
        if shown:
            facts.append(("p", f"{', '.join(shown)}: two-sided{several}."))
    if any("rtf" in decoding.info for one in comparisons for decoding in one.decodings):
        facts.append((
            "RTF", "CPU seconds of one core per second of speech, model and search together.",
        ))  # fmt: skip
    if any(d.info.get("latency_ms") is not None for one in comparisons for d in one.decodings):
        facts.append((
            "Latency", "of a system that streams: milliseconds of speech that must follow a frame, "
            "at most, before its output is known; computation comes on top.",
        ))  # fmt: skip
    return facts


def _changes(comparisons: Sequence[Comparison]) -> str:
    """How many words the normaliser changed on each side."""
    ref = sum(comparison.ref_changed for comparison in comparisons)
    hyps: dict[str, int] = {}
    for comparison in comparisons:
        for decoding in comparison.decodings:
            hyps[decoding.role] = hyps.get(decoding.role, 0) + decoding.changed
    if not ref and not any(hyps.values()):
        return ". No word was changed."
    told = ", ".join(f"{role} {changed:,}" for role, changed in hyps.items())
    return f". Words that it changed: reference {ref:,}, {told}."
