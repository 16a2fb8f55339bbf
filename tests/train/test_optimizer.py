import pytest
import torch

from asr_kd.models.build import build_model
from asr_kd.models.config import BlstmConfig, DnnConfig, FrontendConfig, TdnnConfig
from asr_kd.train.config import TrainConfig
from asr_kd.train.optimizer import limit_weight_norms, make_optimizers, rate_factor
from asr_kd.train.student import Student


def test_warm_up_then_decay_to_zero() -> None:
    config = TrainConfig(warmup_steps=10, schedule="linear")
    assert rate_factor(config, 0, 0.0) == pytest.approx(0.1)
    assert rate_factor(config, 9, 0.25) == pytest.approx(0.75)
    assert rate_factor(config, 99, 1.0) == 0.0
    cosine = TrainConfig(warmup_steps=0, schedule="cosine")
    assert rate_factor(cosine, 0, 0.0) == 1.0
    assert rate_factor(cosine, 9, 0.5) == pytest.approx(0.5)
    assert rate_factor(cosine, 9, 1.0) == pytest.approx(0.0)
    assert rate_factor(TrainConfig(warmup_steps=0, schedule="constant"), 5, 0.9) == 1.0


@pytest.mark.parametrize("model", [DnnConfig(num_layers=2, width=8), TdnnConfig(), BlstmConfig()])
def test_muon_takes_hidden_matrices_and_every_parameter_is_trained_once(model: object) -> None:
    network = build_model(model, 4, 6)  # type: ignore[arg-type]
    student = Student(network, ["output"], [torch.nn.Linear(6, 9)])
    adamw, muon = make_optimizers(student, TrainConfig(muon_learning_rate=0.01))
    groups = [[p for g in o.param_groups for p in g["params"]] for o in (adamw, muon)]
    assert all(p.ndim == 2 for p in groups[1])
    for last in (network.get_parameter("output.weight"), student.projections[0].weight):
        assert any(p is last for p in groups[0])
    assert len(groups[1]) >= 2
    together = {id(p) for group in groups for p in group}
    assert together == {id(p) for p in student.parameters()}
    assert sum(map(len, groups)) == len(together)
    (only,) = make_optimizers(student, TrainConfig())
    assert isinstance(only, torch.optim.AdamW)


def test_the_norm_of_a_units_incoming_weights_is_limited() -> None:
    network = build_model(DnnConfig(num_layers=1, width=3, frontend=FrontendConfig()), 2, 2)
    weight = network.get_parameter("layers.0.weight")
    weight.data = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, -2.0]])
    limit_weight_norms(network, 1.0)
    torch.testing.assert_close(weight.data, torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, -1.0]]))
