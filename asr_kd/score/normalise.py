"""Normalisers: what is done to the words of both sides before they are compared.

Each has a name, a version and a hash of its rules, which stand in every output together with the
number of words that it changed on each side: two error rates are comparable only where these agree.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from asr_kd.score.alignment import align
from asr_kd.score.text import Text


@dataclass(frozen=True)
class Normalised:
    """A normalised text.

    Attributes:
        text: utterance id → words, in the order of the input; an utterance may lose all its words.
        changed: words replaced, removed or put in: the word errors of the new text against the old.
        words: words of the old text.
    """

    text: dict[str, list[str]]
    changed: int
    words: int


@dataclass(frozen=True)
class Normaliser:
    """A rule for what counts as the same word.

    Attributes:
        name: `none`, `plain`, `kaldi`, `english`, or the name that a rules file gives itself.
        version: of the rules; two texts normalised under one name and version are comparable.
        digest: SHA-256 of the rules, in hexadecimal.
        rewrite: the words of an utterance → its normalised words.
    """

    name: str
    version: str
    digest: str
    rewrite: Callable[[list[str]], list[str]]

    def apply(self, text: Text) -> Normalised:
        """Normalises every utterance."""
        raise NotImplementedError

    def describe(self) -> str:
        """One line for a report: name, version, the beginning of the hash."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: `name`, `version`, `sha256`."""
        raise NotImplementedError


NONE = Normaliser("none", "1", "", list)


def normaliser(spec: str) -> Normaliser:
    """The normaliser of a name or of a rules file.

    Args:
        spec: `none`, `plain` (case and punctuation), `kaldi` (words for noise and the unknown
            word, as Kaldi's scoring filters remove them), `english` (whisper-normalizer's English
            normaliser), or the path of a YAML file of rules (`normaliser_rules`).

    Raises:
        InputError: for a name that is none, or every fault of a rules file with its line.
    """
    raise NotImplementedError(align)
