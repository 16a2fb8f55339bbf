"""How much a model computes: multiply-adds of its matrix products and convolutions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import ConformerConfig
from asr_kd.models.specialists import Specialists

_OPERATIONS = 2  # torch counts a multiply-add as two
_ATTENTIVE_FRAMES = 1000  # attention costs a frame the more, the longer the utterance is


@torch.no_grad()
def multiply_adds(model: AcousticModel) -> float:
    """Multiply-adds for one frame of features, counted as the model runs.

    Deltas count, as does what a convolution does on zeros beyond the edges; biases, activations,
    norms, splicing and the softmax do not. A generalist and its specialists count as if every
    specialist were asked on every frame, which is the most that they may do. Attention counts in
    an utterance of about 1,000 frames, and as it is computed: of all frames with one another, those
    of other chunks too.
    """
    if isinstance(model, Specialists):
        parts = [model.generalist, *model.specialists]
        return sum(multiply_adds(part) for part in parts if isinstance(part, AcousticModel))
    # What a model does grows with its blocks of frames: the count of one block is exact.
    num_frames = getattr(model.config, "stride", 1) * model.subsampling
    if isinstance(model.config, ConformerConfig):
        num_frames *= -(-_ATTENTIVE_FRAMES // num_frames)
    weight = model.output.weight
    feats = weight.new_zeros(1, num_frames, model.input_dim)
    counter = _Counter()
    hooks = []
    for module in model.modules():
        if isinstance(module, nn.LSTM):
            hooks.append(module.register_forward_pre_hook(counter.before_lstm))
            hooks.append(module.register_forward_hook(counter.after_lstm))
    was_training = model.training
    model.eval()
    try:
        with counter, sdpa_kernel(SDPBackend.MATH):  # as products that can be seen
            model(feats, torch.tensor([num_frames], device=weight.device))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return counter.total / num_frames


class _Counter(TorchDispatchMode):
    """Sums torch's own formulas for every product that is computed, and ours for the LSTM.

    `FlopCounterMode` does the same, but knows no LSTM of a library's (oneDNN's, cuDNN's), and loads
    torch's compiler first: seconds in every process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0.0
        self._in_lstm = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here; saying so saves loading the compiler

    def __torch_dispatch__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs an operation, and adds what it costs."""
        out = func(*args, **(kwargs or {}))
        formula: Callable[..., int] | None = flop_registry.get(func.overloadpacket)
        if formula is not None and not self._in_lstm:
            self.total += formula(*args, **(kwargs or {}), out_val=out) / _OPERATIONS
        return out

    def before_lstm(self, module: nn.Module, args: object) -> None:
        """Leaves the products to `after_lstm`, whichever library computes them."""
        self._in_lstm = True

    def after_lstm(self, module: nn.Module, args: object, out: tuple[Tensor, object]) -> None:
        """Each matrix of the layer is used once a frame."""
        self._in_lstm = False
        frames = out[0].shape[0] * out[0].shape[1]
        self.total += frames * sum(p.numel() for p in module.parameters() if p.ndim == 2)
