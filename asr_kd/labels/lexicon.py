"""The pronunciation lexicon: words, their variants, and which phones are silence."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.atomic import write_text

EPSILON = "<eps>"
SENTENCE_START, SENTENCE_END = "<s>", "</s>"


@dataclass(frozen=True)
class Pronunciation:
    """One way to say a word.

    Attributes:
        word: as in transcripts.
        prob: relative probability in (0, 1]; 1 for every variant where the lexicon has none.
        phones: at least one.
    """

    word: str
    prob: float
    phones: tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """All pronunciations, with the sorts of phones.

    Attributes:
        pronunciations: in the order of the file.
        silence_phones: phones that stand for no word: silence, noise.
        optional_silence: the silence that may come before, between and after words.
        nonsilence_phones: the others, in order.
    """

    pronunciations: tuple[Pronunciation, ...]
    silence_phones: tuple[str, ...]
    optional_silence: str
    nonsilence_phones: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> "Lexicon":
        """Reads a Kaldi dictionary folder.

        `lexicon.txt` (word phone …) or `lexiconp.txt` (word prob phone …, preferred where both
        are there), `silence_phones.txt`, `optional_silence.txt` and, where it is there,
        `nonsilence_phones.txt`, against which the phones of the lexicon are then checked.

        Raises:
            InputError: every fault of all files, with file and line.
        """
        return _Reader(Path(folder)).read()

    def write(self, folder: Path) -> None:
        """Writes the folder that `read` reads, with `lexiconp.txt`."""
        folder = Path(folder)
        lines = (f"{p.word} {p.prob!r} {' '.join(p.phones)}\n" for p in self.pronunciations)
        write_text(folder / "lexiconp.txt", "".join(lines))
        for name, phones in (
            ("silence_phones", self.silence_phones),
            ("nonsilence_phones", self.nonsilence_phones),
            ("optional_silence", (self.optional_silence,)),
        ):
            write_text(folder / f"{name}.txt", "".join(f"{phone}\n" for phone in phones))

    @property
    def words(self) -> list[str]:
        """All words, sorted by UTF-8 bytes."""
        return sorted({p.word for p in self.pronunciations}, key=str.encode)

    def disambiguation(self) -> list[int]:
        """For each pronunciation the number k of the symbol #k that must end it, or 0 for none.

        A phone sequence that several entries share, or that begins another entry's, gets one, so
        that L∘G can be determinised (Mohri, Pereira & Riley 2002, section 3.2).
        """
        count = Counter(p.phones for p in self.pronunciations)
        prefixes = {phones[:n] for phones in count for n in range(1, len(phones))}
        used: Counter[tuple[str, ...]] = Counter()
        symbols = []
        for pronunciation in self.pronunciations:
            phones = pronunciation.phones
            if count[phones] == 1 and phones not in prefixes:
                symbols.append(0)
                continue
            used[phones] += 1
            symbols.append(used[phones])
        return symbols


class _Reader:
    """Reads a dictionary folder and gathers its faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: list[str] = []

    def read(self) -> Lexicon:
        silence = self._phones("silence_phones.txt", required=True)
        optional = self._phones("optional_silence.txt", required=True)
        nonsilence = self._phones("nonsilence_phones.txt", required=False)
        for phone in silence & nonsilence.keys():
            self.faults.append(
                f"{self.folder / 'nonsilence_phones.txt'}:{nonsilence[phone]}: {phone} is also "
                f"in silence_phones.txt"
            )
        if optional and (len(optional) != 1 or not optional.keys() <= silence.keys()):
            self.faults.append(
                f"{self.folder / 'optional_silence.txt'}: expected exactly one of the silence "
                f"phones, found {' '.join(optional)}"
            )
        known = silence.keys() | nonsilence.keys() if nonsilence else None
        pronunciations = tuple(self._pronunciations(known))
        if self.faults:
            raise InputError(self.faults)
        phones = {phone for p in pronunciations for phone in p.phones} - silence.keys()
        ordered = tuple(nonsilence) or tuple(sorted(phones, key=str.encode))
        return Lexicon(pronunciations, tuple(silence), next(iter(optional)), ordered)

    def _lines(self, name: str, required: bool) -> Iterator[tuple[str, list[str]]]:
        path = self.folder / name
        if not path.is_file():
            if required:
                self.faults.append(f"{path}: no such file")
            return
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            self.faults.append(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})")
            return
        if not text.strip():
            self.faults.append(f"{path}: empty")
            return
        for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
            if fields := line.split():
                yield f"{path}:{number}", fields
            else:
                self.faults.append(f"{path}:{number}: blank line")

    def _phones(self, name: str, required: bool) -> dict[str, int]:
        """Phone → its line."""
        phones: dict[str, int] = {}
        for place, fields in self._lines(name, required):
            # Kaldi allows several phones on a line: they share a tree root, of which we have none.
            for phone in fields:
                if phone in phones:
                    self.faults.append(f"{place}: {phone} stands already in line {phones[phone]}")
                elif reserved(phone):
                    self.faults.append(f"{place}: {phone} is reserved and cannot be a phone")
                phones.setdefault(phone, int(place.rpartition(":")[2]))
        return phones

    def _pronunciations(self, known: set[str] | None) -> Iterator[Pronunciation]:
        with_probs = (self.folder / "lexiconp.txt").is_file()
        seen: dict[tuple[str, tuple[str, ...]], str] = {}
        name = "lexiconp.txt" if with_probs else "lexicon.txt"
        for place, (word, *rest) in self._lines(name, required=True):
            if reserved(word) or word in (SENTENCE_START, SENTENCE_END):
                self.faults.append(f"{place}: {word} is reserved and cannot be a word")
            prob = 1.0
            if with_probs:
                prob = self._prob(place, word, rest.pop(0) if rest else "")
            if not rest:
                self.faults.append(f"{place}: {word} has no phones")
            for phone in rest:
                if known is not None and phone not in known:
                    self.faults.append(
                        f"{place}: {word}: phone {phone} is neither in silence_phones.txt nor in "
                        f"nonsilence_phones.txt"
                    )
                elif reserved(phone):
                    self.faults.append(f"{place}: {word}: {phone} is reserved, not a phone")
            entry = (word, tuple(rest))
            if entry in seen:
                self.faults.append(f"{place}: {word} with these phones stands already in "
                                   f"line {seen[entry].rpartition(':')[2]}")  # fmt: skip
            seen.setdefault(entry, place)
            yield Pronunciation(word, prob, tuple(rest))

    def _prob(self, place: str, word: str, text: str) -> float:
        try:
            prob = float(text)
        except ValueError:
            prob = 0.0
        if not 0 < prob <= 1:
            self.faults.append(f"{place}: {word}: {text!r} is not a probability in (0, 1]")
            return 1.0
        return prob


def reserved(symbol: str) -> bool:
    """Whether a symbol means something to graphs: <eps>, #0, #1, …"""
    return symbol == EPSILON or (symbol.startswith("#") and symbol[1:].isdigit())
