import json
import re
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_kd.report.html.encode import encode_set, to_json
from asr_kd.report.html.model import HtmlRun, HtmlSet, HtmlSystem
from asr_kd.score.alignment import align

WORDS = st.lists(st.sampled_from(["a", "b", "cc", "4=X", "0", "é", "</script>"]), max_size=8)


def applied(ref: list[str], edits: str | int) -> list[str]:
    """The hypothesis that edits make of a reference: what the page's script does."""
    if edits == 0:
        return ref
    codes, *words = edits.split(" ")
    hyp, i = [], 0
    for length, letter in re.findall(r"(\d*)([=XDI])", codes):
        for _ in range(int(length or 1)):
            if letter in "XI":
                hyp.append(words.pop(0))
            elif letter == "=":
                hyp.append(ref[i])
            i += letter != "I"
    assert i == len(ref)
    assert not words
    return hyp


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_edits_make_the_hypothesis_of_the_reference(pairs: list[tuple[list, list]]) -> None:
    ref = {f"u{i}": pair[0] for i, pair in enumerate(pairs)}
    hyp = {f"u{i}": pair[1] for i, pair in enumerate(pairs)}
    system = HtmlSystem("s", [HtmlRun("", hyp, align(ref, hyp))])
    data = json.loads(to_json(encode_set(HtmlSet("t", ref, [system], []), 10)))
    edits = data["systems"][0]["runs"][0]["edits"]
    assert [applied(*pair) for pair in zip(ref.values(), edits, strict=True)] == list(hyp.values())
    assert [words == hyp[utt] for utt, words in ref.items()] == [one == 0 for one in edits]


def test_edits_are_as_told(build: SimpleNamespace) -> None:
    baseline, student = encode_set(build.planted(), 10)["systems"]
    assert baseline["runs"][0]["edits"] == ["=X= too", 0, "=D=", 0]
    assert student["runs"][0]["edits"] == [0, 0, "2=I= oh", 0]


def test_speakers_and_confusions_agree_with_slow_counts(build: SimpleNamespace) -> None:
    test_set = build.random_set(60, 8, {"a": 0.5, "b": 0.2})
    data = encode_set(test_set, 5)  # the limit is for transcripts alone
    speakers = data["speakers"]
    for s, system in enumerate(test_set.systems):
        alignments = system.runs[0].alignments
        errors: Counter[str] = Counter()
        pairs: Counter[tuple[str, str]] = Counter()
        for i, (utt_id, words) in enumerate(test_set.ref.items()):
            r = h = 0
            for step in alignments.of(i).tolist():
                errors[utt_id[:5]] += step != 0
                if step == 1:
                    pairs[words[r], system.runs[0].hyp[utt_id][h]] += 1
                r += step != 3
                h += step != 2
        assert speakers["errors"][s] == [errors[name] for name in speakers["names"]]
        found = {(ref, hyp): row[s] for ref, hyp, *row in data["confusions"]["pairs"]["rows"]}
        assert {pair: n for pair, n in found.items() if n} == dict(pairs)
    assert sum(speakers["words"]) == sum(map(len, test_set.ref.values()))


def test_several_runs_count_in_the_mean(build: SimpleNamespace) -> None:
    ref = build.texts({"u": "a b"})
    hyps = [build.texts({"u": "a b"}), build.texts({"u": "a c"})]
    system = HtmlSystem("s", [build.run(ref, hyp, f"seed {i}") for i, hyp in enumerate(hyps)])
    data = encode_set(HtmlSet("t", ref, [system], [], {"u": "spk"}), 10)
    assert data["speakers"]["errors"] == [[0.5]]
    assert data["confusions"]["pairs"] == {"distinct": 1, "rows": [["b", "c", 0.5, 1]]}
    assert data["confusions"]["substituted"]["rows"] == [["b", 0.5, 1]]


def test_above_the_limit_the_worst_stay_in_their_order(build: SimpleNamespace) -> None:
    ref = build.texts({"u1": "a", "u2": "a b c", "u3": "a", "u4": "a b", "u5": "a"})
    hyp = build.texts({"u1": "b", "u2": "x y z", "u3": "a", "u4": "x y", "u5": "a"})
    test_set = build.one_set(ref, {"s": hyp})
    kept = {limit: encode_set(test_set, limit)["ids"] for limit in (5, 4, 2)}
    assert kept == {5: list(ref), 4: ["u1", "u2", "u4"], 2: ["u2", "u4"]}
    data = encode_set(test_set, 2)
    assert (data["total"], data["erring"]) == (5, 3)
    assert data["ref"] == ["a b c", "a b"]


def test_alignments_of_other_utterances_are_refused(build: SimpleNamespace) -> None:
    ref = build.texts({"u": "a", "v": "b"})
    other = build.texts({"v": "b", "u": "a"})
    with pytest.raises(ValueError, match="not over the reference's utterances"):
        encode_set(HtmlSet("t", ref, [HtmlSystem("s", [build.run(other, other)])], []), 10)


@given(st.text())
def test_json_is_safe_in_a_script_element(text: str) -> None:
    made = to_json({"text": text, "</script><!--": "\u2028\u2029"})
    assert not re.search("[<>&\u2028\u2029]", made)
    assert json.loads(made)["text"] == text
