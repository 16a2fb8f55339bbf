import os
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_kd.data import espeak
from asr_kd.data.corpora import synth
from asr_kd.data.corpora.synth import ACCENTS, VARIANTS, SynthConfig, prepare
from asr_kd.data.directory import DataDir
from asr_kd.data.espeak import Voice, say
from asr_kd.data.validate import faults
from asr_kd.errors import AsrKdError, InputError

SMALL = {
    "train_utterances": 6, "train_voices": 3, "dev_utterances": 2, "dev_voices": 2,
    "test_utterances": 2, "test_voices": 2,
}  # fmt: skip
SETS = ("train", "dev", "test")


@pytest.fixture
def fake_voice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone instead of espeak-ng, for what does not depend on speech."""
    tone = (np.sin(np.arange(espeak.RATE) / 20) * 9000).astype(np.int16)
    monkeypatch.setattr(espeak, "say", lambda text, voice: tone)
    monkeypatch.setattr(espeak, "installed_version", lambda: "none")


def samples(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): soundfile.read(file, dtype="int16")[0].tobytes()
        for file in sorted(out.rglob("*.flac"))
    }


def test_the_same_seed_gives_the_same_samples_for_any_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(synth, "_SHARD", 5)
    prepare(None, tmp_path / "one", SynthConfig(**SMALL), nj=1)
    prepare(None, tmp_path / "two", SynthConfig(**SMALL), nj=2)
    one, two = samples(tmp_path / "one"), samples(tmp_path / "two")
    assert len(one) == 10
    assert one == two
    for name in SETS:
        assert faults(tmp_path / "one" / name, ("utt2spk", "spk2utt", "wav", "text")) == []
    for pcm in one.values():
        assert 0.5 < len(pcm) / 2 / synth.RATE < 12
        assert np.abs(np.frombuffer(pcm, np.int16)).max() > 1000


def test_espeak_says_the_same_whatever_was_said_before() -> None:
    pytest.importorskip("espeakng_loader")
    # f3 is breathy and klatt made of noise in part: both draw random numbers.
    voices = [Voice(f"en-us+{variant}", 50, 50, 160) for variant in ("f3", "klatt", "m1")]
    first = [say("x seven b", voice) for voice in voices]
    espeak._process.cache_clear()
    time.sleep(1.1)  # espeak-ng seeds its noise by the second it starts in
    again = [say("x seven b", voice) for voice in reversed(voices)][::-1]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len({a.tobytes() for a in first}) == 3
    assert len(say("x seven b", voices[0]._replace(rate=300))) < 0.8 * len(first[0])


def test_an_unknown_voice_is_an_error() -> None:
    pytest.importorskip("espeakng_loader")
    with pytest.raises(AsrKdError, match="en-nowhere"):
        say("x", Voice("en-nowhere", 50, 50, 160))
    assert len(say("x", Voice("en", 50, 50, 160)))


def test_every_voice_is_there() -> None:
    loader = pytest.importorskip("espeakng_loader")
    # espeak-ng takes an unknown variant for none, so that the files are looked for.
    folder = Path(loader.get_data_path()) / "voices/!v"
    assert [variant for variant in VARIANTS if not (folder / variant).is_file()] == []
    for accent in ACCENTS:
        assert len(say("x", Voice(accent, 50, 50, 160)))


def test_every_letter_is_said_by_its_name() -> None:
    pytest.importorskip("espeakng_loader")
    voice = Voice("en-us", 50, 50, 160)
    # Between words "a" is the article, a short vowel; the letter is a long diphthong.
    assert len(say("b [['eI]] b", voice)) > 1.1 * len(say("b a b", voice))
    np.testing.assert_array_equal(say("b [['eI]]", voice), say("b a", voice))


def test_words_are_said_in_order_and_the_letter_a_is_no_article(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = []

    def hear(text: str, voice: Voice) -> np.ndarray:
        said.append(text)
        return np.ones(999, np.int16)

    monkeypatch.setattr(espeak, "say", hear)
    task = synth._Task("x-1", "train", Voice("en", 50, 50, 160), ["A", "B", "ZERO", "A"], "x.flac")
    synth._record(task, SynthConfig())
    assert said[0].replace(",", "").split() == ["[['eI]]", "b", "zero", "[['eI]]"]


@pytest.mark.usefixtures("fake_voice")
def test_sets_share_no_voice_and_words_are_in_the_dictionary(tmp_path: Path) -> None:
    prepare(None, tmp_path / "data", SynthConfig(**SMALL))
    sets = {name: DataDir.read(tmp_path / "data" / name) for name in SETS}
    speakers = [set(data.utt2spk.values()) for data in sets.values()]
    assert [len(each) for each in speakers] == [3, 2, 2]
    assert len(set.union(*speakers)) == 7
    lexicon = {line.split()[0] for line in (tmp_path / "data/dict/lexicon.txt").open()}
    words = [text.split() for data in sets.values() for text in data.text.values()]
    assert all(3 <= len(utterance) <= 8 and set(utterance) <= lexicon for utterance in words)
    text = (tmp_path / "data/lm_train.txt").read_text().splitlines()
    assert text == [sets["train"].text[utt] for utt in sets["train"].utt_ids]


def test_the_default_has_sixty_voices_and_an_hour() -> None:
    tasks = synth._tasks(SynthConfig())
    assert len({task.voice.name for task in tasks}) >= 60
    by_set = {name: {t.utt_id.split("-")[0] for t in tasks if t.set == name} for name in SETS}
    assert not by_set["train"] & by_set["dev"]
    assert not by_set["train"] & by_set["test"]
    assert not by_set["dev"] & by_set["test"]
    assert len({task.voice.rate for task in tasks}) > 60
    assert len({task.voice.pitch for task in tasks}) > 30
    assert {word for task in tasks for word in task.words} == {*synth.LETTERS, *synth.DIGITS}
    assert synth._tasks(SynthConfig(seed=1)) != tasks


@pytest.mark.usefixtures("fake_voice")
def test_an_utterance_depends_on_its_own_name_only() -> None:
    config = SynthConfig(**SMALL)
    tasks = synth._tasks(config)
    first, last = synth._record(tasks[0], config), synth._record(tasks[-1], config)
    np.testing.assert_array_equal(synth._record(tasks[-1], config), last)
    np.testing.assert_array_equal(synth._record(tasks[0], config), first)
    assert first.tobytes() != last.tobytes()
    other = synth._record(tasks[0], SynthConfig(**SMALL, seed=1))
    assert first.tobytes() != other.tobytes()


@pytest.mark.usefixtures("fake_voice")
def test_a_stopped_run_publishes_nothing_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synth, "_SHARD", 2)
    out, config, done = tmp_path / "data", SynthConfig(**SMALL), []
    record = synth._record

    def fail_at_the_sixth(task: synth._Task, config: SynthConfig) -> np.ndarray:
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(task.utt_id)
        return record(task, config)

    monkeypatch.setattr(synth, "_record", fail_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        prepare(None, out, config)
    assert not out.exists()
    monkeypatch.setattr(synth, "_record", lambda *a: done.append(a[0].utt_id) or record(*a))
    prepare(None, out, config)
    assert len(samples(out)) == 10
    assert len(done) == 11  # two whole shards stood, half of the third was made again


def test_options_are_checked_together(tmp_path: Path) -> None:
    config = SynthConfig(snr=(9, 3), words=(0, 4), rt60=(0.0, 0.1), train_voices=90, dev_voices=200)
    with pytest.raises(InputError) as error:
        prepare(None, tmp_path / "data", config)
    faults = "\n".join(error.value.faults)
    for part in ("snr=[9.0, 3.0]", "words=[0, 4]", "rt60=[0.0, 0.1]", "dev_voices=200",
                 f"there are {len(VARIANTS)}"):  # fmt: skip
        assert part in faults
    with pytest.raises(InputError, match="reads none"):
        prepare(tmp_path, tmp_path / "data", SynthConfig())
    assert os.listdir(tmp_path) == []


def test_without_espeak_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(espeak, "version", absent)
    with pytest.raises(AsrKdError, match=r"pip install -e '\.\[synth\]'"):
        prepare(None, tmp_path / "data", SynthConfig(**SMALL))
    assert os.listdir(tmp_path) == []
