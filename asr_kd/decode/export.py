"""The stage `export`: a trained network becomes an ONNX program with all that its use needs.

The folder can be used as any model is (`decode`, `evaluate`, `dump-targets`), and with a graph in
it by `transcribe`, which needs nothing else.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr_kd.artefact import Artefact, read_manifest
from asr_kd.config import config_dict, write_config
from asr_kd.decode.config import DecodeConfig, Scales, read_scales
from asr_kd.decode.transcribe import DECODE_YAML
from asr_kd.decode.unit_decoder import has_graph, is_ctc
from asr_kd.errors import AsrKdError, InputError
from asr_kd.io.atomic import write_text
from asr_kd.labels.label_set import LabelSet
from asr_kd.labels.units import SETTINGS, Units
from asr_kd.models.base import AcousticModel
from asr_kd.models.checkpoint import Checkpoint
from asr_kd.models.description import MODEL_YAML, Description
from asr_kd.models.multiply_adds import multiply_adds
from asr_kd.models.onnx_program import OnnxProgram
from asr_kd.models.specialists import Specialists
from asr_kd.models.trained_on import read_trained_on, write_trained_on
from asr_kd.search.open_graph import GRAPH_FILES, missing_files
from asr_kd.shards import rank_and_world

PROGRAM = "model.onnx"
TOLERANCE = 1e-4
"""Nats by which log-posteriors of program and network may differ on any frame."""

_OPSET = 17
_SHAPES = ((1, 1), (1, 2), (2, 9), (3, 50), (5, 33), (1, 400))  # utterances, frames
_logger = logging.getLogger("asr_kd.decode")


class LogPosts(nn.Module):
    """What is exported: (feats (B,T,F), lengths (B,)) -> log-posteriors (B,T',V)."""

    def __init__(self, model: AcousticModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """What stands on padded frames means nothing."""
        logits: Tensor = self.model(feats, lengths)[0]
        return logits.log_softmax(-1)


def export(
    model_dir: Path,
    out: Path,
    config: DecodeConfig,
    *,
    int8: bool = False,
    graph: Path | None = None,
    scales_from: Path | None = None,
) -> None:
    """Publishes model.onnx, model.yaml, labels.json, priors.json, and what decoding needs.

    Args:
        model_dir: checkpoint of one network.
        out: folder to publish.
        config: search and scales that `transcribe` will use; with `graph` only.
        int8: whether weights, and activations as they come, become 8-bit numbers.
        graph: output of `make-graph` or `make-ctc-graph` to put into the folder.
        scales_from: decode directory whose scales are taken, and its search too unless `config`
            says otherwise.

    Raises:
        InputError: for faults of the inputs, all together, before any work.
        AsrKdError: if the program does not compute what the network does, within `TOLERANCE`.
    """
    inputs = {"model": model_dir}
    inputs |= {"graph": graph} if graph is not None else {}
    inputs |= {"scales_from": scales_from} if scales_from is not None else {}
    search = _search(config, graph, scales_from)
    settings = {"int8": int8, "search": config_dict(search) if search is not None else None}
    artefact = Artefact(out, "export", settings, inputs)
    if artefact.is_done():
        return
    checkpoint = _checked(model_dir, graph)
    if rank_and_world()[0] != 0:
        return
    work = artefact.begin()
    difference = write_program(checkpoint.model, work / PROGRAM)
    if difference > TOLERANCE:
        raise AsrKdError(
            f"{model_dir}: log-posteriors of the exported program differ by {difference:.2g} nat, "
            f"more than {TOLERANCE:g}; it is not published"
        )
    facts = {"difference": difference}
    _logger.info("program and network differ by at most %.1g nat", difference)
    if int8:
        _quantise(work / PROGRAM)
        facts["int8_difference"] = largest_difference(checkpoint.model, work / PROGRAM)
        _logger.info("with 8-bit weights by at most %.2g nat", facts["int8_difference"])
    _describe(checkpoint, work)
    seen = read_trained_on(model_dir)
    if seen is not None:
        write_trained_on(work, seen)
    if graph is not None and search is not None:
        for name in GRAPH_FILES:
            shutil.copyfile(graph / name, work / name)
        if (graph / SETTINGS).is_file():  # where the graph is decoded with, they say what words are
            Units.read(graph).write(work)
        write_config(search, work / DECODE_YAML)
    artefact.publish({**facts, "bytes": (work / PROGRAM).stat().st_size})


def _search(
    config: DecodeConfig, graph: Path | None, scales_from: Path | None
) -> DecodeConfig | None:
    """Scales, beam and most active states that go into the folder."""
    if graph is None:
        if scales_from is not None or config.model_fields_set:
            raise InputError("scales and search are of use with a graph only: give --graph")
        return None
    if (scales_from is None) == (config.scales is None):
        raise InputError(
            "--graph wants the scales to decode with: --scales-from DECODE_DIR, or "
            "scales.acoustic_scale=... (one of both)"
        )
    if scales_from is None:
        return config.for_ctc() if is_ctc(graph) else config
    used = read_manifest(scales_from, "decode").config
    own = {key: getattr(config, key) for key in config.model_fields_set}
    taken = {key: used[key] for key in ("beam", "max_active")}
    return DecodeConfig(scales=read_scales(scales_from, Scales), **{**taken, **own})


def _checked(model_dir: Path, graph: Path | None) -> Checkpoint:
    faults: list[str] = []
    checkpoint = Checkpoint.load(model_dir)
    if isinstance(checkpoint.model, Specialists):
        faults.append(
            f"{model_dir}: a generalist with specialists asks other networks for other frames, "
            f"which no fixed program does; distil it into one network"
        )
    if graph is not None:
        faults += (
            missing_files(graph)
            if has_graph(graph)
            else [
                f"{graph}: units, no graph, which transcribe searches; for any words make one by "
                f"`asr-kd make-ctc-graph {graph} LM --out GRAPH open_vocabulary=true`, its LM by "
                f"`asr-kd train-lm --units {graph}`"
            ]
        )
        try:
            labels = LabelSet.load(graph / "labels.json")
            checkpoint.label_set.require_same(labels, str(model_dir), str(graph))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return checkpoint


def write_program(model: AcousticModel, path: Path) -> float:
    """Writes a network as an ONNX program of any numbers of utterances and frames.

    Returns:
        The largest difference of log-posteriors on valid frames; see `largest_difference`.
    """
    stride = getattr(model, "stride", 1)
    # Of a number of frames that leaves a rest, so that the program knows how to pad the last block.
    num_frames = 10 * stride * model.subsampling + 1
    feats = torch.zeros(2, num_frames, model.input_dim)
    lengths = torch.tensor([num_frames, num_frames - 3])
    with warnings.catch_warnings():
        # Tracing warns of each size that becomes a constant; the comparison tells which matter.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            LogPosts(model).eval(), (feats, lengths), str(path), dynamo=False,
            opset_version=_OPSET, input_names=["feats", "lengths"], output_names=["log_posts"],
            dynamic_axes={
                "feats": {0: "utterances", 1: "frames"}, "lengths": {0: "utterances"},
                "log_posts": {0: "utterances", 1: "frames"},
            },
        )  # fmt: skip
    return largest_difference(model, path)


@torch.no_grad()
def largest_difference(model: AcousticModel, path: Path) -> float:
    """The largest difference (nats) of log-posteriors of a program and of its network.

    On utterances of several numbers and lengths, padded, of random features that are distributed as
    the training data's.
    """
    program = OnnxProgram(path, takes_lengths=True)
    generator = torch.Generator().manual_seed(0)
    mean, std = (x[: model.input_dim] for x in (model.frontend.mean, model.frontend.std))
    worst = 0.0
    for num_utts, num_frames in _SHAPES:
        noise = torch.randn(num_utts, num_frames, model.input_dim, generator=generator)
        feats = mean + std * noise
        lengths = torch.tensor([max(1, num_frames - 4 * k) for k in range(num_utts)])
        wanted = LogPosts(model)(feats, lengths)
        found = torch.from_numpy(np.array(program(feats.numpy(), lengths.numpy())))
        for row, (ours, theirs) in enumerate(zip(wanted, found, strict=True)):
            valid = -(-int(lengths[row]) // model.subsampling)
            worst = max(worst, float((ours[:valid] - theirs[:valid]).abs().max()))
    return worst


def _quantise(path: Path) -> None:
    """Weights of a program become 8-bit numbers; activations are scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    folded = path.with_suffix(".folded")
    # Weights of convolutions are turned round in the program: only folded are they constants.
    quant_pre_process(str(path), str(folded), skip_symbolic_shape=True)
    logging.disable(logging.INFO)  # the library tells every tensor to the root logger
    try:
        # Unsigned: ONNX Runtime's integer convolutions are slower on signed weights.
        quantize_dynamic(str(folded), str(path), weight_type=QuantType.QUInt8)
    finally:
        logging.disable(logging.NOTSET)
    folded.unlink()


def _describe(checkpoint: Checkpoint, work: Path) -> None:
    checkpoint.label_set.save(work / "labels.json")
    priors: Sequence[float] = [float(p) for p in checkpoint.log_prior]
    write_text(work / "priors.json", json.dumps(priors) + "\n")
    description = Description(
        source=PROGRAM,
        labels="labels.json",
        features=checkpoint.spec,
        cmvn=checkpoint.cmvn,
        takes_lengths=True,
        priors="priors.json",
        subsampling=checkpoint.model.subsampling,
        repeat=checkpoint.model.subsampling == 1,
        num_params=checkpoint.model.num_params,
        multiply_adds=multiply_adds(checkpoint.model),
        latency_ms=None if checkpoint.latency is None else checkpoint.latency.ms,
    )
    write_config(description, work / MODEL_YAML)
