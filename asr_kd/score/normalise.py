"""Normalisers: what is done to the words of both sides before they are compared.

Each has a name, a version and a hash of its rules, which stand in every output together with the
number of words that it changed on each side: two error rates are comparable only where these agree.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr_kd.artefact import hash_json
from asr_kd.errors import InputError
from asr_kd.io.atomic import write_bytes, write_text
from asr_kd.log import progress
from asr_kd.score.alignment import CORRECT, align
from asr_kd.score.rewrites import KALDI_RULES, PLAIN_RULES, english, kaldi, plain
from asr_kd.score.rules import Rules, read_rules
from asr_kd.score.text import Text

NORMALISER, RULES = "normaliser.json", "normaliser.yaml"
"""Names of the files that keep a normaliser in a folder made with it."""
NAMES = ("none", "plain", "kaldi", "english")
_SHOWN_AFTER = 1000  # utterances


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
        rules: the YAML file that it is from; None for the toolkit's own.
    """

    name: str
    version: str
    digest: str
    rewrite: Callable[[list[str]], list[str]]
    rules: bytes | None = field(default=None, repr=False)

    def apply(self, text: Text) -> Normalised:
        """Normalises every utterance.

        Raises:
            InputError: naming every utterance on which the rules fail.
        """
        new: dict[str, list[str]] = {}
        faults: list[str] = []
        with progress(len(text), f"normaliser {self.name}") as advance:
            for number, (utt_id, words) in enumerate(text.items(), start=1):
                try:
                    new[utt_id] = self.rewrite(list(words))
                # A package's rules may trip over anything (a number of 5,000 digits, say).
                except Exception as error:
                    faults.append(
                        f"{utt_id}: the normaliser {self.name} fails on {_start(words)!r}: "
                        f"{type(error).__name__} {error}".rstrip()
                    )
                if number % _SHOWN_AFTER == 0:
                    advance(_SHOWN_AFTER)
        if faults:
            raise InputError(faults)
        differ = [utt_id for utt_id, words in text.items() if new[utt_id] != list(words)]
        steps = align({u: text[u] for u in differ}, {u: new[u] for u in differ}).steps
        return Normalised(new, int((steps != CORRECT).sum()), sum(map(len, text.values())))

    def describe(self) -> str:
        """For a report: name, version, and the beginning of the hash."""
        return f"{self.name} (version {self.version}, sha256 {self.digest[:12]})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: `name`, `version`, `sha256`."""
        return {"name": self.name, "version": self.version, "sha256": self.digest}


def normaliser(spec: str) -> Normaliser:
    """The normaliser of a name or of a rules file.

    Args:
        spec: `none`, `plain` (case and punctuation), `kaldi` (words for noise and the unknown
            word, as Kaldi's scoring filters remove them), `english` (whisper-normalizer's English
            normaliser), or the path of a YAML file of rules (`rules.read_rules`).

    Raises:
        InputError: for a name that is none, or every fault of a rules file with its line.
    """
    if spec == "none":
        return NONE
    if spec == "plain":
        return _own("plain", PLAIN_RULES, plain)
    if spec == "kaldi":
        return _own("kaldi", KALDI_RULES, kaldi)
    if spec == "english":
        return Normaliser("english", *english())
    if not Path(spec).is_file() and "." not in spec and "/" not in spec:
        raise InputError(
            f"{spec}: no such normaliser; expected {', '.join(NAMES)}, or a YAML file of rules"
        )
    return _from_rules(read_rules(Path(spec), NAMES), Path(spec).read_bytes())


def write_normaliser(folder: Path, ours: Normaliser) -> None:
    """Writes what `read_normaliser` reads; nothing for `none`."""
    if ours.digest == NONE.digest:
        return
    write_rules(folder, ours)
    write_text(folder / NORMALISER, json.dumps(ours.to_dict(), indent=1) + "\n")


def read_normaliser(folder: Path) -> Normaliser:
    """The normaliser that `write_normaliser` wrote; `none` where there is no file.

    Raises:
        InputError: if the file is damaged, or this version's normaliser is another.
    """
    path = folder / NORMALISER
    try:
        return restored(folder, json.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError:
        return NONE
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error!r}); make the folder again") from None


def write_rules(folder: Path, ours: Normaliser) -> None:
    """Writes the rules of a normaliser that has a file of them."""
    if ours.rules is not None:
        write_bytes(folder / RULES, ours.rules)


def restored(folder: Path, then: Mapping[str, str], source: Path) -> Normaliser:
    """A normaliser by `to_dict` and the rules that `write_rules` left.

    Raises:
        InputError: naming `source` if this version's normaliser of that name is another.
    """
    spec = then["name"] if then["name"] in NAMES else str(folder / RULES)
    ours = normaliser(spec)
    if ours.to_dict() != then:
        raise InputError(
            f"{source}: made with the normaliser {then['name']} version {then['version']} "
            f"(sha256 {then['sha256'][:12]}), here is {ours.describe()}; make the folder again, or "
            f"install the version of then"
        )
    return ours


def _own(
    name: str, rules: tuple[str, ...], rewrite: Callable[[list[str]], list[str]]
) -> Normaliser:
    version, *content = rules
    return Normaliser(name, version, hash_json([name, version, content]), rewrite)


def _from_rules(rules: Rules, file: bytes) -> Normaliser:
    base = normaliser(rules.base)
    digest = hash_json([rules.name, rules.version, base.to_dict(), rules.content])
    return Normaliser(
        rules.name, rules.version, digest, lambda words: rules.rewrite(base.rewrite(words)), file
    )


def _start(words: object, most: int = 60) -> str:
    text = " ".join(words) if isinstance(words, list) else str(words)
    return text if len(text) <= most else text[:most] + "…"


NONE = _own("none", ("1",), list)
