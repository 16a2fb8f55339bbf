"""Against NIST's sc_stats (Debian's `sctk`), which reads the alignments that we made up.

Where it is not installed the figures that it gave stand in. Its binomial distribution is wrong for
large counts (for 28 of 75 it prints 0.000, not 0.037), so McNemar's is compared on few sentences;
its sign test and Wilcoxon's deal out equal speakers to both systems, so there are none here.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asr_kd.score.alignment import CORRECT, INSERTION, SUBSTITUTION, Alignments
from asr_kd.score.mapsswe import cells, mapsswe, segment_errors
from asr_kd.score.significance import mcnemar, sign, wilcoxon

needs_sctk = pytest.mark.skipif(shutil.which("sctk") is None, reason="sctk is not installed")

# seed: share of errors of each system, segments, mean and deviation of differences, z (sc_stats)
GOLDEN = {
    1: ((0.05, 0.06), 177, -0.175, 1.091, -2.135),
    2: ((0.1, 0.16), 266, -0.398, 1.291, -5.034),
    3: ((0.3, 0.3), 322, -0.006, 1.76, -0.063),
    4: ((0.5, 0.45), 241, 0.278, 2.221, 1.943),
    5: ((0.8, 0.9), 188, -1.08, 2.851, -5.193),
    6: ((0.02, 0.6), 287, -4.317, 3.338, -21.912),
}


def made_up(seed: int, errors: float, lengths: list[int], other_seed: int) -> Alignments:
    """Random steps over utterances of so many words."""
    rng = np.random.default_rng([seed, other_seed])
    utterances = []
    for length in lengths:
        steps = []
        for _ in range(length):
            steps += [INSERTION] * int(rng.geometric(1 - errors / 4) - 1)
            steps.append(int(rng.choice(3, p=[1 - errors, 0.6 * errors, 0.4 * errors])))
        steps += [INSERTION] * int(rng.random() < errors / 4)
        utterances.append(np.array(steps, np.uint8))
    ids = tuple(f"s{i % 9}-{i:03}" for i in range(len(utterances)))
    return Alignments(ids, np.concatenate(utterances), np.cumsum([0, *map(len, utterances)]))


def pair(seed: int, rates: tuple[float, float], count: int = 200) -> tuple[Alignments, Alignments]:
    lengths = np.random.default_rng(seed).integers(0, 16, count).tolist()
    a, b = (made_up(seed, rate, lengths, which) for which, rate in enumerate(rates))
    return a, b


def sgml(name: str, alignments: Alignments) -> str:
    """The alignments in the form in which sclite hands them on to sc_stats."""
    speakers: dict[str, list[str]] = {}
    for index, utt_id in enumerate(alignments.utt_ids):
        words, place = [], 0
        for step in alignments.of(index):
            place += step != INSERTION
            ref = "" if step == INSERTION else f'"w{place}"'
            hyp = ("" if step == 2 else '"x"') if step != CORRECT else ref
            words.append(f"{'CSDI'[step]},{ref},{hyp}")
        path = (
            f'<PATH id="({utt_id})" word_cnt="{len(words)}" sequence="{index}">\n'
            f"{':'.join(words)}\n</PATH>"
        )
        speakers.setdefault(utt_id.split("-")[0], []).append(path)
    body = "\n".join(
        f'<SPEAKER id="{speaker}">\n' + "\n".join(paths) + "\n</SPEAKER>"
        for speaker, paths in sorted(speakers.items())
    )
    facts = 'format="2.4" frag_corr="FALSE" opt_del="FALSE" weight_ali="FALSE" weight_filename=""'
    return (
        f'<SYSTEM title="{name}" ref_fname="ref" hyp_fname="{name}" creation_date="" {facts}>\n'
        f"{body}\n</SYSTEM>\n"
    )


def sc_stats(test: str, a: Alignments, b: Alignments, folder: Path) -> str:
    # Its sign test may end in an abort, after it wrote all that is needed here.
    subprocess.run(
        ["sctk", "sc_stats", "-p", "-t", test, "-v", "-O", str(folder), "-n", "out"],
        input=sgml("a", a) + sgml("b", b),
        text=True,
        capture_output=True,
        check=False,
    )
    return (folder / f"out.stats.{test}").read_text(errors="replace")


def by_sc_stats(a: Alignments, b: Alignments, folder: Path) -> tuple[int, float, float, float]:
    """Segments, mean, deviation and z of MAPSSWE."""
    said = sc_stats("mapsswe", a, b, folder)
    found = re.search(
        r"# segs: (\d+)\).*mean: +(\S+)\) \(std dev: +(\S+)\) \(Z Stat: +(\S+)\)", said
    )
    assert found is not None, said[-400:]
    return int(found[1]), float(found[2]), float(found[3]), float(found[4])


def by_us(a: Alignments, b: Alignments) -> tuple[int, float, float, float]:
    of_a, of_b = segment_errors([cells(a), cells(b)])
    test = mapsswe(of_a, of_b)
    assert test.statistic is not None
    differences = of_a - of_b
    return test.size, np.mean(differences), np.std(differences, ddof=1), test.statistic


@pytest.mark.parametrize("seed", GOLDEN)
def test_mapsswe_as_sc_stats_once_gave_it(seed: int) -> None:
    rates, *expected = GOLDEN[seed]
    assert by_us(*pair(seed, rates)) == pytest.approx(expected, abs=0.00051)


@needs_sctk
@pytest.mark.parametrize("seed", GOLDEN)
def test_mapsswe_as_sc_stats_gives_it_here(seed: int, tmp_path: Path) -> None:
    rates, *expected = GOLDEN[seed]
    assert by_sc_stats(*pair(seed, rates), tmp_path) == tuple(expected)


@needs_sctk
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_mcnemar(seed: int, tmp_path: Path) -> None:
    a, b = pair(seed, (0.05, 0.09), 25)
    test = mcnemar(*((one.counts()[:, 1:].sum(axis=1) > 0) for one in (a, b)))
    said = sc_stats("mcn", a, b, tmp_path)
    table = re.search(r"a +corr +(\d+) +(\d+)\s+incorr +(\d+) +(\d+)", said)
    p_value = re.search(r"it occurring is (\S+),", said)
    assert table is not None
    assert p_value is not None
    assert test.statistic == int(table[3]) - int(table[2])
    assert test.p_value == pytest.approx(float(p_value[1]), abs=0.00051)


@needs_sctk
@pytest.mark.parametrize("seed", [4, 6, 7])
def test_over_speakers(seed: int, tmp_path: Path) -> None:
    a, b = pair(seed, (0.3, 0.35))
    speakers = np.array([int(utt_id[1]) for utt_id in a.utt_ids])
    rates = []
    for counts in (a.counts(), b.counts()):
        errors = np.bincount(speakers, counts[:, 1:].sum(axis=1))
        rates.append(errors / np.bincount(speakers, counts[:, :INSERTION].sum(axis=1)))

    said = sc_stats("sign", a, b, tmp_path)
    counts = [int(re.search(rf"N\({s}\) = +(\d+)", said)[1]) for s in ("\\+", "-", "0")]  # type: ignore[index]
    p_value = re.search(r"it occurring is (\S+),", said)
    assert p_value is not None
    test = sign(*rates)
    assert counts[2] == 0
    assert abs(test.statistic or 0) == abs(counts[0] - counts[1])
    assert test.p_value == pytest.approx(float(p_value[1]), abs=0.00051)

    said = sc_stats("wilc", a, b, tmp_path)
    sums = [float(x) for x in re.findall(r"Sum of +\d+ \w+ ranks = +(\S+)", said)]
    assert abs(wilcoxon(*rates).statistic or 0) == pytest.approx(abs(sums[0] - sums[1]))


def test_made_up_systems_have_all_kinds_of_errors() -> None:
    a, _ = pair(1, (0.5, 0.5))
    assert {CORRECT, SUBSTITUTION, 2, INSERTION} == set(a.steps.tolist())
    assert (a.counts().sum(axis=0)[1:] > 50).all()
