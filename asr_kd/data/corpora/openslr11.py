"""What comes with LibriSpeech (OpenSLR 11): a lexicon of 200,000 words and n-gram models."""

import gzip
import logging
import shutil
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from asr_kd.errors import InputError
from asr_kd.io.atomic import replacing

LEXICON = "librispeech-lexicon.txt"
_logger = logging.getLogger("asr_kd.data")


def read_lexicon(path: Path, stress: bool) -> dict[str, list[str]]:
    """Reads lines of `WORD PH PH`, a line for each variant.

    Args:
        path: the file.
        stress: whether vowels keep their stress marks, which make three phones of each.

    Returns:
        Word → its variants, each once.

    Raises:
        InputError: every line without phones.
    """
    faults: list[str] = []
    variants: dict[str, list[str]] = defaultdict(list)
    for number, line in read_lines(path, faults):
        word, *phones = line.split()
        if not phones:
            faults.append(f"{path}:{number}: {word} has no phones")
        said = " ".join(phones if stress else (phone.rstrip("012") for phone in phones))
        if said not in variants[word]:
            variants[word].append(said)
    if faults:
        raise InputError(faults)
    return dict(variants)


def find_models(folder: Path, names: Sequence[str]) -> tuple[dict[str, Path], list[str]]:
    """Name → file of each model, in a folder of its own or not; and the faults."""
    found, faults = {}, []
    for name in names:
        file = f"{name}.arpa.gz"
        places = [folder / name / file, folder / file]
        there = [path for path in places if path.is_file()]
        if there:
            found[name] = there[0]
        else:
            faults.append(
                f"{places[0]}: no such file; `asr-kd download librispeech --parts {name} --out "
                f"{folder.parent}` makes it; lm=[] goes without"
            )
    return found, faults


def write_model(source: Path, path: Path) -> None:
    """Unpacks a model.

    Raises:
        InputError: if it is damaged or cut off.
    """
    try:
        with (
            gzip.open(source) as packed,
            replacing(path) as temporary,
            temporary.open("wb") as arpa,
        ):
            shutil.copyfileobj(packed, arpa, 1 << 20)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{source}: damaged or cut off: {error}") from None


def tell_unknown(
    name: str, text: Mapping[str, str], pronunciations: Mapping[str, Sequence[str]]
) -> None:
    """Warns of the words of a set that have no pronunciation."""
    words = [word for sentence in text.values() for word in sentence.split()]
    if unknown := sum(word not in pronunciations for word in words):
        _logger.warning("%s: %d of %d words are not in the lexicon", name, unknown, len(words))


def read_lines(path: Path, faults: list[str]) -> list[tuple[int, str]]:
    """Numbers and lines that are not empty; a file that cannot be read is a fault."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path}: cannot be read: {error}")
        return []
    return [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
