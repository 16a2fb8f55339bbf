"""What corpora have in common whose file names tell speaker and words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asr_kd.artefact import Artefact, hash_json
from asr_kd.data.corpora.resources import SETS, write_dict, write_lm_text
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.shards import rank_and_world


class Recording(NamedTuple):
    """One sound file that is one utterance."""

    set: str
    speaker: str
    file: Path
    words: str

    @property
    def utt_id(self) -> str:
        """The speaker, then the file's name, so that people find the file."""
        return f"{self.speaker}-{self.file.stem}"


def find(corpus: Path | None, name: str, folder: str) -> list[Path]:
    """The WAV files of a corpus, sorted by name.

    Args:
        corpus: the corpus, or its folder of recordings.
        name: the corpus's name, for messages.
        folder: name of the folder of recordings.

    Raises:
        InputError: if there are none.
    """
    if corpus is None:
        raise InputError(f"{name}: --corpus DIR is needed: the folder that holds {folder}/")
    corpus = Path(corpus).absolute()
    if (corpus / folder).is_dir():
        corpus = corpus / folder
    files = sorted(corpus.glob("*.wav"))
    if not files:
        raise InputError(f"{corpus}: no WAV files; expected {name}'s {folder}/ there")
    return files


def publish(
    out: Path,
    config: Mapping[str, Any],
    recordings: Sequence[Recording],
    pronunciations: Mapping[str, Sequence[str]],
) -> None:
    """Publishes the sets, the dictionary and the LM text; skips what is done.

    Raises:
        InputError: if a set has no recordings.
    """
    empty = [name for name in SETS if not any(r.set == name for r in recordings)]
    if empty:
        raise InputError([f"{name}: no recordings are left for it" for name in empty])
    files = hash_json([[r.utt_id, str(r.file), r.file.stat().st_size] for r in recordings])
    artefact = Artefact(out, "prepare", config, {"files": files})
    if artefact.is_done():
        return
    work = artefact.begin()
    if rank_and_world()[0] != 0:
        return
    for name in SETS:
        chosen = [recording for recording in recordings if recording.set == name]
        data = DataDir(
            artefact.path / name,
            utt2spk={r.utt_id: r.speaker for r in chosen},
            wav={r.utt_id: str(r.file) for r in chosen},
            text={r.utt_id: r.words for r in chosen},
        )
        data.write(work / name)
        if name == "train":
            write_lm_text(work / "lm_train.txt", data.text)
    write_dict(work / "dict", pronunciations)
    artefact.publish({name: sum(r.set == name for r in recordings) for name in SETS})
