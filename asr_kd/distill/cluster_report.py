"""The clusters for a person to read: which phones and states fell together, and how it matters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr_kd.distill.clusters import Clusters


def report(
    clusters: Clusters,
    frames: NDArray[Any],
    errors: NDArray[np.int64] | None,
    generalist: str,
) -> tuple[str, dict[str, Any]]:
    """Markdown, and the figures in it.

    Args:
        clusters: of the V labels.
        frames: of each label (V,): counted in an alignment, or expected.
        errors: frames by label and most probable label (V,V), where there is an alignment.
        generalist: whose posteriors they are.

    Returns:
        The text; `sizes`, and with an alignment `errors`, `errors_inside` (share of all errors
        that stay inside a cluster) and `errors_inside_by_chance` (if they went to any label).
    """
    of_frames = "frames" if errors is not None else "frames (expected)"
    columns = ["cluster", "labels", of_frames, "share %"]
    info: dict[str, Any] = {"sizes": [len(members) for members in clusters.members]}
    lines = [f"# Labels that {generalist} confuses", ""]
    if errors is not None:
        columns += ["errors inside", "errors to outside"]
        info |= _shares(clusters, errors)
        lines += [
            f"Of {info['errors']} frame errors {100 * info['errors_inside']:.1f}% stay inside a "
            f"cluster; if they went to any label alike, "
            f"{100 * info['errors_inside_by_chance']:.1f}% would.",
            "",
        ]
    lines += [_row(columns), _row(["---:"] * len(columns))]
    for number, members in enumerate(clusters.members, start=1):
        chosen = list(members)
        count = float(frames[chosen].sum())
        cells = [number, len(members), round(count), f"{100 * count / frames.sum():.1f}"]
        if errors is not None:
            wrong = int(errors[chosen].sum() - errors.diagonal()[chosen].sum())
            inside = _inside(errors, chosen)
            cells += [inside, wrong - inside]
        lines.append(_row(cells))
    for number in range(1, len(clusters.members) + 1):
        lines += ["", f"**{number}** {by_phone(clusters.names(number))}"]
    return "\n".join(lines) + "\n", info


def by_phone(names: Sequence[str]) -> str:
    """`M_0 M_1 N_2` -> `M: 0 1 · N: 2`; names without a number stand for themselves."""
    phones: dict[str, list[str]] = {}
    for name in names:
        phone, underscore, state = name.rpartition("_")
        if underscore and phone and state.isdecimal():
            phones.setdefault(phone, []).append(state)
        else:
            phones.setdefault(name, [])
    return " · ".join(
        f"{phone}: {' '.join(states)}" if states else phone for phone, states in phones.items()
    )


def _shares(clusters: Clusters, errors: NDArray[np.int64]) -> dict[str, Any]:
    wrong = errors.sum(1) - errors.diagonal()
    total = max(int(wrong.sum()), 1)
    inside = sum(_inside(errors, list(members)) for members in clusters.members)
    others = len(errors) - 1
    by_chance = sum(
        float(wrong[list(members)].sum()) * (len(members) - 1) / others
        for members in clusters.members
    )
    return {
        "errors": int(wrong.sum()),
        "errors_inside": inside / total,
        "errors_inside_by_chance": by_chance / total,
    }


def _inside(errors: NDArray[np.int64], members: list[int]) -> int:
    """Errors between two labels of a cluster."""
    block = errors[np.ix_(members, members)]
    return int(block.sum() - block.trace())


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
