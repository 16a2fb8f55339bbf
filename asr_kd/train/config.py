"""Configuration of training: what is trained, on what mixture of targets, for how long."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from asr_kd.config import Config
from asr_kd.models.checkpoint import CmvnMode
from asr_kd.models.config import ModelConfig, TdnnConfig

Chance = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Precision = Literal["32-true", "bf16-mixed"]


class SpeedConfig(Config):
    """Interpolation along time by a factor drawn from [low, high]; labels go along."""

    prob: Chance = 0.0
    low: Positive = 0.9
    high: Positive = 1.1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} exceeds high {self.high}")
        return self

    @property
    def fastest(self) -> float:
        """The largest factor that can be drawn; 1 where no sound gets faster."""
        return max(self.high, 1.0) if self.prob else 1.0


class WarpConfig(Config):
    """Another vocal tract: the frequency axis stretched by a factor drawn from [low, high].

    `domain` says what the dimensions are: cepstra, or mel channels from `low_freq` to `high_freq`
    in Hz (of cepstra: the channels that they were computed from, `num_mel` of them).
    """

    prob: Chance = 0.0
    low: Positive = 0.88
    high: Positive = 1.12
    domain: Literal["cepstrum", "mel"] = "cepstrum"
    num_mel: int = Field(default=40, ge=2)
    low_freq: Positive = 130.0
    high_freq: Positive = 6800.0


class ChannelConfig(Config):
    """Another gain and offset for each dimension, one draw an utterance.

    Log-normal gain around the training mean, normal offset; both in standard deviations.
    """

    prob: Chance = 0.0
    gain: float = Field(default=0.1, ge=0.0)
    offset: float = Field(default=0.1, ge=0.0)


class NoiseConfig(Config):
    """Gaussian noise on every frame; its level is drawn from [0, level] standard deviations."""

    prob: Chance = 0.0
    level: float = Field(default=0.3, ge=0.0)


class MixConfig(Config):
    """The convex mix `λ·x + (1−λ)·x'` with another training utterance, λ from [low, 1]."""

    prob: Chance = 0.0
    low: float = Field(default=0.5, ge=0.0, le=1.0)


class MaskConfig(Config):
    """Stretches of time and bands of dimensions set to the training mean (as SpecAugment).

    Up to `num_time` stretches of up to `time_width` frames; `num_dims` bands of `dims_width`.
    """

    prob: Chance = 0.0
    num_time: int = Field(default=2, ge=0)
    time_width: int = Field(default=8, ge=1)
    num_dims: int = Field(default=1, ge=0)
    dims_width: int = Field(default=2, ge=1)


class ShiftConfig(Config):
    """Frames that are images of `height` × `width` pixels (row by row), each moved by itself.

    By up to `pixels` in both directions; zeros come in at the edges.
    """

    prob: Chance = 0.0
    pixels: int = Field(default=2, ge=1)
    height: int = Field(default=28, ge=1)
    width: int = Field(default=28, ge=1)


class AugmentConfig(Config):
    """Perturbations of the features; each utterance draws each with its probability."""

    speed: SpeedConfig = SpeedConfig()
    warp: WarpConfig = WarpConfig()
    channel: ChannelConfig = ChannelConfig()
    noise: NoiseConfig = NoiseConfig()
    mix: MixConfig = MixConfig()
    mask: MaskConfig = MaskConfig()
    shift: ShiftConfig = ShiftConfig()


class FramesConfig(Config):
    """Which frames the loss counts, by patterns on their labels such as `IY_*`.

    It counts those of the labels in `only` (empty: of all), without those in `exclude`; the others
    are still context.
    """

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class InitConfig(Config):
    """Which layers of `--init` a model starts from.

    `all` of them, the `first` ones, `every` `step`-th, or those of a table: own layer → other's.
    """

    layers: Literal["all", "first", "every"] | dict[str, str] = "all"
    step: int = Field(default=2, ge=1)


class SpecialistConfig(Config):
    """How a specialist is trained (paper, section 5).

    `special_share` of the frames that count are of its own labels; `rest` is what it knows of the
    others: one `dustbin` label, or all of them by the generalist's `soft` targets.
    """

    special_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    rest: Literal["dustbin", "soft"] = "dustbin"


class EssenceConfig(Config):
    """Which part of a soft target is used: the largest entries up to `mass`, none below `floor`.

    The `rest` is one `bucket`, or nothing: the part is `renormalise`d.
    """

    mass: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    floor: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    rest: Literal["bucket", "renormalise"] = "bucket"


class HintConfig(Config):
    """A layer of the student that learns to give what a layer of an on-line teacher gives.

    `of` counts the teachers from 1. By `schedule` the weight stays, or falls to 0 at the end.
    """

    student: str
    teacher: str
    of: int = Field(default=1, ge=1)
    weight: Positive = 1.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"


class DistillConfig(Config):
    """`soft_weight·temperature²·CE_soft + hard_weight·CE_hard` (paper, section 2), and hints.

    Needs targets or teachers. With `loss` of `logits` the soft part is the squared difference of
    the logits, the limit of high temperatures (section 2.1).
    `teachers_per_batch` draws that many of the on-line teachers for each batch;
    `teacher_precision` of bf16-mixed runs them faster on a CPU that knows bfloat16.
    """

    temperature: Positive = 1.0
    soft_weight: float = Field(default=1.0, ge=0.0)
    hard_weight: float = Field(default=0.5, ge=0.0)
    loss: Literal["cross-entropy", "logits"] = "cross-entropy"
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    weights: tuple[Positive, ...] | None = None
    teacher_precision: Precision = "32-true"
    teachers_per_batch: int | None = Field(default=None, ge=1)
    essence: EssenceConfig = EssenceConfig()
    hints: tuple[HintConfig, ...] = ()


class CtcConfig(Config):
    """`weight·CTC + frame_weight·CE + guide_weight·guide`, the loss of token sequences.

    CE is the cross-entropy with an alignment at the rate of the model's frames, the guide's part
    that of Kurata & Audhkhasi (2019), where there is one. A student has all this in the place of
    the hard labels. The dev set's `criterion` chooses the checkpoint that is kept, and its loss
    of CTC among equal ones.
    """

    weight: float = Field(default=1.0, ge=0.0)
    frame_weight: float = Field(default=0.0, ge=0.0)
    guide_weight: Positive = 1.0
    criterion: Literal["token-error-rate", "ctc-loss"] = "token-error-rate"


class NbestConfig(Config):
    """`weight·(−Σ_i w_i·log p(y_i|x))` on teachers' lists, beside the losses of `CtcConfig`.

    `w_i ∝ p(y_i)^scale` by the teachers, over the list: with a `scale` below 1 they are more even.
    """

    weight: Positive = 1.0
    scale: Positive = 1.0


class MmiConfig(Config):
    """`weight·MMI` beside the other losses, against all paths of `--graph`.

    The scales are those of decoding; by `tolerance` frames the right path may differ from the
    alignment. It must be below half of the shortest words, which a path could leave out otherwise.
    """

    weight: float = Field(default=0.0, ge=0.0)
    acoustic_scale: Positive = 0.2
    prior_scale: float = Field(default=1.0, ge=0.0)
    tolerance: int = Field(default=2, ge=0)


class TrainConfig(Config):
    """Everything that the verb `train` can be told; `distill` matters to students only, `ctc` to
    token sequences, `mmi` with a graph.

    One epoch sees every utterance once, in batches of at most `max_frames` frames (padding
    included) over all processes together. The learning rate rises over `warmup_steps`, then falls
    to 0 at the end of the last epoch. With a `muon_learning_rate` above 0 the matrices of the
    hidden layers are trained by Muon at that rate, all else by AdamW. A `max_weight_norm` above 0
    keeps the L2 norm of each unit's incoming weights at or below it.
    """

    model: ModelConfig = TdnnConfig()
    cmvn: CmvnMode = "global"
    seed: int = Field(default=0, ge=0)
    epochs: int = Field(default=20, ge=1)
    max_frames: int = Field(default=4000, ge=1)
    learning_rate: Positive = 0.003
    muon_learning_rate: float = Field(default=0.0, ge=0.0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    max_grad_norm: Positive = 5.0
    max_weight_norm: float = Field(default=0.0, ge=0.0)
    ema_decay: float = Field(default=0.0, ge=0.0, lt=1.0)
    augment: AugmentConfig = AugmentConfig()
    frames: FramesConfig = FramesConfig()
    init: InitConfig = InitConfig()
    specialist: SpecialistConfig = SpecialistConfig()
    ctc: CtcConfig = CtcConfig()
    nbest: NbestConfig = NbestConfig()
    mmi: MmiConfig = MmiConfig()
    distill: DistillConfig = DistillConfig()
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "32-true"
    save_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=50, ge=1)

    @model_serializer(mode="wrap")
    def _younger_only_if_set(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # What was trained before there was CTC or MMI stays up to date.
        values: dict[str, Any] = handler(self)
        if self.ctc == CtcConfig():
            del values["ctc"]
        if self.nbest == NbestConfig():
            del values["nbest"]
        if self.mmi == MmiConfig():
            del values["mmi"]
        return values
