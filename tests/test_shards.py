import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from asr_kd.artefact import Artefact
from asr_kd.errors import AsrKdError, InputError
from asr_kd.shards import rank_and_world, run_shards, split


def count(work: Path, k: int, shard: list[str]) -> dict[str, int]:
    (work / f"made.{k}").touch()
    return {"utts": len(shard)}


def fail_on(bad: int, work: Path, k: int, shard: list[str]) -> dict[str, int]:
    if k == bad:
        raise InputError([f"utt{k}: broken", "utt9: broken too"])
    return count(work, k, shard)


def die(k: int, shard: list[str]) -> dict[str, int]:
    import os

    os._exit(9)


SHARDS = split([f"utt{i}" for i in range(10)], 3)


def test_split_keeps_order_and_everything() -> None:
    assert [len(s) for s in SHARDS] == [3, 3, 3, 1]
    assert sum(SHARDS, []) == [f"utt{i}" for i in range(10)]


@pytest.mark.parametrize("nj", [1, 2])
def test_facts_come_back_in_order(tmp_path: Path, nj: int) -> None:
    facts = run_shards(tmp_path, partial(count, tmp_path), SHARDS, nj, "count")
    assert facts == [{"utts": 3}, {"utts": 3}, {"utts": 3}, {"utts": 1}]


def test_a_failed_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run_shards(tmp_path, partial(fail_on, 2, tmp_path), SHARDS, 1, "count")
    for made in tmp_path.glob("made.*"):
        made.unlink()
    facts = run_shards(tmp_path, partial(count, tmp_path), SHARDS, 1, "count")
    assert facts is not None
    assert [f["utts"] for f in facts] == [3, 3, 3, 1]
    assert sorted(f.name for f in tmp_path.glob("made.*")) == ["made.2", "made.3"]


def test_an_error_of_a_worker_comes_home_with_all_its_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        run_shards(tmp_path, partial(fail_on, 1, tmp_path), SHARDS, 2, "count")
    assert error.value.faults == ["utt1: broken", "utt9: broken too"]


def test_a_killed_worker_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(AsrKdError, match="worker process died"):
        run_shards(tmp_path, die, SHARDS, 2, "count")


def test_workers_leave_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "stage.py"
    script.write_text(SLOW_STAGE)
    parent = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    pids = [_wait_for(tmp_path / f"pid.{k}") for k in (0, 1)]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(map(_is_alive, pids)):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)


SLOW_STAGE = """
import os, time
from pathlib import Path
from asr_kd.shards import run_shards

def sleep(k, shard):
    Path(f"unfinished.{k}").write_text(str(os.getpid()))
    Path(f"unfinished.{k}").rename(f"pid.{k}")
    time.sleep(60)
    return {}

if __name__ == "__main__":
    run_shards(Path(), sleep, [[], []], 2, "sleep")
"""


def _wait_for(file: Path) -> int:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(file.read_text())


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"  # dead, where nobody reaps orphans


def test_a_batch_script_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")  # as sbatch sets them, without any srun
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert rank_and_world() == (0, 1)


def test_ranks_share_the_shards_and_rank_0_gets_all_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert rank_and_world() == (1, 2)
    assert run_shards(tmp_path, partial(count, tmp_path), SHARDS, 1, "count") is None
    assert sorted(f.name for f in tmp_path.glob("made.*")) == ["made.1", "made.3"]
    monkeypatch.setenv("RANK", "0")
    facts = run_shards(tmp_path, partial(count, tmp_path), SHARDS, 1, "count")
    assert facts is not None
    assert [f["utts"] for f in facts] == [3, 3, 3, 1]


def test_rank_0_waits_for_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.setenv("SLURM_PROCID", "0")

    def other_rank() -> None:
        for k in (1, 3):
            (tmp_path / "shards" / f"{k}.json").write_text('{"utts": -1}')

    late = threading.Timer(0.5, other_rank)
    late.start()
    facts = run_shards(tmp_path, partial(count, tmp_path), SHARDS, 1, "count")
    late.join()
    assert facts == [{"utts": 3}, {"utts": -1}, {"utts": 3}, {"utts": -1}]


def test_a_late_rank_finds_all_done_and_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = Artefact(tmp_path / "out", "count", {}, {})
    artefact.begin()
    artefact.publish()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    late = Artefact(tmp_path / "out", "count", {}, {})
    work = late.begin()
    assert run_shards(work, partial(count, work), SHARDS, 1, "count") is None
    assert not work.exists()
