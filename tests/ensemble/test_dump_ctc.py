"""CTC teachers of different architectures in one store, and utterances that have no frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asr_kd.artefact import read_manifest
from asr_kd.ensemble.codec import Keep
from asr_kd.ensemble.dump import Dump, dump_targets
from asr_kd.ensemble.store import TargetStore
from asr_kd.errors import InputError
from asr_kd.io.ark import Archive
from asr_kd.labels.ctc import collapse
from asr_kd.labels.label_set import LabelSet
from asr_kd.models.checkpoint import Checkpoint

CTC = LabelSet("ctc-char", ("<blank>", "a", "b", "c"))
KINDS = ("tdnn2", "blstm2", "conformer2", "chunked2")


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_architectures_are_averaged_frame_by_frame(
    make_features: Callable[..., Path], make_network: Callable[..., Path],
    utt_frames: dict[str, int], tmp_path: Path, mean: Any,
) -> None:  # fmt: skip
    data = make_features("data", 4)
    models = [make_network(kind, kind, 4, seed, CTC) for seed, kind in enumerate(KINDS)]
    shares = (3.0, 2.0, 2.0, 1.0)
    dump = Dump(tuple(map(str, models)), data, (1.0,), mean, shares, Keep(None), "cpu")
    dump_targets(dump, tmp_path / "out")
    store = TargetStore.open(tmp_path / "out", verify=True)
    assert store.header.frame_shift_ms == 20.0
    feats = Archive.read(data / "feats.scp")
    networks = [Checkpoint.load(folder).model for folder in models]
    kept, spoken = 0.0, 0.0
    for utt, frames in utt_frames.items():
        alone = torch.from_numpy(np.array(feats[utt]))[None]
        with torch.no_grad():
            each = [
                net(alone, torch.tensor([frames]))[0][0].double().softmax(1) for net in networks
            ]
        if mean == "arithmetic":
            expected = sum(w / 8 * post for w, post in zip(shares, each, strict=True))
        else:
            expected = torch.stack([post ** (w / 8) for w, post in zip(shares, each, strict=True)])
            expected = expected.prod(0) / expected.prod(0).sum(1, keepdim=True)
        assert expected.shape == (-(-frames // 2), 4)
        torch.testing.assert_close(
            store[utt].dense(4), expected, atol=1e-3, rtol=0, check_dtype=False
        )
        kept += len(collapse(expected.argmax(1).int().numpy()))
        spoken += sum(len(collapse(post.argmax(1).int().numpy())) for post in each) / 4
    assert read_manifest(tmp_path / "out").info["tokens_kept"] == pytest.approx(kept / spoken)
    assert kept != spoken


@pytest.mark.parametrize("kind", ["network", "archive"])
def test_an_empty_utterance_is_named(
    make_features: Callable[..., Path], make_network: Callable[..., Path],
    make_archive: Callable[..., str], make_posts: Callable[..., np.ndarray],
    utt_frames: dict[str, int], tmp_path: Path, kind: str,
) -> None:  # fmt: skip
    empty = list(utt_frames)[4]
    lengths = {**utt_frames, empty: 0}
    data = make_features("data", 4, lengths, counted=False)
    if kind == "network":
        teacher, said = str(make_network("model", "tdnn2", 4, labels=CTC)), "expected frames x"
    else:
        posts = {utt: make_posts(n, 0, 4) for utt, n in lengths.items()}
        teacher, said = make_archive("posts", posts, CTC), "an empty utterance: no frame of ark:"
    with pytest.raises(InputError, match=f"{empty}: {said}"):
        dump_targets(Dump((teacher,), data, device="cpu"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
