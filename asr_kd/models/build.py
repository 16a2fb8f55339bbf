"""From a model's configuration to the model."""

from asr_kd.models.base import AcousticModel
from asr_kd.models.blstm import Blstm
from asr_kd.models.config import BlstmConfig, DnnConfig, TdnnConfig
from asr_kd.models.dnn import Dnn
from asr_kd.models.tdnn import Tdnn


def build_model(
    config: DnnConfig | TdnnConfig | BlstmConfig, input_dim: int, num_labels: int
) -> AcousticModel:
    """A freshly initialised model (from torch's global generator) for F inputs and V labels."""
    match config:
        case DnnConfig():
            return Dnn(config, input_dim, num_labels)
        case TdnnConfig():
            return Tdnn(config, input_dim, num_labels)
        case BlstmConfig():
            return Blstm(config, input_dim, num_labels)
