"""NIST's time-marked formats: words dealt to segments as the real sclite deals them."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.formats.read import read_ctm_with_stm, read_transcript


def _write(folder: Path, content: str, name: str) -> Path:
    path = folder / name
    path.write_text(content)
    return path


def _faults(folder: Path, ctm: str, stm: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        read_ctm_with_stm(_write(folder, ctm, "h.ctm"), _write(folder, stm, "r.stm"))
    return [fault.removeprefix(f"{folder}/") for fault in refused.value.faults]


STM = """\
;; comment
;; LABEL "F" "Female" "Female talkers"
f A s1 0.0 1.0 a b
f A s2 1.0 2.0 <o,F,00> c @ d

f A s1 2.5 3 IGNORE_TIME_SEGMENT_IN_SCORING
f A s1 3.5 4.0
f B s3 0.0 1.0 <unk> <unk> e
"""


def test_words_go_to_the_segment_of_their_midpoint(tmp_path: Path) -> None:
    ctm = """\
;; comment
f A 0.10 0.2 a 0.99
f A 0.90 0.2 b

f A 1.50 0.2 c -6.7 lex s1
f A 2.10 0.1 ignored:before
f A 2.60 0.1 ignored
f A 3.10 0.1 gap
f A 4.50 0.1 after
f B 0.60 0.1 @
f B 0.10 0.1 e
"""
    ref, hyp = read_ctm_with_stm(_write(tmp_path, ctm, "h.ctm"), _write(tmp_path, STM, "r.stm"))
    assert ref.text == {
        "f_A_0.0_1.0": ["a", "b"], "f_A_1.0_2.0": ["c", "d"], "f_A_3.5_4.0": [],
        "f_B_0.0_1.0": ["<unk>", "e"],
    }  # fmt: skip
    # "b" has its midpoint where the second segment begins.
    assert hyp.text == {
        "f_A_0.0_1.0": ["a"], "f_A_1.0_2.0": ["b", "c"], "f_A_3.5_4.0": ["gap", "after"],
        "f_B_0.0_1.0": ["e"],
    }  # fmt: skip
    assert ref.utt2spk == dict(zip(ref.text, ["s1", "s2", "s1", "s3"], strict=True))
    assert ref.source.endswith("r.stm (stm)")
    assert hyp.source.endswith("h.ctm (ctm)")


WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters=" \ufeff{}@<"),
    min_size=1,
).filter(lambda word: word != "}")


@given(st.lists(st.lists(WORDS), max_size=4), WORDS, st.sampled_from(["", "<o,F> "]))
@example([["zehn\u00a0000", "\u3000"]], "s\u00a01", "")
def test_stm_round_trip(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], speaker: str, label: str
) -> None:
    lines = [
        f"w 1 {speaker} {i} {i + 1} {label}{' '.join(words)}\n" for i, words in enumerate(texts)
    ]
    path = _write(tmp_path_factory.mktemp("stm"), "".join(lines), "r.stm")
    read = read_transcript(path)
    assert read.text == {f"w_1_{i}_{i + 1}": words for i, words in enumerate(texts)}
    assert read.utt2spk == (dict.fromkeys(read.text, speaker) or None)


def test_a_null_word_completes_a_silent_channel(tmp_path: Path) -> None:
    stm = _write(tmp_path, "f A s 0 1 a\nf B s 0 1 b\n", "r.stm")
    ctm = _write(tmp_path, "f A 0.1 0.2 a\n", "h.ctm")
    assert read_ctm_with_stm(ctm, stm)[1].text == {"f_A_0_1": ["a"]}
    ctm.write_text("f A 0.1 0.2 a\nf B 0 0 @\n")
    assert read_ctm_with_stm(ctm, stm)[1].text == {"f_A_0_1": ["a"], "f_B_0_1": []}


def test_a_channel_that_the_ctm_lacks_is_missing(tmp_path: Path) -> None:
    ctm = _write(tmp_path, "f B 0.0 1.0 e\n", "h.ctm")
    ref, hyp = read_ctm_with_stm(ctm, _write(tmp_path, STM, "r.stm"))
    assert len(ref.text) == 4
    assert hyp.text == {"f_B_0.0_1.0": ["e"]}


def test_files_may_be_out_of_order(tmp_path: Path) -> None:
    stm = _write(tmp_path, "f A s2 1 2 c\ng A s3 0 1 d\nf A s1 0 1 a b\n", "r.stm")
    ctm = _write(tmp_path, "f A 0.5 0.1 b\ng A 0 1 d\nf A 1.5 0.1 c\nf A 0.1 0.1 a\n", "h.ctm")
    ref, hyp = read_ctm_with_stm(ctm, stm)
    assert hyp.text == ref.text == {"f_A_0_1": ["a", "b"], "f_A_1_2": ["c"], "g_A_0_1": ["d"]}


def test_faults_of_ctm(tmp_path: Path) -> None:
    lines = [
        "f A 0.0 0.1 a", "f A 0.1 b", "f A x 0.1 c", "f A 0.1 nan d", "f A -1 0.1 e",
        "g A 0.0 0.1 f", "f A * * <ALT_BEGIN>", "f A 0.2 0.1 um", "f A * * <ALT>",
        "f A 0.2 0.1 uh", "f A * * <ALT_END>", "g A 0.1 0.1 f",
    ]  # fmt: skip
    faults = _faults(tmp_path, "\n".join(lines), "f A s 0.0 1.0 a\n")
    # The channel that the stm lacks is told once, when all lines have been read.
    assert [fault.split()[0] for fault in faults] == [
        f"h.ctm:{number}:" for number in (2, 3, 4, 5, 7, 6)
    ]
    for fault, part in zip(
        faults,
        ["expected WAVEFORM CHANNEL BEGIN", "'x' is no time", "'nan' is no", "'-1' is no",
         "alternation", "channel g A: not in the stm"],
        strict=True,
    ):  # fmt: skip
        assert part in fault


def test_faults_of_stm(tmp_path: Path) -> None:
    lines = [
        "f A s 0.0 1.0 a", "f A s 0.0", "f A s 2.0 1.5 b", "f A s 3 x c", "f A s 0.0 1.0 d",
        "f A s 4.0 5.0 { a / b }",
    ]  # fmt: skip
    faults = _faults(tmp_path, "", "\n".join(lines))
    assert [fault.split()[0] for fault in faults] == [f"r.stm:{n}:" for n in (2, 3, 4, 5, 6)]
    for fault, part in zip(
        faults,
        ["expected WAVEFORM CHANNEL SPEAKER", "ends at 1.5 s, before it begins", "'x' is no time",
         "f_A_0.0_1.0 stands already in line 1", "alternation"],
        strict=True,
    ):  # fmt: skip
        assert part in fault
    missing = tmp_path / "r.stm"
    missing.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_ctm_with_stm(tmp_path / "h.ctm", missing)


def test_each_alone(tmp_path: Path) -> None:
    stm = read_transcript(_write(tmp_path, STM, "r.stm"))
    assert list(stm.text) == ["f_A_0.0_1.0", "f_A_1.0_2.0", "f_A_3.5_4.0", "f_B_0.0_1.0"]
    assert stm.utt2spk is not None
    ctm = read_transcript(_write(tmp_path, "u2 1 0.3 0.1 b\nu2 1 0.1 0.1 a\nu1 1 0 1 c\n", "x.ctm"))
    assert ctm.text == {"u2": ["a", "b"], "u1": ["c"]}
    assert ctm.utt2spk is None
    with pytest.raises(InputError, match=r"x\.ctm:2: f has the channels A and B"):
        read_transcript(_write(tmp_path, "f A 0 1 a\nf B 0 1 b\n", "x.ctm"))


def _random_case(seed: int) -> tuple[list[str], list[str]]:
    """Segments that leave gaps, touch or overlap, and words anywhere, on a grid of 0.25 s."""
    rng = random.Random(seed)
    stm, ctm = [], []
    for waveform in range(10, 50):
        begin = rng.randrange(3)
        for _ in range(rng.randrange(1, 6)):
            end = begin + rng.randrange(1, 8)
            kind = rng.random()
            words = " ".join(rng.choices("ab@", k=rng.randrange(4)))
            text = "IGNORE_TIME_SEGMENT_IN_SCORING" if kind < 0.2 else f"<o> {words}"
            speaker = f"w{waveform}x{len(stm)}"
            stm.append(f"w{waveform} A {speaker} {begin / 4:.2f} {end / 4:.2f} {text}")
            begin = max(begin + 1, end + rng.randrange(-2, 3))
        times = sorted(rng.randrange(40) for _ in range(rng.randrange(1, 12)))
        ctm += [
            f"w{waveform} A {t / 4:.2f} {rng.randrange(8) / 4:.2f} {rng.choice('abcd@')}"
            for t in times
        ]
    return stm, ctm


@pytest.mark.skipif(shutil.which("sctk") is None, reason="Debian's sctk is not installed")
@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_sclite(tmp_path: Path, seed: int) -> None:
    stm_lines, ctm_lines = _random_case(seed)
    stm = _write(tmp_path, "\n".join(stm_lines) + "\n", "r.stm")
    ctm = _write(tmp_path, "\n".join(ctm_lines) + "\n", "h.ctm")
    command = [
        "sctk",
        "sclite",
        "-s",
        "-r",
        stm,
        "stm",
        "-h",
        ctm,
        "ctm",
        "-o",
        "pralign",
        "stdout",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    sclite: dict[str, tuple[list[str], list[str]]] = {}
    for block in shown.split("id: (")[1:]:
        speaker = block.partition("-")[0]
        sides = [
            # Upper case marks errors, asterisks stand for nothing.
            [w.lower() for w in line.split() if set(w) != {"*"}]
            for line in re.findall(r"^(?:REF|HYP): (.*)$", block, re.MULTILINE)
        ]
        sclite[speaker] = (sides[0], sides[1]) if sides else ([], [])
    ref, hyp = read_ctm_with_stm(ctm, stm)
    assert ref.utt2spk is not None
    ours = {ref.utt2spk[u]: (ref.text[u], hyp.text[u]) for u in ref.text}
    assert len(ours) > 40
    assert ours == sclite
