"""What `inspect-targets` shows of a store."""

from pathlib import Path

from asr_kd.artefact import read_manifest
from asr_kd.ensemble.dump import VERB
from asr_kd.ensemble.store import TargetStore


def describe(path: Path) -> dict[str, str]:
    """Header and measurements of a store, after a check of all its checksums.

    Raises:
        InputError: if it is no store, or naming every shard that is corrupt.
    """
    store = TargetStore.open(path, verify=True)
    header = store.header
    info = read_manifest(path, VERB).info
    shift = header.frame_shift_ms
    seconds = f", {info['frames'] * shift / 3.6e6:.2f} h" if shift else ""
    rows = {
        "temperature": f"{header.temperature:g}",
        "mean": f"{header.mean} of {len(header.teachers)}"
        + (", cross-fitted" if header.cross_fit else ""),
    }
    for number, (teacher, weight) in enumerate(
        zip(header.teachers, header.weights, strict=True), start=1
    ):
        rows[f"teacher {number}"] = (
            f"{teacher.name} ({teacher.digest[:12]}), weight {weight:.4g}"
            + (f", {teacher.unnormalised} of scores" if teacher.unnormalised else "")
        )
    rows |= {
        "label set": f"{header.num_labels} labels ({header.label_set[:12]})",
        "kept": header.keep,
        "utterances": f"{len(store):,}",
        "frames": f"{info['frames']:,}{seconds}",
        "shards": f"{len(header.shards)}, {store.num_bytes / 1e6:,.1f} MB, checksums agree",
    }
    return rows | {
        label: form.format(info[key]) for key, (label, form) in _MEASURED.items() if key in info
    }


_MEASURED: dict[str, tuple[str, str]] = {
    "bytes_per_frame": ("bytes per frame", "{:.2f}"),
    "entries_per_frame": ("entries per frame", "{:.2f}"),
    "kl_mean": ("KL(dense ‖ kept), mean", "{:.5f} nat"),
    "kl_p99": ("KL(dense ‖ kept), p99", "{:.5f} nat"),
    "left_over_mass": ("left-over mass", "{:.5f}"),
    "entropy": ("entropy", "{:.4f} nat"),
    "top_probability": ("top probability", "{:.4f}"),
    "teacher_agreement": ("teachers agree (argmax)", "{:.2%}"),
    "kl_teachers_to_mean": ("KL(teacher ‖ mean)", "{:.4f} nat"),
    "blank_share": ("blank the most probable label", "{:.2%}"),
    "teacher_blank_share": ("of the mean teacher", "{:.2%}"),
    "spike_disagreement": ("teachers' spikes where the mean says another label", "{:.2%}"),
    "spikes_lost": ("where it says blank", "{:.2%}"),
    "tokens_kept": ("tokens of the mean for one of a teacher", "{:.3f}"),
}
