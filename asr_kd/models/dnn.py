"""The paper's acoustic model: spliced frames through layers of ReLU (section 3)."""

from torch import Tensor, nn

from asr_kd.models.base import AcousticModel
from asr_kd.models.config import DnnConfig
from asr_kd.models.stages import Stage


class Dnn(AcousticModel):
    """Feed-forward network; all temporal context comes from the front end's splicing."""

    def __init__(self, config: DnnConfig, input_dim: int, num_labels: int) -> None:
        super().__init__(config, input_dim, num_labels)
        self.input_dropout = nn.Dropout(config.input_dropout)
        layers: list[nn.Module] = []
        width = self.frontend.output_dim
        for _ in range(config.num_layers):
            layers += [nn.Linear(width, config.width), nn.ReLU(), nn.Dropout(config.dropout)]
            width = config.width
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(width, num_labels)
        for module in self.layers:
            if isinstance(module, nn.Linear):  # keeps the variance through 8 layers of ReLU
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def encode(self, x: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """See `AcousticModel.encode`."""
        logits: Tensor = self.output(self.layers(self.input_dropout(x)))
        return logits

    def hidden_stages(self) -> list[Stage]:
        """See `AcousticModel.hidden_stages`."""
        return [Stage(self.layers)]
