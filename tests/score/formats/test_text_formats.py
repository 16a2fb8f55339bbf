"""Kaldi's text and NIST's trn: round trips, and lines that are refused by name."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.formats.read import read_transcript

# No white space, and no control character: neither is part of a word.
CHARACTERS = st.characters(
    exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"
)
WORDS = st.text(CHARACTERS | st.just("\u00a0"), min_size=1)
IDS = st.text(CHARACTERS, min_size=1)
TEXTS = st.dictionaries(IDS, st.lists(WORDS), max_size=6)
ENDS = st.sampled_from(["\n", "\r\n", " \n", "\t\r\n"])
GAPS = st.sampled_from([" ", "\t", "  ", " \t "])


def _write(folder: Path, content: str, name: str = "hyp") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def _faults(path: Path, format: str) -> list[str]:
    with pytest.raises(InputError) as refused:
        read_transcript(path, format)
    assert all(fault.startswith(f"{path}:") for fault in refused.value.faults)
    return [fault.removeprefix(f"{path}:") for fault in refused.value.faults]


@given(TEXTS, GAPS, ENDS, st.booleans())
def test_kaldi_text_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    text: dict[str, list[str]],
    gap: str,
    end: str,
    bom: bool,
) -> None:
    lines = "".join(gap.join([utt_id, *words]) + end for utt_id, words in text.items())
    path = _write(tmp_path_factory.mktemp("kaldi"), "\ufeff" * bom + lines)
    read = read_transcript(path, "kaldi")
    assert read.text == text
    assert list(read.text) == list(text)
    assert read.utt2spk is None
    assert read.source == str(path)


@given(
    st.dictionaries(
        st.text(CHARACTERS.filter(lambda c: c not in "()"), min_size=1),
        st.lists(WORDS.filter(lambda w: "{" not in w and w not in ("}", "@"))),
        max_size=6,
    ),
    GAPS,
    ENDS,
)
def test_trn_round_trip(
    tmp_path_factory: pytest.TempPathFactory, text: dict[str, list[str]], gap: str, end: str
) -> None:
    # A space before the lines: a line that begins with ";;" is a comment.
    lines = "".join(" " + gap.join([*words, f"({u})"]) + end for u, words in text.items())
    path = _write(tmp_path_factory.mktemp("trn"), f";; comment (c)\n\n{lines}")
    read = read_transcript(path, "trn")
    assert read.text == text
    assert read.source == f"{path} (trn)"


def test_kaldi_faults_together(tmp_path: Path) -> None:
    path = _write(tmp_path, "u1 a\n\nu2 b\nu1 c\n \t\nu\u00a03 d\n")
    assert _faults(path, "kaldi") == [
        "2: blank line; expected an utterance id and its words",
        "4: u1 stands already in line 1",
        "5: blank line; expected an utterance id and its words",
        "6: utterance id 'u\\xa03' holds white space; ids are single words",
    ]


def test_trn_faults_together(tmp_path: Path) -> None:
    lines = [
        "a b (u1)", "a b", "a (u 2)", "a ()", "a (u1)", "a { um / uh / @ } b (u3)", "a } (u4)",
        "(u5) a", "a (b(c))", "a x{y (u6)", "a (u7) ",
    ]  # fmt: skip
    faults = _faults(_write(tmp_path, "\n".join(lines)), "trn")
    assert [int(fault.partition(":")[0]) for fault in faults] == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    for fault, part in zip(
        faults,
        ["no utterance id", "'u 2' holds white space", "empty utterance id", "line 1",
         "alternation", "alternation", "no utterance id", "no utterance id", "alternation"],
        strict=True,
    ):  # fmt: skip
        assert part in fault


def test_trn_null_words_and_plain_signs(tmp_path: Path) -> None:
    path = _write(tmp_path, "a @ b * (uh) x@y uh- (u1)\n@ (u2)\n(u3)\nb(u4)\n")
    assert read_transcript(path, "trn").text == {
        "u1": ["a", "b", "*", "(uh)", "x@y", "uh-"], "u2": [], "u3": [], "u4": ["b"],
    }  # fmt: skip


def test_an_utterance_of_ten_thousand_words(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(10_000)]
    path = _write(tmp_path, f"u1 {' '.join(words)}\n")
    assert read_transcript(path).text == {"u1": words}


def test_an_empty_file_has_no_utterances(tmp_path: Path) -> None:
    assert read_transcript(_write(tmp_path, "")).text == {}


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("text", "u1 a (b)\nu2 c\n", {"u1": ["a", "(b)"], "u2": ["c"]}),
        ("text", "u1 a (b c)\n", {"u1": ["a", "(b", "c)"]}),
        ("hyp.txt", "a b (u1)\n;; x\n\n(u2)\n", {"u1": ["a", "b"], "u2": []}),
        ("HYP.TRN", "a b (u1)\n", {"u1": ["a", "b"]}),
        ("ctm", "u1 1 0.0 0.1 a\n", {"u1": ["a"]}),
        ("test.ctm.filt", "u1 1 0.0 0.1 a\n", {"u1": ["a"]}),
        ("hyp", '{"id": "u1", "text": "a"}\n', {"u1": ["a"]}),
        ("hyp.csv", "id,text\nu1,a\n", {"u1": ["a"]}),
        ("hyp.tsv", "id\ttext\nu1\ta\n", {"u1": ["a"]}),
        ("hyp.jsonl", '{"id": "u1", "text": ""}\n', {"u1": []}),
    ],
)
def test_formats_are_found_out(
    tmp_path: Path, name: str, content: str, text: dict[str, list[str]]
) -> None:
    assert read_transcript(_write(tmp_path, content, name)).text == text


@pytest.mark.parametrize("name", ["html", "trn:x", "csv:", "auto:x", ""])
def test_unknown_formats_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no such format; expected auto, kaldi, trn"):
        read_transcript(_write(tmp_path, "u1 a\n"), name)
