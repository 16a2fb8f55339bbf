"""Systems named by arguments, globs and YAML; what is read for each."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_kd.errors import InputError
from asr_kd.report.source_specs import DEFAULT_SET
from asr_kd.report.sources import Source, find_sources, read_source, speakers_of

DecodeDir = Callable[..., Path]


def _write(path: Path, content: str = "u1 a\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def _faults(*args: object, **more: object) -> list[str]:
    with pytest.raises(InputError) as refused:
        find_sources(*args, **more)  # type: ignore[arg-type]
    return refused.value.faults


def _names(sources: list[Source], root: Path) -> list[tuple[str, str | None, str, str]]:
    return [(s.role, s.seed, s.test_set, str(s.path.relative_to(root))) for s in sources]


def _kaldi(path: Path, rates: dict[str, str]) -> Path:
    for name, rate in rates.items():
        _write(path / f"wer_{name}_0.0", f"%WER {rate} [ 1 / 10, 0 ins, 0 del, 1 sub ]\n")
        _write(path / f"scoring_kaldi/penalty_0.0/{name}.txt", f"u1 lm{name}\n")
    _write(path / "scoring_kaldi/test_filt.txt", "u1 a b\n")
    return path


def test_two_files_are_enough(tmp_path: Path) -> None:
    ref, hyp = _write(tmp_path / "ref", "u1 a b\n"), _write(tmp_path / "hyp.trn", "a c (u1)\n")
    (source,) = find_sources([f"mine={hyp}"], [str(ref)])
    assert source == Source(
        "mine", None, DEFAULT_SET, hyp, ref, None, "file", "auto", {}, hyp, "auto"
    )
    loaded = read_source(source)
    assert (loaded.ref.text, loaded.hyp.text) == ({"u1": ["a", "b"]}, {"u1": ["a", "c"]})
    assert speakers_of(source, loaded, loaded.ref.text) is None


def test_role_seed_set_and_options(tmp_path: Path) -> None:
    hyp = _write(tmp_path / "a=b,c", '{"id": "u1", "text": "a", "pred": "x"}\n')
    dev, test = _write(tmp_path / "dev.ref"), _write(tmp_path / "test.ref")
    speakers = _write(tmp_path / "utt2spk", "u1 s1\nu2 s2\n")
    sources = find_sources(
        [f"hard student@3:dev={hyp},format=jsonl:pred", f"x={hyp},format=jsonl:text"],
        [f"dev={dev},format=kaldi", str(test)], [f"dev={speakers}"],
    )  # fmt: skip
    first, second = sources
    assert (first.role, first.seed, first.test_set) == ("hard student", "3", "dev")
    assert (first.ref, first.ref_format, first.utt2spk) == (dev, "kaldi", speakers)
    assert (second.test_set, second.ref, second.utt2spk) == ("test", test, None)
    loaded = read_source(first)
    assert loaded.hyp.text == {"u1": ["x"]}
    assert speakers_of(first, loaded, loaded.ref.text) == {"u1": "s1"}
    assert read_source(second).hyp.text == {"u1": ["a"]}


def test_parts_of_paths_say_role_seed_and_set(tmp_path: Path) -> None:
    for role in ("student", "hard-student"):
        for seed in (1, 10):
            for name in ("dev_clean", "test"):
                _write(tmp_path / f"exp/{role}_s{seed}/decode_{name}/hyp")
    _write(tmp_path / "exp/other/decode_test/hyp")
    refs = [str(_write(tmp_path / "ref"))]
    everything = find_sources([f"{tmp_path}/exp/{{role}}_s{{seed}}/decode_{{set}}/hyp"], refs)
    assert _names(everything, tmp_path) == [
        (role, seed, name, f"exp/{role}_s{seed}/decode_{name}/hyp")
        for role in ("hard-student", "student")
        for seed in ("1", "10")
        for name in ("dev_clean", "test")
    ]
    one = find_sources([f"new@10={tmp_path}/exp/student_s{{seed}}/decode_{{set}}/hyp"], refs)
    assert [(s.role, s.seed, s.test_set) for s in one] == [
        ("new", "10", "dev_clean"), ("new", "10", "test"),
    ]  # fmt: skip
    members = find_sources([f"all:test={tmp_path}/exp/*/decode_tes[st]/h?p"], refs)
    assert [(s.role, s.seed, s.path.parts[-3]) for s in members] == [
        ("all", None, name)
        for name in ("hard-student_s1", "hard-student_s10", "other", "student_s1", "student_s10")
    ]
    deep = find_sources([f"deep={tmp_path}/**/decode_{{set}}/hyp"], refs)
    assert len(deep) == 9


def test_the_same_placeholder_twice_is_the_same_text(tmp_path: Path) -> None:
    _write(tmp_path / "a/a.trn")
    _write(tmp_path / "b/a.trn")
    found = find_sources([f"x={tmp_path}/{{set}}/{{set}}.trn"], [str(_write(tmp_path / "ref"))])
    assert _names(found, tmp_path) == [("x", None, "a", "a/a.trn")]


def test_a_path_that_is_there_is_no_glob(tmp_path: Path) -> None:
    _write(tmp_path / "h")
    odd = _write(tmp_path / "[h]*")
    assert [s.path for s in find_sources([f"x={odd}"], [str(_write(tmp_path / "ref"))])] == [odd]


def test_our_decode_folders(decode_dir: DecodeDir, tmp_path: Path) -> None:
    path = decode_dir("d", {"u1": "a b"}, {"u1": "a"}, {"u1": "s1"}, wer=0.5)
    (source,) = find_sources([f"student@1={path}"])
    assert (source.kind, source.format, source.path) == ("decode", "kaldi", path)
    assert (source.hyp, source.ref, source.utt2spk) == (
        path / "hyp",
        path / "ref",
        path / "utt2spk",
    )
    assert source.info["params"] == 1000
    loaded = read_source(source)
    assert (loaded.ref.text, loaded.hyp.text) == ({"u1": ["a", "b"]}, {"u1": ["a"]})
    assert speakers_of(source, loaded, loaded.ref.text) == {"u1": "s1"}
    other = _write(tmp_path / "other", "u1 c\n")
    (source,) = find_sources([f"student@1={path}"], [str(other)])
    assert read_source(source).ref.text == {"u1": ["c"]}
    (path / "ref").unlink()
    (fault,) = _faults([f"student={path}"])
    assert "decoded without a reference text; give one with --ref" in fault


def test_kaldi_folders_take_the_weight_that_was_best_on_dev(tmp_path: Path) -> None:
    for role, best in (("tri1", "9"), ("tri3", "11")):
        rates = {name: "8.00" if name == best else "9.00" for name in ("7", "9", "11")}
        _kaldi(tmp_path / f"exp/{role}/decode_dev", rates)
        _kaldi(tmp_path / f"exp/{role}/decode_test", {"7": "1.00", "9": "2.00", "11": "3.00"})
    first, second = find_sources(
        [f"{tmp_path}/exp/{{role}}/decode_test,dev={tmp_path}/exp/{{role}}/decode_dev"]
    )
    assert (first.role, second.role) == ("tri1", "tri3")
    assert first.info == {
        "lmwt": "9", "wip": "0.0", "chosen_on": f"{tmp_path}/exp/tri1/decode_dev",
        "chosen_wer": 8.0,
    }  # fmt: skip
    assert first.kind == "kaldi"
    assert first.path == tmp_path / "exp/tri1/decode_test"
    assert read_source(first).hyp.text == {"u1": ["lm9"]}
    assert read_source(second).hyp.text == {"u1": ["lm11"]}
    assert read_source(second).ref.text == {"u1": ["a", "b"]}
    (plain,) = find_sources([f"x={tmp_path}/exp/tri1/decode_test,dev={first.info['chosen_on']}"])
    assert plain.info == first.info
    (fault,) = _faults([f"tri1={tmp_path}/exp/tri1/decode_test"])
    assert "3 scorings" in fault
    assert ",dev=DEV_DIR" in fault


def test_the_only_scoring_needs_no_dev(tmp_path: Path) -> None:
    (source,) = find_sources([f"x={_kaldi(tmp_path / 'd', {'7': '9.00'})}"])
    assert source.info == {"lmwt": "7", "wip": "0.0", "chosen_on": None, "chosen_wer": None}


def test_yaml(tmp_path: Path) -> None:
    for seed in (1, 2):
        _write(tmp_path / f"in/student_{seed}.txt")
    _kaldi(tmp_path / "in/dev", {"7": "9.00", "8": "8.00"})
    _kaldi(tmp_path / "in/test", {"7": "8.00", "8": "9.00"})
    _write(tmp_path / "in/ref.csv", "id,text,speaker\nu1,a,s1\n")
    _write(tmp_path / "in/utt2spk", "u1 s2\n")
    config = _write(
        tmp_path / "in/compare.yaml",
        """\
sets:
  eval: {ref: ref.csv, ref_format: "csv:text"}
  test: {utt2spk: utt2spk}
systems:
  - {role: student, set: eval, path: "student_{seed}.txt"}
  - {role: student, seed: 3, set: eval, path: student_1.txt, format: kaldi}
  - {role: kaldi, path: test, dev: dev}
""",
    )
    sources = find_sources([], config=config)
    assert _names(sources, tmp_path / "in") == [
        ("student", "1", "eval", "student_1.txt"),
        ("student", "2", "eval", "student_2.txt"),
        ("student", "3", "eval", "student_1.txt"),
        ("kaldi", None, "test", "test"),
    ]
    assert sources[2].format == "kaldi"
    for source, speaker in ((sources[0], "s1"), (sources[3], "s2")):
        loaded = read_source(source)
        assert speakers_of(source, loaded, loaded.ref.text) == {"u1": speaker}
    assert read_source(sources[3]).hyp.text == {"u1": ["lm8"]}


def test_faults_of_yaml(tmp_path: Path) -> None:
    config = _write(
        tmp_path / "c.yaml",
        "sets: {test: {reff: x}}\nsystems:\n  - {role: a, pth: x}\n  - {role: a, path: [x]}\n",
    )
    faults = _faults(["x=nowhere"], config=config)
    assert "nowhere: no such file or folder" in "\n".join(faults)
    assert any("sets.test.reff: unknown key" in fault for fault in faults)
    assert any("systems.0.pth: unknown key" in fault for fault in faults)
    assert any("systems.1.path" in fault for fault in faults)
    config.write_text("sets: {t: {ref: x, ref_format: y}}\nsystems: [{path: x, format: z}]\n")
    assert [f.split(":")[1] for f in _faults([], config=config)] == [" systems.0", " sets.t"]
    config.write_text("systems:\n  - {path: x}\n  - {role: a, path: 'x*'}\n")
    first, second = _faults([], config=config)
    assert first.endswith("systems.0: no role; expected ROLE=PATH, or a path with {role}")
    assert second.endswith("systems.1: nothing matches x*")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hyp", "no role; expected ROLE=PATH"),
        ("=hyp", "no role"),
        ("a@=hyp", "no role"),
        ("a=hyp,format=html", "no such format"),
        ("a=hyp,format=trn,format=ctm", "expected one format=VALUE"),
        ("a=hyp,dev=", "expected one dev=VALUE"),
        ("a=nowhere", "nowhere: no such file or folder"),
        ("a=no*where", r"nothing matches no\*where"),
        ("a=no{seed}where", r"nothing matches no\*where"),
        ("", "expected ROLE"),
    ],
)
def test_arguments_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_sources([spec])


def test_faults_together(decode_dir: DecodeDir, tmp_path: Path) -> None:
    hyp, folder = _write(tmp_path / "hyp"), tmp_path / "empty"
    folder.mkdir()
    decoded = decode_dir("d", {"u1": "a"}, {"u1": "a"}, {"u1": "s"})
    faults = _faults(
        [f"a={hyp}", f"b={folder}", f"c:x={hyp}", f"d={decoded},dev={folder}", "e=nowhere"],
        [f"x={hyp}", f"x={hyp}", f"y={hyp}"],
    )
    assert len(faults) == 6
    for fault, part in zip(
        faults,
        ["the reference of set x stands already", "no system has the test set 'y'; sets: test, x",
         "hyp: no reference of the set test; give one with --ref test=FILE",
         "empty: neither a finished output of `asr-kd decode`", "is for decode folders of Kaldi",
         "nowhere: no such file"],
        strict=True,
    ):  # fmt: skip
        assert part in fault


@pytest.mark.parametrize("ref", ["x=", "", "a,dev=b", "a,format=html"])
def test_references_refused(ref: str, tmp_path: Path) -> None:
    (fault,) = _faults([f"a={_write(tmp_path / 'hyp')}"], [ref])[:1]
    assert fault.startswith(repr(ref))


def test_a_ctm_is_cut_by_its_stm(tmp_path: Path) -> None:
    stm = _write(tmp_path / "r.stm", "f A s1 0 1 a b\nf A s2 1 2 c\n")
    ctm = _write(tmp_path / "hyp", "f A 0.1 0.1 a\nf A 1.5 0.1 x\n")
    (source,) = find_sources([f"a={ctm},format=ctm"], [str(stm)])
    loaded = read_source(source)
    assert loaded.hyp.text == {"f_A_0_1": ["a"], "f_A_1_2": ["x"]}
    assert speakers_of(source, loaded, loaded.ref.text) == {"f_A_0_1": "s1", "f_A_1_2": "s2"}


def test_faults_of_all_files_of_a_source(tmp_path: Path) -> None:
    ref, hyp = _write(tmp_path / "ref", "u1 a\n\n"), _write(tmp_path / "hyp", "u1 a\nu1 b\n")
    (source,) = find_sources([f"a={hyp}"], [str(ref)])
    with pytest.raises(InputError) as refused:
        read_source(source)
    assert [fault.split()[0] for fault in refused.value.faults] == [f"{ref}:2:", f"{hyp}:2:"]


def test_speakers_of_every_utterance_or_none(tmp_path: Path) -> None:
    ref = _write(tmp_path / "ref", "u1 a\nu2 b\n")
    speakers = _write(tmp_path / "utt2spk", "u1 s1\n")
    hyp = _write(tmp_path / "hyp.csv", "id,text,speaker\nu1,a,s1\n")
    (source,) = find_sources([f"a={hyp}"], [str(ref)])
    loaded = read_source(source)
    assert speakers_of(source, loaded, loaded.ref.text) is None
    (source,) = find_sources([f"a={hyp}"], [str(ref)], [str(speakers)])
    loaded = read_source(source)
    with pytest.raises(InputError, match="utt2spk: u2: no speaker"):
        speakers_of(source, loaded, loaded.ref.text)
    for utt2spk in ([], [str(speakers)]):  # u2 is not scored
        (source,) = find_sources([f"a={hyp}"], [str(ref)], utt2spk)
        assert speakers_of(source, read_source(source), {"u1": 1}) == {"u1": "s1"}


def test_a_file_that_the_placeholders_cannot_part_is_named(tmp_path: Path) -> None:
    ref = [str(_write(tmp_path / "ref"))]
    for name in ("a_run-2", "a_1", "a_2.b"):
        _write(tmp_path / f"exp/{name}.txt")
    pattern = f"{tmp_path}/exp/a_{{seed}}.txt"
    seeds = [source.seed for source in find_sources([f"a={pattern}"], ref)]
    assert seeds == ["1", "2.b", "run-2"]
    _write(tmp_path / "exp/a_run_2.txt")
    (fault,) = _faults([f"a={pattern}"], ref)
    assert f"{tmp_path}/exp/a_run_2.txt: cannot be parted by" in fault


def test_an_equals_sign_in_a_folder_ends_no_role(tmp_path: Path) -> None:
    for name in ("one", "two"):
        _write(tmp_path / f"lr=0.1/{name}_7.txt")
    found = find_sources(
        [f"{tmp_path}/lr=0.1/{{role}}_{{seed}}.txt"], [str(_write(tmp_path / "r"))]
    )
    assert [(s.role, s.seed) for s in found] == [("one", "7"), ("two", "7")]
    assert "no role" in _faults([f"a/b={tmp_path}/lr=0.1/one_7.txt"])[0]


def test_pipes_and_formats_of_folders_are_refused(tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", _write(tmp_path / "hyp")
    os.mkfifo(pipe)
    for spec, ref in ((f"a={pipe}", file), (f"a={file}", pipe)):
        assert _faults([spec], [str(ref)]) == [f"{pipe}: a pipe or a device; name a file"]
    assert _faults([f"a={file}"], [str(file)], [str(pipe)]) == [
        f"{pipe}: a pipe or a device; name a file"
    ]
    folder = _kaldi(tmp_path / "d", {"7": "9.00"})
    (fault,) = _faults([f"a={folder},format=trn"])
    assert fault == f"{folder}: format=trn is for files; this is a decode folder"


def test_a_fault_of_one_file_stands_once(tmp_path: Path) -> None:
    both = _write(tmp_path / "both", "u1 a\nu1 b\n")
    (source,) = find_sources([f"a={both}"], [str(both)])
    with pytest.raises(InputError) as refused:
        read_source(source)
    assert len(refused.value.faults) == 1
    assert len(_faults(["a=nowhere", "b=nowhere"], [str(both)])) == 1


def test_inputs_need_no_torch() -> None:
    code = "import sys, asr_kd.report.sources, asr_kd.score.join; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
