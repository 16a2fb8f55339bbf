"""CSV and JSON lines: round trips through independent writers, and what is refused."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.formats.read import read_transcript

CHARACTERS = st.characters(
    exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"), exclude_characters="\ufeff"
)
TOKENS = st.text(CHARACTERS, min_size=1)
TEXTS = st.dictionaries(TOKENS, st.tuples(st.lists(TOKENS), TOKENS), max_size=5)
Texts = dict[str, tuple[list[str], str]]


def _write(folder: Path, content: str, name: str = "hyp.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


def _faults(path: Path, format: str = "auto") -> list[str]:
    with pytest.raises(InputError) as refused:
        read_transcript(path, format)
    assert all(fault.startswith(f"{path}:") for fault in refused.value.faults)
    return [fault.removeprefix(f"{path}:") for fault in refused.value.faults]


def _check(path: Path, text: Texts) -> None:
    read = read_transcript(path)
    assert read.text == {utt_id: words for utt_id, (words, _) in text.items()}
    assert read.utt2spk == ({utt_id: speaker for utt_id, (_, speaker) in text.items()} or None)


@given(TEXTS, st.sampled_from(",;"), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_csv_round_trip(
    tmp_path_factory: pytest.TempPathFactory, text: Texts, delimiter: str, end: str, bom: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "hyp.csv"
    with path.open("w", newline="", encoding="utf-8-sig" if bom else "utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end)
        writer.writerow(["speaker", "utt_id", "text"])
        # A line end inside a quoted field is white space as any other.
        writer.writerows([s, u, "\n".join(words)] for u, (words, s) in text.items())
    _check(path, text)


@given(TEXTS)
def test_tsv_knows_no_quotes(tmp_path_factory: pytest.TempPathFactory, text: Texts) -> None:
    rows = [f"{u}\t{' '.join(words)}\t{s}\n" for u, (words, s) in text.items()]
    path = _write(tmp_path_factory.mktemp("tsv"), "id\ttext\tspeaker\n" + "".join(rows), "hyp.tsv")
    _check(path, text)


@given(TEXTS, st.booleans(), st.booleans())
def test_json_lines_round_trip(
    tmp_path_factory: pytest.TempPathFactory, text: Texts, ascii: bool, as_list: bool
) -> None:
    lines = "".join(
        json.dumps(
            {"id": u, "transcript": words if as_list else " ".join(words), "speaker_id": s},
            ensure_ascii=ascii,
        )
        + "\n"
        for u, (words, s) in text.items()
    )
    _check(_write(tmp_path_factory.mktemp("json"), lines, "hyp.jsonl"), text)


def test_numbers_may_be_ids(tmp_path: Path) -> None:
    path = _write(tmp_path, '{"id": 17, "text": "a", "speaker": 3}\n\n', "hyp.jsonl")
    read = read_transcript(path)
    assert (read.text, read.utt2spk) == ({"17": ["a"]}, {"17": "3"})


def test_a_named_column(tmp_path: Path) -> None:
    both = _write(tmp_path, "id,text,prediction\nu1,a b,a c\n")
    assert read_transcript(both, "csv:prediction").text == {"u1": ["a", "c"]}
    assert read_transcript(both, "csv:text").text == {"u1": ["a", "b"]}
    manifest = {"audio_filepath": "a.wav", "duration": 1.5, "text": "a b", "pred_text": "a c"}
    path = _write(tmp_path, json.dumps(manifest), "hyp.json")
    assert read_transcript(path, "jsonl:pred_text").text == {"a.wav": ["a", "c"]}


def test_reference_beside_hypothesis_is_not_guessed(tmp_path: Path) -> None:
    (fault,) = _faults(_write(tmp_path, "id,text,prediction\nu1,a b,a c\n"))
    assert "columns text and prediction: say which" in fault
    (fault,) = _faults(_write(tmp_path, '{"id": "u", "text": "a", "pred_text": "b"}', "hyp.jsonl"))
    assert "jsonl:pred_text" in fault


def test_csv_faults_together(tmp_path: Path) -> None:
    rows = ["id,text", "u1,a", "u2,b,c", "u 3,c", ",d", "u1,e", '"u4\nx",f', "u5"]
    faults = _faults(_write(tmp_path, "\n".join(rows) + "\n"))
    assert [int(fault.partition(":")[0]) for fault in faults] == [3, 4, 5, 6, 7, 9]
    assert "3 fields, the header has 2; a text with a ','" in faults[0]
    assert "'u 3' holds white space" in faults[1]
    assert "empty utterance id" in faults[2]
    assert "u1 stands already in line 2" in faults[3]
    assert "holds white space" in faults[4]
    assert "1 fields" in faults[5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("utt,text\nu1,a\n", r"1: no column utt_id or .* among: utt, text"),
        ("id,words\nu1,a\n", r"1: no column text or transcript .*csv:COLUMN"),
        ("id,text,text\nu1,a,b\n", "1: a column stands twice"),
        ('id,text\nu1,"a\n', "2: not CSV"),
        ('id,text\nu1,a\nu2,"a"b\n', "3: not CSV"),
        ("id,text,speaker\nu1,a,s\nu2,b,\n", "3: u2: no speaker, others have one"),
    ],
)
def test_csv_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_transcript(_write(tmp_path, content))


def test_csv_without_the_named_column(tmp_path: Path) -> None:
    (fault,) = _faults(_write(tmp_path, "id,text\nu1,a\n"), "csv:hyp")
    assert "no column hyp for the words, among: id, text" in fault


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "u"}, "no column text"),
        ({"text": "a"}, "no column utt_id"),
        ({"id": "u", "text": None}, "expected a string or a list of words, got null"),
        ({"id": "u", "text": 3}, "expected a string or a list"),
        ({"id": "u", "text": ["a b"]}, "expected a string or a list"),
        ({"id": "u", "text": ["a", 3]}, "expected a string or a list"),
        ({"id": True, "text": "a"}, "id: expected a string, got true"),
        ({"id": 1.0, "text": "a"}, "id: expected a string, got 1.0"),
        ({"id": "u", "text": "a", "speaker": [1]}, r"speaker: expected a string, got \[1\]"),
        (["u", "a"], "expected an object"),
        ("u", "expected an object"),
    ],
)
def test_json_records_refused(tmp_path: Path, record: Any, message: str) -> None:
    path = _write(tmp_path, '{"id": "first", "text": "a"}\n' + json.dumps(record), "hyp.jsonl")
    with pytest.raises(InputError, match=rf"hyp\.jsonl:2: .*{message}"):
        read_transcript(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (r'{"id": "u\ud800", "text": "a"}', "id: half a character"),
        (r'{"id": "u", "text": "a \udfff"}', "text: half a character"),
        (r'{"id": "u", "text": ["a", "\ud83d"]}', "text: half a character"),
        (r'{"id": "u\ud800", "text": "\ud800", "speaker": "\ud800"}', "id and text and speaker: "),
        (r'{"id": "u", "text": ["a", 3, "\ud83d"]}', r"text: half a character"),
        (r'{"id": "u", "text": {"a": "\ud83d"}}', r"expected a string .*\\ud83d"),
        (r'{"\ud800": "u", "text": "a"}', r"no column utt_id .* among: \\ud800, text"),
        ('{"id": "u", "id": "v", "text": "a"}', 'stands twice: "id"'),
        ('{"id": "u", "text": "a", "text": "a"}', 'stands twice: "text"'),
        ('{"id": ' + "1" * 5000 + ', "text": "a"}', "Exceeds the limit"),
    ],
)
def test_what_json_allows_and_no_text_holds(tmp_path: Path, line: str, message: str) -> None:
    path = _write(tmp_path, '{"id": "first", "text": "a"}\n' + line + "\n", "hyp.jsonl")
    (fault,) = _faults(path)
    assert re.match(rf"2: .*{message}", fault)
    assert fault.encode()  # can be printed
    assert "not JSON" not in fault


def test_escapes_that_make_a_character_together(tmp_path: Path) -> None:
    path = _write(tmp_path, r'{"id": "\ud83d\ude00", "text": "\u00e4 \ud83d\ude00"}', "hyp.jsonl")
    assert read_transcript(path).text == {"😀": ["ä", "😀"]}


@pytest.mark.parametrize("content", ['[{"id": "u", "text": "a"}]', '\n [\n{"id": "u"},\n3\n]\n'])
def test_a_json_array_is_one_fault(tmp_path: Path, content: str) -> None:
    (fault,) = _faults(_write(tmp_path, content, "hyp.json"))
    assert "a JSON array; write one object a line" in fault


def test_a_long_text_fits_into_a_field(tmp_path: Path) -> None:
    words, limit = ["word"] * 40_000, csv.field_size_limit()
    path = _write(tmp_path, f'id,text\nu1,{" ".join(words)}\nu2,"{" ".join(words)}"\n')
    assert read_transcript(path).text == {"u1": words, "u2": words}
    _faults(_write(tmp_path, f'id,text\nu1,{" ".join(words)}\nu2,"a'))
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["hyp.csv", "hyp.jsonl"])
def test_no_break_spaces_are_parts_of_words(tmp_path: Path, name: str) -> None:
    words = ["zehn\u00a0000", "\u3000"]
    content = f"id,text\nu,{' '.join(words)}\n"
    if name.endswith("jsonl"):
        content = json.dumps({"id": "u", "text": " ".join(words)}) + "\n"
    assert read_transcript(_write(tmp_path, content, name)).text == {"u": words}
    with pytest.raises(InputError, match="2: "):
        read_transcript(_write(tmp_path, content.partition("\n")[0] + "\n\u00a0\n", name))


def test_json_faults_together(tmp_path: Path) -> None:
    lines = ['{"id": "u1", "text": "a"}', "{", '{"id": "u1", "text": "b"}', "[" * 100_000]
    faults = _faults(_write(tmp_path, "\n".join(lines), "hyp.jsonl"))
    assert [int(fault.partition(":")[0]) for fault in faults] == [2, 3, 4]
    assert "not JSON" in faults[0]
    assert "not JSON" in faults[2]
