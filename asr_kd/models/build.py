"""From a model's configuration to the model."""

from asr_kd.models.base import AcousticModel
from asr_kd.models.blstm import Blstm
from asr_kd.models.config import (
    AnyModelConfig,
    BlstmConfig,
    ConformerConfig,
    DnnConfig,
    ResnetConfig,
    SpecialistsConfig,
    TdnnConfig,
    VggConfig,
)
from asr_kd.models.conformer import Conformer
from asr_kd.models.dnn import Dnn
from asr_kd.models.resnet import Resnet
from asr_kd.models.specialists import Specialists
from asr_kd.models.tdnn import Tdnn
from asr_kd.models.vgg import Vgg


def build_model(config: AnyModelConfig, input_dim: int, num_labels: int) -> AcousticModel:
    """A freshly initialised model (from torch's global generator) for F inputs and V labels."""
    match config:
        case DnnConfig():
            return Dnn(config, input_dim, num_labels)
        case TdnnConfig():
            return Tdnn(config, input_dim, num_labels)
        case BlstmConfig():
            return Blstm(config, input_dim, num_labels)
        case ConformerConfig():
            return Conformer(config, input_dim, num_labels)
        case VggConfig():
            return Vgg(config, input_dim, num_labels)
        case ResnetConfig():
            return Resnet(config, input_dim, num_labels)
        case SpecialistsConfig():
            generalist = build_model(config.generalist, input_dim, num_labels)
            specialists = [
                build_model(m.model, input_dim, len(m.labels) + 1 if m.dustbin else num_labels)
                for m in config.members
            ]
            return Specialists(config, generalist, specialists, num_labels)
