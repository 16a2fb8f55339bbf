"""What a model has seen in training: `trained_on.txt` beside its checkpoint, an id a line."""

from collections.abc import Iterable
from pathlib import Path

from asr_kd.io.atomic import write_text

_FILE = "trained_on.txt"


def write_trained_on(model_dir: Path, utt_ids: Iterable[str]) -> None:
    """Writes the utterances sorted by their bytes, each once."""
    unique = sorted(set(utt_ids), key=str.encode)
    write_text(Path(model_dir) / _FILE, "".join(f"{utt}\n" for utt in unique))


def read_trained_on(model_dir: Path) -> frozenset[str] | None:
    """The utterances that a model was trained on; None where it does not say."""
    try:
        text = (Path(model_dir) / _FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return frozenset(text.split())
