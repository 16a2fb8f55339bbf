import random
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_kd.errors import InputError
from asr_kd.score.normalise import NAMES, NONE, normaliser

TEXT = st.dictionaries(
    st.text("ab1", min_size=1, max_size=3),
    st.lists(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1), max_size=5),
    max_size=4,
)


def rewritten(spec: str, text: str) -> str:
    return " ".join(normaliser(spec).apply({"u": text.split()}).text["u"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Hello, World!", "hello world"),
        ("DON’T don't 'tis dogs' o''clock", "don't don't tis dogs o clock"),
        ("well-known and/or U.S.A.", "well known and or u s a"),
        ("3.5 1,000 12:30 end. ,5 a.b 7.", "3.5 1,000 12:30 end 5 a b 7"),
        ("ÉCOLE e\u0301cole Ärger", "école école ärger"),
        ("<unk> $5 5% a_b", "<unk> $5 5 a b"),
        ("¿qué? «no» “x”… —", "qué no x"),
    ],
)
def test_plain(before: str, after: str) -> None:
    assert rewritten("plain", before) == after


def test_kaldi_drops_what_is_no_word() -> None:
    before = "<NOISE> a <unk> [LAUGHTER] !SIL b [laughter-YEAH] !sil <SPOKEN_NOISE> c<d [x"
    assert rewritten("kaldi", before) == "a b YEAH c<d [x"
    assert rewritten("kaldi", "[laughter-[NOISE]") == "[laughter-[NOISE]"


def test_english_is_the_package() -> None:
    assert rewritten("english", "Mr. Brown's colour cost twenty-one dollars, um") == (
        "mister brown is color cost $21"
    )
    assert version("whisper-normalizer") in normaliser("english").version


def test_none_changes_nothing() -> None:
    text = {"u": ["A,", "<unk>", "\u00a0x"], "v": []}
    result = NONE.apply(text)
    assert result.text == text
    assert (result.changed, result.words) == (0, 3)


@pytest.mark.parametrize("name", ["plain", "kaldi"])
@given(text=TEXT)
@settings(max_examples=200, deadline=None)
def test_own_normalisers_keep_ids_cut_at_spaces_and_do_nothing_twice(
    name: str, text: dict[str, list[str]]
) -> None:
    once = normaliser(name).apply(text)
    assert list(once.text) == list(text)
    assert all(words == " ".join(words).split() for words in once.text.values())
    twice = normaliser(name).apply(once.text)
    assert twice.text == once.text
    assert twice.changed == 0
    assert (once.changed == 0) == (once.text == text)


def test_changed_words_are_counted() -> None:
    text = {"u1": ["Hi", "there"], "u2": ["well-known", "-", "x"], "u3": ["same"]}
    result = normaliser("plain").apply(text)
    # Hi is replaced; well-known and the dash by two other words.
    assert (result.changed, result.words) == (3, 6)
    assert result.text["u2"] == ["well", "known", "x"]
    assert normaliser("kaldi").apply({"u": ["<NOISE>", "a", "<UNK>"]}).changed == 2


def test_name_version_and_hash_are_pinned() -> None:
    """Whoever changes the rules sees this fail, and gives them another version."""
    pinned = {spec: normaliser(spec).to_dict() for spec in ("none", "plain", "kaldi")}
    assert {s: (d["name"], d["version"], d["sha256"][:12]) for s, d in pinned.items()} == {
        "none": ("none", "1", "a29448eb4987"),
        "plain": ("plain", "1", "2aadf14bdbd0"),
        "kaldi": ("kaldi", "1", "60762082c500"),
    }
    assert len({normaliser(name).digest for name in NAMES}) == len(NAMES)
    assert normaliser("plain").describe() == "plain (version 1, sha256 2aadf14bdbd0)"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="plian: no such normaliser; expected none, plain, kaldi"):
        normaliser("plian")
    with pytest.raises(InputError, match=r"no/rules.yaml: No such file"):
        normaliser("no/rules.yaml")


def test_an_utterance_on_which_a_package_fails_is_named() -> None:
    text = {"good": ["one"], "bad": ["9" * 5000], "worse": ["x", "8" * 6000]}
    with pytest.raises(InputError) as refused:
        normaliser("english").apply(text)
    assert [fault.split(":")[0] for fault in refused.value.faults] == ["bad", "worse"]
    assert all(len(fault) < 300 for fault in refused.value.faults)


def test_plain_is_fast() -> None:
    rng = random.Random(0)
    text = {str(i): rng.choices(["Hello,", "world", "don't", "3.5"], k=20) for i in range(5_000)}
    start = time.process_time()
    normaliser("plain").apply(text)
    assert time.process_time() - start < 3


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from asr_kd.score.normalise import normaliser; import asr_kd.score.result;"
        "[normaliser(n) for n in ('plain', 'kaldi', 'english')]; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
