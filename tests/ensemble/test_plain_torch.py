from pathlib import Path

import torch
from torch import nn

from asr_kd.artefact import Artefact
from asr_kd.ensemble.codec import Keep, SparseCodec
from asr_kd.ensemble.store import Header, ShardWriter, TeacherId, write_header


def write_store(folder: Path, log_posts: dict[str, torch.Tensor], temperature: float) -> None:
    codec = SparseCodec(Keep(0.98, 6), 8)
    header = Header(
        temperature=temperature, mean="arithmetic", weights=(1.0,), label_set="0", num_labels=8,
        teachers=(TeacherId(name="t", digest="0"),), keep="mass=0.98,cap=6",
    )  # fmt: skip
    artefact = Artefact(folder, "dump-targets", {}, {})
    writer = ShardWriter(codec)
    for utt, log_post in log_posts.items():
        tempered = (log_post / temperature).log_softmax(1)
        writer.add(utt, len(log_post), codec.encode(tempered))
    write_header(artefact.begin(), header, [writer.write(artefact.work / "targets.0.bin")])
    artefact.publish()


def test_store_and_loss_outside_of_our_loop(tmp_path: Path) -> None:
    torch.manual_seed(0)
    feats = {f"utt{k}": torch.randn(50 + k, 5) for k in range(8)}
    teacher = nn.Linear(5, 8)
    nn.init.normal_(teacher.weight, std=2.0)
    path = tmp_path / "targets"
    write_store(path, {u: teacher(x).log_softmax(1).detach() for u, x in feats.items()}, 2.0)
    student = nn.Linear(5, 8)

    # The README shows these lines.
    from asr_kd.distill.loss import distillation_loss
    from asr_kd.ensemble.store import TargetStore

    store = TargetStore.open(path)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.05)
    for _epoch in range(150):
        for batch in (list(feats)[:4], list(feats)[4:]):
            logits = torch.cat([student(feats[utt]) for utt in batch])
            targets = store.batch(batch)  # the frames of all utterances, one after the other
            loss, frames = distillation_loss(
                logits, targets, pdf_ids=None, temperature=store.header.temperature
            )
            optimizer.zero_grad()
            (loss / frames).backward()
            optimizer.step()

    x = torch.cat(list(feats.values()))
    teaches, learned = teacher(x).softmax(1), student(x).log_softmax(1)
    kl = (teaches * (teaches.log() - learned)).sum(1).mean()
    assert float(kl.detach()) < 0.01
