"""The normalisers that come with the toolkit: the words of an utterance → its normalised words."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.resources import files

from asr_kd.artefact import hash_json

_APOSTROPHES = "\u2019\u02bc\uff07"
_INSIDE = "'.,:"
_LOOSE = re.compile(r"(?<!\w)'|'(?!\w)|(?<!\d)[.,:]|[.,:](?!\d)")
_LAUGHED = re.compile(r"\[laughter-([^\[\]]+)\]", re.IGNORECASE)
_NO_WORD = re.compile(r"<[^<>]+>|\[[^\[\]]+\]|!SIL", re.IGNORECASE)

PLAIN_RULES = (
    "1",
    "lower case; Unicode NFC",
    f"typographic apostrophes are apostrophes: {_APOSTROPHES}",
    "an apostrophe between two letters or digits stays, as do . , : between two digits",
    "every other character of the Unicode categories P* and Sk cuts words, as a space does",
    _LOOSE.pattern,
)
"""Version and rules of `plain`. Whoever changes a rule changes the version."""

KALDI_RULES = (
    "1",
    "[laughter-WORD], a word said with laughter, is WORD",
    "a word within <...> or [...], and !SIL, in any case, is removed",
    _LAUGHED.pattern,
    _NO_WORD.pattern,
)
"""Version and rules of `kaldi`, what the filters of Kaldi's recipes have in common.

`local/wer_output_filter` of WSJ removes <NOISE>, <SPOKEN_NOISE> and <UNK>; `local/score_sclite.sh`
of Switchboard [NOISE], [LAUGHTER], [VOCALIZED-NOISE] and <UNK>. Repairs of single words of a
corpus are for a rules file.
"""

_UTTERANCES_KEPT = 1 << 17
_TO_APOSTROPHE = str.maketrans(dict.fromkeys(_APOSTROPHES, "'"))


class _Cuts(dict[int, int]):
    """For `str.translate`: characters that cut words become spaces."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        category = unicodedata.category(character)
        cuts = (category[0] == "P" or category == "Sk") and character not in _INSIDE
        self[code] = ord(" ") if cuts else code
        return self[code]


_CUTS = _Cuts()


def plain(words: list[str]) -> list[str]:
    """Without case and punctuation (`PLAIN_RULES`)."""
    text = unicodedata.normalize("NFC", " ".join(words).lower().translate(_TO_APOSTROPHE))
    return _LOOSE.sub(" ", text.translate(_CUTS)).split()


def kaldi(words: list[str]) -> list[str]:
    """Without words for noise, silence and the unknown word (`KALDI_RULES`)."""
    said = (laughed[1] if (laughed := _LAUGHED.fullmatch(word)) else word for word in words)
    return [word for word in said if not _NO_WORD.fullmatch(word)]


@cache
def english() -> tuple[str, str, Callable[[list[str]], list[str]]]:
    """Version, hash of the code, and rules of whisper-normalizer's English normaliser.

    Radford et al. 2022, "Robust speech recognition via large-scale weak supervision", appendix C:
    case, punctuation, contractions, numbers, British spelling, fillers.
    """
    from whisper_normalizer.english import EnglishTextNormalizer

    package = files("whisper_normalizer")
    parts = [package / "english.py", package / "basic.py", package / "normalizers/english.json"]
    digest = hash_json([part.read_text(encoding="utf-8") for part in parts])
    # About a millisecond an utterance; hypotheses often equal the reference or one another.
    normalise = lru_cache(_UTTERANCES_KEPT)(EnglishTextNormalizer())
    return (
        f"whisper-normalizer {version('whisper-normalizer')}",
        digest,
        lambda words: normalise(" ".join(words)).split(),
    )
