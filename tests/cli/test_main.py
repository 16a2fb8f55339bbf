"""How the command line ends: exit codes and the last words."""

import subprocess
import sys

import pytest

_SCRIPT = """
import os, signal, sys, time
import asr_kd.search.stages
from asr_kd.cli.main import main
from asr_kd.errors import AsrKdError, InputError
from asr_kd.report.fail import WorseError

# A suite that a shell runs in the background inherits that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupted(*args):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(30)

def failing(error):
    def fail(*args):
        raise error
    return fail

asr_kd.search.stages.train_lm = {stage}
sys.argv = ["asr-kd", "train-lm", "text", "--out", "lm", {arguments}]
main()
"""


@pytest.mark.parametrize(
    ("stage", "arguments", "code", "said"),
    [
        ("print", "", 0, ""),
        ("failing(AsrKdError('it broke'))", "", 1, "ERROR asr_kd: it broke"),
        ("failing(OSError(28, 'No space left on device'))", "", 1, "No space left on device"),
        ("failing(InputError(['one fault', 'another']))", "", 2, "one fault\nanother"),
        ("failing(WorseError(['new is worse', 'and again']))", "", 3, "new is worse\nand again"),
        ("print", "'ordr=3'", 2, "did you mean 'order'?"),
        ("print", "'--no-such-option'", 2, "No such option"),
        ("interrupted", "", 130, "interrupted; run the same command again to go on"),
    ],
)
def test_exit_code_and_message(stage: str, arguments: str, code: int, said: str) -> None:
    script = _SCRIPT.format(stage=stage, arguments=arguments)
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
