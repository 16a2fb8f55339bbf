"""The built-in corpus: strings of letters and digits, said by espeak-ng in noisy rooms."""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from asr_kd.artefact import Artefact
from asr_kd.config import Config, config_dict
from asr_kd.data import espeak, rooms
from asr_kd.data.corpora.resources import DIGITS, SETS, write_dict, write_lm_text
from asr_kd.data.directory import DataDir
from asr_kd.errors import InputError
from asr_kd.io.audio import write_flac
from asr_kd.shards import run_shards

RATE = 16000
LETTERS: dict[str, tuple[str, ...]] = {
    "A": ("EY",), "B": ("B IY",), "C": ("S IY",), "D": ("D IY",), "E": ("IY",), "F": ("EH F",),
    "G": ("JH IY",), "H": ("EY CH",), "I": ("AY",), "J": ("JH EY",), "K": ("K EY",),
    "L": ("EH L",), "M": ("EH M",), "N": ("EH N",), "O": ("OW",), "P": ("P IY",),
    "Q": ("K Y UW",), "R": ("AA R", "AA"), "S": ("EH S",), "T": ("T IY",), "U": ("Y UW",),
    "V": ("V IY",), "W": ("D AH B AH L Y UW",), "X": ("EH K S",), "Y": ("W AY",),
    "Z": ("Z IY", "Z EH D"),
}  # fmt: skip
ACCENTS = (
    "en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029",
    "en-us-nyc",
)  # fmt: skip
# espeak-ng's variants of a voice, without robots, whispers and near copies of one another.
VARIANTS = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene",
    "Henrique", "Hugo", "Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed",
    "RicishayMax", "Tweaky", "adam", "anika", "announcer", "antonio", "aunty", "belinda",
    "benjamin", "boris", "david", "ed", "edward", "f1", "f2", "f3", "f4", "f5", "grandma",
    "grandpa", "gustave", "ian", "iven", "john", "klatt", "klatt3", "klatt4", "klatt5",
    "klatt6", "linda", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max",
    "michel", "miguel", "mike2", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "travis", "victor", "zac",
)  # fmt: skip
_SHARD = 50
_SHORTEST_RT60 = 0.02
_PAUSE_PROBABILITY = 0.15
Range = tuple[float, float]


class SynthConfig(Config):
    """Options of `asr-kd prepare synth`; what is a range is drawn anew for each utterance."""

    seed: int = Field(0, ge=0, description="the same seed gives the same samples")
    train_utterances: int = Field(1200, ge=1)
    train_voices: int = Field(48, ge=1, description="no voice is in two sets")
    dev_utterances: int = Field(120, ge=1)
    dev_voices: int = Field(8, ge=1)
    test_utterances: int = Field(250, ge=1)
    test_voices: int = Field(12, ge=1)
    words: tuple[int, int] = Field((3, 8), description="words in an utterance, least and most")
    snr: Range = Field((0.0, 20.0), description="signal-to-noise ratio in dB")
    rt60: Range = Field((0.1, 0.5), description="reverberation time in seconds")
    direct_ratio: Range = Field((0.0, 10.0), description="direct over reverberant energy in dB")

    def size(self, name: str) -> tuple[int, int]:
        """Utterances and voices of a set."""
        return getattr(self, f"{name}_utterances"), getattr(self, f"{name}_voices")


class _Task(NamedTuple):
    """One utterance to be made."""

    utt_id: str
    set: str
    voice: espeak.Voice
    words: list[str]
    file: str


def prepare(corpus: Path | None, out: Path, config: SynthConfig, nj: int = 1) -> None:
    """Makes the corpus.

    Args:
        corpus: must be None, there is nothing to read.
        out: where {train,dev,test}/, dict/ and lm_train.txt will stand.
        config: the options.
        nj: local processes; the samples do not depend on it.

    Raises:
        InputError: for options that cannot be met.
        AsrKdError: if espeak-ng is not installed.
    """
    if corpus is not None:
        raise InputError(f"synth: --corpus {corpus}: the built-in corpus reads none")
    _check(config)
    inputs: dict[str, Path | str] = {"espeakng-loader": espeak.installed_version()}
    artefact = Artefact(out, "prepare", {"corpus": "synth", **config_dict(config)}, inputs)
    if artefact.is_done():
        return
    work = artefact.begin()
    tasks = _tasks(config)
    shards = [tasks[i : i + _SHARD] for i in range(0, len(tasks), _SHARD)]
    func = partial(_make_shard, work, config)
    done = run_shards(work, func, shards, nj, "synth", [len(shard) for shard in shards])
    if done is None:
        return
    for name in SETS:
        made = [task for task in tasks if task.set == name]
        data = DataDir(
            artefact.path / name,
            utt2spk={task.utt_id: task.utt_id.split("-")[0] for task in made},
            wav={task.utt_id: str(artefact.path / task.file) for task in made},
            text={task.utt_id: " ".join(task.words) for task in made},
        )
        data.write(work / name)
        if name == "train":
            write_lm_text(work / "lm_train.txt", data.text)
    write_dict(work / "dict", {**LETTERS, **DIGITS})
    artefact.publish({"hours": round(sum(info["seconds"] for info in done) / 3600, 3)})


def _check(config: SynthConfig) -> None:
    faults = [
        f"{name}=[{low}, {high}]: expected the lower bound first"
        for name in ("words", "snr", "rt60", "direct_ratio")
        for low, high in [getattr(config, name)]
        if low > high
    ]
    if config.words[0] < 1:
        faults.append(f"words={list(config.words)}: an utterance has at least one word")
    if config.rt60[0] < _SHORTEST_RT60:
        faults.append(f"rt60={list(config.rt60)}: at least {_SHORTEST_RT60} s")
    for name in SETS:
        utterances, voices = config.size(name)
        if voices > utterances:
            faults.append(f"{name}_voices={voices}: only {utterances} utterances for them")
    if (voices := sum(config.size(name)[1] for name in SETS)) > len(VARIANTS):
        faults.append(f"{voices} voices in all sets together; there are {len(VARIANTS)}")
    if faults:
        raise InputError(faults)


def _tasks(config: SynthConfig) -> list[_Task]:
    """All utterances: who says what. Every voice has a variant of its own, so that a set's voices
    share nothing but accents with another's."""
    variants = _rng(config.seed, "variants").permutation(VARIANTS).tolist()
    tasks = []
    for name in SETS:
        num_utterances, num_voices = config.size(name)
        voices = [_voice(config.seed, variants.pop()) for _ in range(num_voices)]
        for i in range(num_utterances):
            voice = voices[i % num_voices]
            speaker = voice.name.split("+")[1].lower()
            utt_id = f"{speaker}-{name}{i:05d}"
            rng = _rng(config.seed, utt_id, "words")
            words = _words(rng, int(rng.integers(*config.words, endpoint=True)))
            # A person does not always speak alike.
            varied = voice._replace(
                pitch=voice.pitch + int(rng.integers(-5, 6)),
                rate=round(voice.rate * rng.uniform(0.9, 1.1)),
            )
            file = f"{name}/audio/{utt_id}.flac"
            tasks.append(_Task(utt_id, name, varied, words, file))
    return tasks


def _voice(seed: int, variant: str) -> espeak.Voice:
    rng = _rng(seed, variant)
    name = f"{rng.choice(ACCENTS)}+{variant}"
    pitch, pitch_range = (int(rng.integers(30, 71)) for _ in range(2))
    return espeak.Voice(name, pitch, pitch_range, int(rng.integers(130, 231)))


def _words(rng: np.random.Generator, length: int) -> list[str]:
    """Like AN4: something spelled, a number said digit by digit, or a mixture."""
    kind = rng.choice(3, p=[0.5, 0.3, 0.2])
    vocabulary = ([*LETTERS], [*DIGITS], [*LETTERS, *DIGITS])[kind]
    return [str(word) for word in rng.choice(vocabulary, length)]


def _make_shard(work: Path, config: SynthConfig, k: int, shard: list[_Task]) -> dict[str, float]:
    samples = 0
    for task in shard:
        pcm = _record(task, config)
        write_flac(work / task.file, pcm, RATE)
        samples += len(pcm)
    return {"seconds": samples / RATE}


def _record(task: _Task, config: SynthConfig) -> NDArray[np.int16]:
    """Lets the voice speak in a room of its own: the same samples for the same task, always."""
    from scipy.signal import resample_poly

    rng = _rng(config.seed, task.utt_id, "sound")
    # A lone "a" would be read as the article.
    spoken = [{"A": "[['eI]]"}.get(word, word.lower()) for word in task.words]
    pauses = [", " if rng.random() < _PAUSE_PROBABILITY else " " for _ in spoken[1:]]
    text = "".join(word + pause for word, pause in zip(spoken, [*pauses, ""], strict=True))
    said = espeak.say(text, task.voice).astype(np.float64)
    said = resample_poly(said, RATE, espeak.RATE)
    before, after = (round(RATE * rng.uniform(0.1, 0.4)) for _ in range(2))
    dry = np.concatenate([np.zeros(before), said, np.zeros(after)])
    wet = rooms.reverberate(
        dry, RATE, rng.uniform(*config.rt60), rng.uniform(*config.direct_ratio), rng
    )
    if rng.random() < 0.5:
        noise = rooms.coloured_noise(len(wet), rng.uniform(0.0, 2.0), rng)
    else:
        noise = rooms.babble(len(wet), RATE, int(rng.integers(2, 7)), rng)
    noisy = rooms.add_noise(wet, noise, rng.uniform(*config.snr))
    peak = rng.uniform(0.1, 0.9) * np.iinfo(np.int16).max
    return np.rint(noisy * (peak / np.abs(noisy).max())).astype(np.int16)


def _rng(seed: int, *key: str) -> np.random.Generator:
    """A generator that depends on its key only, not on what was drawn before."""
    digest = hashlib.sha256("/".join(key).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
