import subprocess
import sys
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

from asr_kd.search.ngram import NgramModel

TOOL = Path(__file__).resolve().parents[2] / "tools" / "bench_graph.py"


def test_made_up_model_is_a_distribution(tmp_path: Path) -> None:
    words = [f"W{n}" for n in range(300)]
    write_arpa = run_path(str(TOOL))["write_arpa"]
    counts = write_arpa(tmp_path / "lm.arpa", words, 2000, 900, np.random.default_rng(0))
    model = NgramModel.read_arpa(tmp_path / "lm.arpa")
    assert counts == [302, 2000, 900]
    histories = [(), ("<s>",), *list(model.ngrams[1])[::50], *(g[:-1] for g in model.ngrams[2])]
    for history in histories[:60]:
        total = sum(10 ** model.log_prob(word, history) for word in [*words, "</s>"])
        assert total == pytest.approx(1.0, abs=1e-3), history
    assert all(g[1:] in model.ngrams[1] and g[:-1] in model.ngrams[1] for g in model.ngrams[2])


def test_bench() -> None:
    sizes = {"words": 50, "bigrams": 200, "trigrams": 80, "leaves": 600, "transcripts": 2}
    options = [f"--{name}={value}" for name, value in sizes.items()]
    done = subprocess.run(
        [sys.executable, str(TOOL), *options, "--context", "biphone"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "52 + 200 + 80 n-grams" in done.stdout
    assert "HCLG with self-loops" in done.stdout
    assert "µs" in done.stdout.splitlines()[-1]
