"""Scales tuned on dev data: a coarse grid, then finer ones around its best point.

Every process decodes its share of the dev utterances at all points of a round; the models run once
for each utterance of a round, whatever the number of points.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from asr_kd.config import config_dict
from asr_kd.decode.config import Grid, Scales
from asr_kd.decode.system import Setup, open_system
from asr_kd.io.atomic import write_text
from asr_kd.score.wer import count_errors, total
from asr_kd.shards import run_shards

Search = Callable[[int, Sequence[str]], Mapping[str, Any]]
_logger = logging.getLogger("asr_kd.decode")


def search_points(
    setup: Setup, ref: Mapping[str, Sequence[str]], points: Sequence[Scales], k: int,
    utt_ids: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Decodes some dev utterances at every point; one shard's work.

    Args:
        setup: what decodes.
        ref: utterance id → reference words, normalised.
        points: scales to try.
        k: number of the shard.
        utt_ids: its utterances.

    Returns:
        `points`: for each point, word errors and number of partial paths.
    """
    system = open_system(setup)
    tally = [[0, 0] for _ in points]
    for utt_id in utt_ids:
        scores = system.frame_scores(utt_id)
        for at, scales in zip(tally, points, strict=True):
            words, complete = system.search(utt_id, scores, scales)
            words = system.normaliser.rewrite(words)
            at[0] += total(count_errors({utt_id: ref[utt_id]}, {utt_id: words}).values()).errors
            at[1] += not complete
    return {"points": tally}


def tune(
    work: Path,
    grid: Grid,
    search: Callable[[Sequence[Scales]], Search],
    shards: Sequence[Sequence[str]],
    nj: int,
) -> dict[Scales, tuple[int, int]]:
    """Looks for the scales with the fewest word errors.

    Args:
        work: an artefact's work folder.
        grid: where to look.
        search: points → the function that decodes a shard at them (picklable).
        shards: dev utterances in shards.
        nj: local processes.

    Returns:
        Every point tried → (word errors, partial paths); `best` picks among them.

    Raises:
        FileNotFoundError: on another rank than 0, if rank 0 finished everything meanwhile.
    """
    tried: dict[Scales, tuple[int, int]] = {}
    axes = (grid.acoustic_scale, grid.prior_scale, grid.insertion_penalty)
    for number in range(1 + grid.rounds):
        points = [
            Scales(acoustic_scale=acoustic, prior_scale=prior, insertion_penalty=penalty)
            for penalty, prior, acoustic in product(*(sorted(set(axis)) for axis in axes[::-1]))
        ]
        points = [point for point in points if point not in tried]
        if not points:
            break
        folder = work / f"tune{number}"
        folder.mkdir(exist_ok=True)
        sizes = [len(shard) for shard in shards]
        facts = run_shards(folder, search(points), shards, nj, f"tune, round {number + 1}", sizes)
        counts = _agree(folder, facts)
        tried |= {point: (e, p) for point, (e, p) in zip(points, counts, strict=True)}
        centre = best(tried)
        axes = (
            refine(axes[0], centre.acoustic_scale, geometric=True),
            (centre.prior_scale,),
            refine(axes[2], centre.insertion_penalty, geometric=False),
        )
    return tried


def _agree(folder: Path, facts: Sequence[Mapping[str, Any]] | None) -> list[list[int]]:
    """Sums the shards' tallies on rank 0 and hands the sums to the other ranks by a file."""
    agreed = folder / "counts.json"
    if facts is not None:
        # (shards, points, 2) summed over the shards
        sums = np.sum([fact["points"] for fact in facts], axis=0)
        write_text(agreed, json.dumps(sums.tolist()))
    while not agreed.exists() and folder.exists():
        time.sleep(0.2)
    counts: list[list[int]] = json.loads(agreed.read_text(encoding="utf-8"))
    return counts


def refine(axis: Sequence[float], centre: float, geometric: bool) -> tuple[float, ...]:
    """The centre and the points half-way to its neighbours on the axis."""
    below = [value for value in axis if value < centre]
    above = [value for value in axis if value > centre]
    neighbours = ([max(below)] if below else []) + ([min(above)] if above else [])
    middle = [math.sqrt(n * centre) if geometric else (n + centre) / 2 for n in neighbours]
    return tuple(sorted([centre, *(float(f"{value:.4g}") for value in middle)]))


def best(tried: Mapping[Scales, tuple[int, int]]) -> Scales:
    """The point with the fewest errors.

    Ties go to fewer partial paths, then to the smaller penalty in absolute value, then to the
    smaller acoustic scale, so that the choice never depends on the order of the points.
    """
    return min(
        tried, key=lambda s: (*tried[s], abs(s.insertion_penalty), s.acoustic_scale, s.prior_scale)
    )


def warn_at_edge(grid: Grid, chosen: Scales) -> None:
    """Says where the best point lies at the edge of the grid: a wider one may hold a better."""
    for name in ("acoustic_scale", "insertion_penalty"):
        axis = getattr(grid, name)
        if len(axis) > 1 and getattr(chosen, name) in (min(axis), max(axis)):
            _logger.warning(
                "tuned %s = %g lies at the edge of the grid %s; widen grid.%s",
                name, getattr(chosen, name), list(axis), name,
            )  # fmt: skip


def grid_report(tried: Mapping[Scales, tuple[int, int]], words: int) -> list[dict[str, Any]]:
    """Every point tried, best first, JSON-able."""
    order = sorted(tried, key=lambda scales: (*tried[scales], scales.acoustic_scale))
    return [
        {**config_dict(s), "errors": tried[s][0], "words": words, "partial": tried[s][1]}
        for s in order
    ]
