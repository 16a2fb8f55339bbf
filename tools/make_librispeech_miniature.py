"""A LibriSpeech in miniature, laid out as the real one, for where that is not to be had.

Letters and digits said by the built-in synthesiser, as OpenSLR has LibriSpeech (12), its lexicon
and language models (11) and mini LibriSpeech (31): archives of FLAC with SPEAKERS.TXT and
transcripts of chapters, and lists of checksums. The same options give the same bytes.

    python tools/make_librispeech_miniature.py OUT
    python -m http.server --bind 127.0.0.1 --directory OUT 8000 &
    asr-kd download mini_librispeech --parts all --out corpus \
        --mirror http://127.0.0.1:8000/resources --sums-of-mirror
"""

import argparse
import gzip
import hashlib
import io
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from asr_kd.artefact import Artefact
from asr_kd.data.corpora import synth
from asr_kd.data.corpora.resources import DIGITS, SETS
from asr_kd.data.directory import DataDir
from asr_kd.io.audio import audio_info
from asr_kd.log import setup_logging
from asr_kd.search.smoothing import estimate

# Set of the synthesiser → parts that its voices are dealt to.
PARTS: dict[int, dict[str, tuple[str, ...]]] = {
    12: {
        "train": ("train-clean-100", "train-clean-360", "train-other-500"),
        "dev": ("dev-clean", "dev-other"),
        "test": ("test-clean", "test-other"),
    },
    31: {"train": ("train-clean-5",), "dev": ("dev-clean-2",), "test": ("dev-clean-2",)},
}
CHAPTERS = 2
FIRST_READER = 84
# Voices of espeak-ng that sound like women; what else there is passes for a man.
FEMALE = {
    "alicia", "andrea", "anika", "annie", "aunty", "belinda", "f1", "f2", "f3", "f4", "f5",
    "grandma", "linda", "shelby", "steph",
}  # fmt: skip
VOWELS = {
    "AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW",
}  # fmt: skip
# File → order and share of the training sentences that it is estimated from.
MODELS = {
    "3-gram.pruned.3e-7": (3, 0.25),
    "3-gram.pruned.1e-7": (3, 0.5),
    "3-gram": (3, 1.0),
    "4-gram": (4, 1.0),
}


class Recording(NamedTuple):
    """One utterance and where it belongs."""

    part: str
    reader: int
    chapter: int
    number: int
    file: str
    words: str

    @property
    def folder(self) -> str:
        """Where it is in the archive."""
        return f"{self.part}/{self.reader}/{self.chapter}"

    @property
    def speaker(self) -> str:
        """Reader and chapter."""
        return f"{self.reader}-{self.chapter}"

    @property
    def utt_id(self) -> str:
        """The name of its file."""
        return f"{self.speaker}-{self.number:04d}"


def recordings(speech: Path, parts: Mapping[str, Sequence[str]]) -> tuple[list[Recording], str]:
    """All utterances with new names, and SPEAKERS.TXT."""
    found = []
    lines = [";ID  |SEX| SUBSET           |MINUTES| NAME"]
    reader = FIRST_READER
    for name in SETS:
        data = DataDir.read(speech / name, ("wav", "text"))
        for i, (voice, utts) in enumerate(data.spk2utt.items()):
            reader += 7
            part = parts[name][i % len(parts[name])]
            minutes = sum(audio_info(data.wav[utt]).seconds for utt in utts) / 60
            sex = "F" if voice in FEMALE else "M"
            lines.append(f"{reader:<5}| {sex} | {part:<17}| {minutes:5.2f} | {voice}")
            for k, utt in enumerate(utts):
                chapter = 1000 * reader + k % CHAPTERS
                found.append(
                    Recording(part, reader, chapter, k // CHAPTERS, data.wav[utt], data.text[utt])
                )
    return found, "\n".join([*lines, ""])


def archive(chosen: Iterable[Recording], speakers: str) -> bytes:
    """The .tar.gz of a part."""
    transcripts: dict[str, list[str]] = defaultdict(list)
    files = {"README.TXT": b"Not LibriSpeech: a miniature.\n", "SPEAKERS.TXT": speakers.encode()}
    for recording in chosen:
        name = f"{recording.folder}/{recording.speaker}.trans.txt"
        transcripts[name].append(f"{recording.utt_id} {recording.words}\n")
        files[f"{recording.folder}/{recording.utt_id}.flac"] = Path(recording.file).read_bytes()
    files |= {name: "".join(lines).encode() for name, lines in transcripts.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(f"LibriSpeech/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def lexicon() -> bytes:
    """Vowels have stress marks, as in the real one."""
    lines = []
    for word, variants in sorted({**synth.LETTERS, **DIGITS}.items()):
        for variant in variants:
            phones = (phone + "1" * (phone in VOWELS) for phone in variant.split())
            lines.append(f"{word}\t{' '.join(phones)}\n")
    return "".join(lines).encode()


def language_model(order: int, sentences: Sequence[str]) -> bytes:
    words = {*synth.LETTERS, *DIGITS}
    model = estimate([sentence.split() for sentence in sentences], order, "witten-bell", words)
    with tempfile.TemporaryDirectory() as folder:
        model.write_arpa(Path(folder) / "lm.arpa")
        return gzip.compress((Path(folder) / "lm.arpa").read_bytes(), mtime=0)


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files of a resource, and the list of their checksums."""
    folder.mkdir(parents=True)
    sums = "".join(f"{hashlib.md5(content).hexdigest()}  {name}\n"
                   for name, content in files.items())  # fmt: skip
    for name, content in {**files, "md5sum.txt": sums.encode()}.items():
        (folder / name).write_bytes(content)
        print(f"{folder / name}: {len(content):,} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the folder resources/ comes into it")
    parser.add_argument("--train", type=int, nargs=2, default=(400, 16), metavar=("UTTS", "VOICES"))
    parser.add_argument("--dev", type=int, nargs=2, default=(60, 6), metavar=("UTTS", "VOICES"))
    parser.add_argument("--test", type=int, nargs=2, default=(60, 6), metavar=("UTTS", "VOICES"))
    parser.add_argument("--snr", type=float, default=20.0, help="dB of signal over noise, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nj", type=int, default=1, help="local processes")
    options = parser.parse_args()
    setup_logging()
    sizes = {name: getattr(options, name) for name in SETS}
    config = synth.SynthConfig(
        seed=options.seed,
        snr=(options.snr, options.snr + 10.0),
        **{f"{name}_utterances": utterances for name, (utterances, _) in sizes.items()},
        **{f"{name}_voices": voices for name, (_, voices) in sizes.items()},
    )
    settings = {name: [*size] for name, size in sizes.items()} | {
        "snr": options.snr, "seed": options.seed,
    }  # fmt: skip
    artefact = Artefact(options.out / "resources", "make_librispeech_miniature", settings, {})
    if artefact.is_done():
        return
    work = artefact.begin()
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "synth"
        synth.prepare(None, speech, config, options.nj)
        for resource, parts in PARTS.items():
            found, speakers = recordings(speech, parts)
            names = dict.fromkeys(part for several in parts.values() for part in several)
            write(work / f"{resource}", {
                f"{part}.tar.gz": archive((r for r in found if r.part == part), speakers)
                for part in names
            })  # fmt: skip
        sentences = (speech / "lm_train.txt").read_text().splitlines()
    models = {
        f"{name}.arpa.gz": language_model(order, sentences[: max(1, int(share * len(sentences)))])
        for name, (order, share) in MODELS.items()
    }
    write(work / "11", {"librispeech-lexicon.txt": lexicon(), **models})
    artefact.publish()


if __name__ == "__main__":
    main()
