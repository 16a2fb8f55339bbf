import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.score.join import Partial
from asr_kd.score.normalise import normaliser
from asr_kd.score.result import score, write_score

REF = {"u1": ["a", "b", "c"], "u2": ["d"], "u3": ["e", "f"]}
HYP = {"u1": ["a", "xyz", "c"], "u2": [], "u3": ["e", "f", "g"]}
UTT2SPK = {"u1": "s1", "u2": "s1", "u3": "s2"}


def test_planted_words_characters_and_sentences() -> None:
    result = score(REF, HYP, UTT2SPK)
    facts = result.to_dict()
    assert (facts["wer"], facts["errors"], facts["words"]) == (0.5, 3, 6)
    assert (facts["substitutions"], facts["deletions"], facts["insertions"]) == (1, 1, 1)
    # "a b c" → "a xyz c": 3; "d" → "": 1; "e f" → "e f g": 2.
    assert (facts["cer"], facts["character_errors"], facts["characters"]) == (6 / 9, 6, 9)
    assert (facts["ser"], facts["sentence_errors"], facts["sentences"]) == (1.0, 3, 3)
    assert (facts["utterances"], facts["speakers"]) == (3, 2)
    assert facts["interval"] == facts["interval_bca"] == [0.5, 0.5]  # of both speakers one half
    assert facts["interval_by"].startswith("bootstrap over speakers")
    assert facts["cer_interval"] == [4 / 6, 2 / 3]
    assert facts["not_scored"] is None
    assert {speaker: n.errors for speaker, n in result.speakers.items()} == {"s1": 2, "s2": 1}


def test_intervals_are_around_their_rates_and_cover() -> None:
    rng = random.Random(0)
    ref = {str(i): rng.choices(["one", "two", "three"], k=10) for i in range(400)}
    hyp = {u: [w if rng.random() < 0.8 else "four" for w in words] for u, words in ref.items()}
    result = score(ref, hyp)
    assert result.blocks == "utterances"
    for value, interval in (
        (result.corpus.wer, result.interval),
        (result.corpus.wer, result.bca),
        (result.characters.value, result.characters.interval),
        (result.sentences.value, result.sentences.interval),
    ):
        assert interval.low < value < interval.high
    # Words are independent here: a binomial's standard error, 1.96 times to each side.
    half = 1.96 * (0.2 * 0.8 / 4000) ** 0.5
    assert (result.interval.high - result.interval.low) / 2 == pytest.approx(half, rel=0.1)
    assert result.sentences.value == pytest.approx(1 - 0.8**10, abs=0.05)


def test_the_normaliser_goes_over_both_sides_and_is_told() -> None:
    ref = {"u1": ["Hello,", "world!"], "u2": ["<unk>", "x"]}
    hyp = {"u1": ["hello", "world"], "u2": ["<unk>", "X"]}
    assert score(ref, hyp).corpus.errors == 3
    result = score(ref, hyp, normaliser=normaliser("plain"))
    assert result.corpus.errors == 0
    facts = result.to_dict()["normaliser"]
    assert facts["name"] == "plain"
    assert facts["version"] == "1"
    assert facts["sha256"] == normaliser("plain").digest
    assert facts["changed"] == {"ref": 2, "hyp": 1}
    assert facts["words"] == {"ref": 4, "hyp": 4}
    told = ("plain (version 1", "reference 2 (of 4 before)", "hypotheses 1 (of 4 before)")
    assert any(all(part in note for part in told) for note in result.notes())
    assert score(ref, hyp, normaliser=normaliser("kaldi")).corpus.words == 3


def test_the_alignment_is_told_and_used() -> None:
    # Three substitutions weigh 12 at sclite's weights, three deletions and insertions 18; but
    # where words fit after a shift, sclite prefers one more error.
    rng = random.Random(3)
    ref = {str(i): rng.choices("abc", k=12) for i in range(200)}
    hyp = {u: rng.choices("abc", k=12) for u in ref}
    minimal, sclite = (score(ref, hyp, method=m) for m in ("levenshtein", "sclite"))
    assert minimal.corpus.errors < sclite.corpus.errors
    assert sclite.to_dict()["alignment"] == "sclite"


def test_partial_is_told_first() -> None:
    left_out = Partial(3, 5, {"hyp": ["x", "y"]}, {})
    result = score(REF, HYP, partial=left_out)
    assert result.notes()[0].startswith("PARTIAL: 3 of 5 reference utterances")
    assert result.to_dict()["not_scored"] == left_out.to_dict()


@pytest.mark.parametrize("name", ["none", "kaldi"])
def test_a_reference_without_words_is_refused(name: str) -> None:
    ref = {"u": ["<unk>"] if name == "kaldi" else []}
    with pytest.raises(InputError, match="no words") as refused:
        score(ref, {"u": ["a"]}, normaliser=normaliser(name))
    assert ("after the normaliser kaldi" in str(refused.value)) == (name == "kaldi")


def test_one_speaker_falls_back_to_utterances() -> None:
    text = {f"u{i}": ["a"] for i in range(5)}
    result = score(text, text, dict.fromkeys(text, "s"))
    assert result.blocks == "utterances"
    assert (result.corpus.errors, result.characters.errors, result.sentences.errors) == (0, 0, 0)


def test_an_utterance_without_words_may_be_among_others() -> None:
    result = score({"u1": ["a"], "u2": []}, {"u1": ["a"], "u2": ["b"]}, {"u1": "s1", "u2": "s2"})
    assert result.corpus.wer == 1.0
    assert result.sentences.errors == 1


def test_files_are_written(tmp_path: Path) -> None:
    result = score(REF, HYP, UTT2SPK)
    write_score(result, tmp_path, Path("exp/x"), {"partial": 7}, "5", "-1.0")
    facts = json.loads((tmp_path / "wer.json").read_text())
    assert facts == {**json.loads(json.dumps(result.to_dict())), "partial": 7}
    assert (tmp_path / "wer_5_-1.0").is_file()
    details = tmp_path / "scoring_kaldi" / "wer_details"
    assert "SUM" in (details / "per_spk").read_text()
    assert (tmp_path / "scoring_kaldi" / "best_wer").read_text().endswith(" exp/x/wer_5_-1.0\n")


def test_rates_are_those_of_a_slow_distance() -> None:
    rng = random.Random(5)
    ref = {str(i): rng.choices(["ä", "bb", "can't", "d"], k=rng.randrange(1, 9)) for i in range(90)}
    hyp = {u: [w for w in words if rng.random() > 0.3] + ["bbd"] for u, words in ref.items()}
    result = score(ref, hyp)
    for found, cut in ((result.corpus.wer, list), (result.characters.value, " ".join)):
        errors = sum(distance(cut(ref[u]), cut(hyp[u])) for u in ref)
        assert found == errors / sum(len(cut(ref[u])) for u in ref)


def distance(ref: Sequence[str], hyp: Sequence[str]) -> int:
    """Levenshtein's, a row of its table at a time."""
    row = list(range(len(hyp) + 1))
    for i, one in enumerate(ref, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(hyp, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (one != other))
    return row[-1]


@pytest.mark.parametrize(("count", "few"), [(1, "1 utterance,"), (9, "9 utterances,"), (10, "")])
def test_few_blocks_are_told(count: int, few: str) -> None:
    ref = {str(i): ["a"] for i in range(count)} | {"silent": []}  # which does not count
    notes = [note for note in score(ref, ref).notes() if "too narrow" in note]
    assert notes == ([f"The intervals are drawn from only {few} and too narrow."] if few else [])
