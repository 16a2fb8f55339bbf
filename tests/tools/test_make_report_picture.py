import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from asr_kd.report.html.model import HtmlReport, HtmlRun, HtmlSet, HtmlSystem
from asr_kd.report.html.write import write_html
from asr_kd.score.alignment import align

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_report_picture.py"


def test_a_picture_of_a_report(tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api")
    if shutil.which("/usr/bin/chromium") is None:
        pytest.skip("no chromium")
    ref, hyp = {"u": ["a"]}, {"u": ["b"]}
    systems = [HtmlSystem("s", [HtmlRun("", hyp, align(ref, hyp))])]
    report = HtmlReport("T", [], [HtmlSet("test", ref, systems, [])])
    write_html(tmp_path / "report.html", report)
    for name, options in {"light.png": [], "dark.png": ["--dark"]}.items():
        command = [sys.executable, str(TOOL), str(tmp_path / "report.html"), str(tmp_path / name)]
        subprocess.run([*command, "--width", "600", *options], check=True)
    light, dark = ((tmp_path / name).read_bytes() for name in ("light.png", "dark.png"))
    assert light.startswith(b"\x89PNG")
    assert struct.unpack(">I", light[16:20]) == (1200,)
    assert light != dark
