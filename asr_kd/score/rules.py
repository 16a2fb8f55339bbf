"""A user's rules of normalisation, from a YAML file; its faults are named by line.

name: broadcast
version: 2
base: plain                # optional: none, plain, kaldi or english, applied first
rules:                     # in this order, to the words of an utterance with single spaces
  - words:                 # whole words or phrases, the longest first; all at once
      colour: color
      gonna: going to
      you know:            # nothing: removed
  - regex: '(\\w)-(\\w)'     # Python's `re`, on the whole utterance
    replace: '\\1 \\2'
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from asr_kd.errors import InputError
from asr_kd.score.formats.lines import cut

Rewrite = Callable[[list[str]], list[str]]
_KEYS = ("name", "version", "base", "rules")


@dataclass(frozen=True)
class Rules:
    """A rules file.

    Attributes:
        name, version: as it states them.
        base: the normaliser that comes before its rules.
        content: the rules as they stand, JSON-able.
        steps: the same as functions.
    """

    name: str
    version: str
    base: str
    content: list[dict[str, object]]
    steps: list[Rewrite]

    def rewrite(self, words: list[str]) -> list[str]:
        """Applies all rules to the words of an utterance, but not the base."""
        for step in self.steps:
            words = step(words)
        return words


def read_rules(path: Path, names: Sequence[str]) -> Rules:
    """Reads a rules file.

    Args:
        path: YAML, as the module's docstring shows. Scalars are taken as they are written: `no`
            is the word no.
        names: of the toolkit's normalisers, which may be its base, and none of which it may take.

    Raises:
        InputError: every fault with its line.
    """
    try:
        root = yaml.compose(Path(path).read_bytes().decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {error}") from error
    return _Reader(path, names).read(root)


class _Reader:
    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._names = path, names
        self._faults: list[str] = []

    def read(self, root: yaml.Node | None) -> Rules:
        values = self._mapping(root, "a rules file", _KEYS)
        for key in ("name", "version", "rules"):
            if key not in values:
                self._fault(root, f"{key} is missing; expected name, version and rules")
        name, version, base = (
            self._text(values[key], key) if key in values else default
            for key, default in (("name", "?"), ("version", "?"), ("base", "none"))
        )
        if name in self._names:
            self._fault(values["name"], f"{name} is the name of another normaliser; choose another")
        if base not in self._names:
            self._fault(values["base"], f"base {base!r}; expected {', '.join(self._names)}")
        content: list[dict[str, object]] = []
        steps: list[Rewrite] = []
        rules = values.get("rules")
        if rules is not None and not isinstance(rules, yaml.SequenceNode):
            self._fault(rules, "rules: expected a list, each entry `- words:` or `- regex:`")
        elif rules is not None:
            for node in rules.value:
                self._rule(node, content, steps)
        if self._faults:
            raise InputError(self._faults)
        return Rules(name, version, base, content, steps)

    def _rule(
        self, node: yaml.Node, content: list[dict[str, object]], steps: list[Rewrite]
    ) -> None:
        values = self._mapping(node, "a rule", ("words", "regex", "replace"))
        if values.keys() == {"words"}:
            table = self._table(values["words"])
            content.append({"words": table})
            steps.append(_phrases(table))
        elif values.keys() == {"regex", "replace"}:
            regex, replace = (self._text(values[k], k, True) for k in ("regex", "replace"))
            content.append({"regex": regex, "replace": replace})
            try:
                pattern = re.compile(regex)
                pattern.sub(replace, "")  # checks the replacement's groups
            except (re.error, IndexError, RecursionError, OverflowError) as error:
                self._fault(values["regex"], f"{regex!r} with {replace!r}: {error}")
            else:
                steps.append(lambda words: cut(pattern.sub(replace, " ".join(words))))
        elif values:
            self._fault(node, "expected `words:` alone, or `regex:` and `replace:`")

    def _table(self, node: yaml.Node) -> dict[str, str]:
        table: dict[str, str] = {}
        if not isinstance(node, yaml.MappingNode):
            self._fault(node, "words: expected `from: to` lines")
            return table
        for key, value in node.value:
            phrase = " ".join(cut(self._text(key, "a word")))
            if phrase in table:
                self._fault(key, f"{phrase!r} stands already above")
            table[phrase] = " ".join(cut(self._text(value, phrase, True)))
        return table

    def _mapping(
        self, node: yaml.Node | None, what: str, known: Sequence[str]
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._fault(node, f"expected {what} with {', '.join(known)}")
            return {}
        values: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if key.value not in known:
                self._fault(key, f"{key.value!r}: unknown key; expected {', '.join(known)}")
            elif key.value in values:
                self._fault(key, f"{key.value} stands already above")
            else:
                values[key.value] = value
        return values

    def _text(self, node: yaml.Node, what: str, may_be_empty: bool = False) -> str:
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, f"{what}: expected text")
        elif node.value.strip() or may_be_empty:
            return str(node.value)
        else:
            self._fault(node, f"{what}: is empty")
        return ""

    def _fault(self, node: yaml.Node | None, message: str) -> None:
        line = 1 if node is None else node.start_mark.line + 1
        self._faults.append(f"{self._path}:{line}: {message}")


def _phrases(table: dict[str, str]) -> Rewrite:
    longest = max((phrase.count(" ") + 1 for phrase in table), default=0)

    def rewrite(words: list[str]) -> list[str]:
        new: list[str] = []
        at = 0
        while at < len(words):
            for length in range(min(longest, len(words) - at), 0, -1):
                phrase = " ".join(words[at : at + length])
                if phrase in table:
                    new += cut(table[phrase])
                    at += length
                    break
            else:
                new.append(words[at])
                at += 1
        return new

    return rewrite
