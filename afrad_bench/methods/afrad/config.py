"""The configuration of AFRAD: one field for every choice that the paper makes or leaves open.

A default is the value of the reading `tuned`; another `reading` replaces the values that `readings` lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.weights import BackboneConfig, FinestFirst
from afrad_bench.methods.afrad import own_decoders
from afrad_bench.methods.afrad.readings import Reading, values_of
from afrad_bench.methods.fields import EvalBatch
from afrad_bench.methods.training_step import Step, step_field


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Features(_Part):
    """The features F_ori that are reconstructed."""

    reductions: FinestFirst = Field(
        (4, 8, 16, 32),
        min_length=1,
        description="Backbone stages by reduction. 4,8,16,32 is clearly better in measurements "
        "(docs/afrad_defaults.md). The other reading is 2,4,8,16 as in UniAD, whose setup the paper follows (272 "
        "channels on EfficientNet-B4).",
    )
    grid: Literal[4, 8, 16, 32] = Field(
        16,
        description="Resolution of F_ori as a reduction of the image: 16 (UniAD's token map), 8 or 4 (finer). 8 is "
        "better on some data and worse on others, and training takes six times as long (docs/afrad_defaults.md).",
    )
    resize: Literal["bilinear", "aligned", "area"] = Field(
        "bilinear",
        description="How each stage is resized to the grid. bilinear: as in the paper. aligned: bilinear with aligned "
        "corners (UniAD). area: averaging where the grid is coarser.",
    )
    scale: Literal["raw", "standardised"] = Field(
        "standardised",
        description="raw: unchanged features. standardised: each channel is standardised with its mean and standard "
        "deviation on the training set, so that shallow channels with large values do not dominate loss and score.",
    )


class Pyramid(_Part):
    """M-FPN, eq. 1-2."""

    topology: Literal["cascade", "parallel"] = Field(
        "cascade", description="cascade: S_1 = F_ori, S_(i+1) = S'_i; parallel: every patch embedding on F_ori."
    )
    widths: tuple[int, ...] = Field(
        (128, 128, 128, 128),
        description="Channels d_i of each stage. Twice the 64 of earlier versions measured better on all data at hand, "
        "for twice the training (docs/afrad_defaults.md).",
    )
    kernels: tuple[int, ...] = Field((7, 3, 3, 3), description="Kernel of each patch embedding PE_i (odd).")
    strides: tuple[int, ...] = Field((1, 2, 2, 2), description="Stride of each patch embedding PE_i.")
    embedding: Literal["full", "separable"] = Field(
        "separable",
        description="separable: PE_i is a depth-wise convolution followed by a 1x1 convolution. full: PE_i is one full "
        "convolution, which takes four times as long and is not more accurate (docs/afrad_defaults.md).",
    )

    @model_validator(mode="after")
    def _fits(self) -> Pyramid:
        if not len(self.widths) == len(self.kernels) == len(self.strides) >= 1:
            raise ValueError(
                f"widths, kernels and strides must name the same stages, but have {len(self.widths)}, "
                f"{len(self.kernels)} and {len(self.strides)} entries"
            )
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.kernels):
            raise ValueError(f"kernels must be odd, but got {list(self.kernels)}")
        if any(value < 1 for value in (*self.widths, *self.strides)):
            raise ValueError("widths and strides must be positive")
        return self


class Refinement(_Part):
    """The feature refinement module Φ, section 3.1."""

    enabled: bool = Field(True, description="False replaces every application of Φ by one linear layer (Table 7).")
    depth: int = Field(1, ge=1, description="How often eq. 2 is applied in each stage of the M-FPN.")
    expansion: float = Field(2.0, gt=0, description="Hidden width of the MLP divided by its input width.")
    token_mixing: bool = Field(False, description="Also mix the tokens of a stage by an MLP over positions.")


class StageAdaptive(_Part):
    """Stage-adaptive decoder, eq. 3-6."""

    stages: tuple[int, ...] = Field((1, 2, 3, 4), min_length=1, description="M-FPN stages that it decodes (Table 6).")
    repeats: tuple[int, ...] = Field(
        (1, 2, 3, 4),
        description="How often Φ is applied at stage 1, 2, 3, 4: more often at lower resolution (section 3.3).",
    )
    skip: bool = Field(
        True,
        description="Skip connection around each of these Φ, as in eq. 2 and as Fig. 2 draws the module. false: "
        "Ŝ = MLP(S'), as eq. 3 prints it.",
    )


class FocusedLocal(_Part):
    """Focused local decoder, eq. 7-10."""

    stages: tuple[int, ...] = Field((1, 2), min_length=1, description="M-FPN stages that it decodes (Table 6).")
    kernels: tuple[int, ...] = Field((5, 7), min_length=1, description="Kernels p of the depth-wise convolutions.")
    activation: bool = Field(
        True, description="Batch norm and GELU around the depth-wise convolution (as in SegNeXt), or convolutions only."
    )


class Compensation(_Part):
    """Compensation decoder, section 3.5."""

    stages: tuple[int, ...] = Field((1, 2), min_length=1, description="M-FPN stages that it decodes (Table 6).")


Weigh = Literal["channels", "root", "stages"]


class Score(_Part):
    """From the reconstruction error to a score per pixel and per image, section 3.7."""

    weigh: Weigh = Field(
        "stages",
        description="Weights in the sum of eq. 14 for the pixel map. channels: every channel of F_ori weighs the same. "
        "stages: every backbone stage weighs the same, as in the loss per scale, so that the many channels of the "
        "deepest stage do not dominate. root: between them, a stage weighs the square root of its channel count.",
    )
    weigh_image: Weigh = Field(
        "root",
        description="The same weights for the image score. channels favours the deepest stage, which has most "
        "channels: better on some data, worse on others. root is near the best on all (docs/afrad_defaults.md).",
    )
    relative: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Exponent q that makes the errors of the pixel map relative: each stage's squared error is divided "
        "by (0.1 + m)^q, where m is the mean square of the stage's features at that token. This is eq. 14 on features "
        "scaled per token; 0: as printed. Tokens with large features are harder to reconstruct, in normal images too, "
        "and get more jitter.",
    )
    relative_image: float = Field(
        0.5,
        ge=0,
        le=1,
        description="The same exponent for the image score. Whether an image is defective wants errors that are more "
        "relative than where the defect is (docs/afrad_defaults.md).",
    )
    pool: int = Field(
        16, ge=1, description="Side of the average pooling (stride 1) before the maximum (UniAD's); 1: none."
    )
    on: Literal["upsampled", "map"] = Field(
        "upsampled", description="Pool the upsampled map at image size (UniAD), or the error map on the grid."
    )
    reduce: Literal["max", "mean"] = Field("max", description="Maximum (paper), or mean (UniAD on CIFAR-10).")


class Training(_Part):
    """Optimisation (section 4.2); values that the paper does not state are UniAD's."""

    epochs: int = Field(1000, ge=0, description="1000 for MVTec-AD and VisA, 200 for CIFAR-10 in the paper.")
    batch_size: int = Field(8, ge=1, description="Images per step (UniAD's).")
    lr: float = Field(1e-4, gt=0, description="Learning rate of AdamW (paper).")
    weight_decay: float = Field(1e-4, ge=0, description="Weight decay of AdamW (UniAD's).")
    schedule: Literal["step", "cosine", "constant"] = Field(
        "step",
        description="step: the rate is divided by 10 for the last fifth of the epochs (UniAD's); cosine; constant.",
    )
    clip: float | None = Field(0.1, gt=0, description="Maximum gradient norm (UniAD's); null: no clipping.")
    jitter: float = Field(
        20.0,
        ge=0,
        description="Scale α of UniAD's feature jitter in training (20 there): noise with standard deviation α·|f|/C; "
        "0: none. Without it the network learns to copy its input, including anomalies. 40 is better on some data, "
        "worse on others (docs/afrad_defaults.md).",
    )
    mask: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="Share of the tokens that are set to zero, the mean of standardised features, in training, beside "
        "the jitter; 0: none. They must be reconstructed from the tokens around them, which is better on all data at "
        "hand (docs/afrad_defaults.md).",
    )
    loss: Literal["per_scale", "joint"] = Field(
        "per_scale", description="Sum of one MSE per backbone stage (paper 4.2), or one MSE over all channels (joint)."
    )
    step: Step = step_field()


def _beneath(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, with `values` for all that was not; parts that are models are taken with the fields they set."""
    out = dict(given)
    for name, value in values.items():
        if not isinstance(value, Mapping):
            out.setdefault(name, value)
            continue
        part = out.get(name, {})
        part = part.model_dump(exclude_unset=True) if isinstance(part, BaseModel) else part
        out[name] = _beneath(value, part) if isinstance(part, Mapping) else part
    return out


def _left_out(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of younger fields that a whole configuration, as results are stored with, does not have, because they
    changed nothing or were not yet fields: `training.mask` was 0, `score.relative_image` was `score.relative`."""
    training, score = given.get("training"), given.get("score")
    if not (Config.model_fields.keys() - {"reading"} <= given.keys()):
        return {}
    values: dict[str, Any] = {}
    if isinstance(training, Mapping):
        missing = Training.model_fields.keys() - training.keys()
        if "mask" in missing and missing <= {"mask", "step"}:  # a step that is eager is not written down
            values["training"] = {"mask": 0.0}
    if isinstance(score, Mapping) and Score.model_fields.keys() - score.keys() == {"relative_image"}:
        values["score"] = {"relative_image": score["relative"]}
    return values


def _names_decoders(schema: dict[str, Any]) -> None:
    schema["items"]["enum"] = own_decoders.offered()


class Config(_Part):
    """AFRAD with the paper's defaults where it states them."""

    reading: Reading = Field(
        "tuned",
        description="Which values the fields have that are not given. printed: what the paper prints, the plainest "
        "value where it is silent. faithful: every printed sentence and equation kept; where it is silent, what "
        "measurement showed. tuned: free of the text.",
    )
    backbone: BackboneConfig = Field(BackboneConfig(), description="Frozen backbone and where its weights come from.")
    features: Features = Field(Features(), description="What is reconstructed (section 3).")
    mfpn: Pyramid = Field(Pyramid(), description="M-FPN (eq. 1-2).")
    frm: Refinement = Field(Refinement(), description="Feature refinement module (section 3.1, Table 7).")
    decoders: tuple[str, ...] = Field(
        own_decoders.BUILT_IN,
        min_length=1,
        description="Decoders that are used (Table 5): stage_adaptive, focused_local, compensation, and those of "
        "installed packages (CONTRIBUTING.md).",
        json_schema_extra=_names_decoders,
    )
    sad: StageAdaptive = Field(StageAdaptive(), description="Stage-adaptive decoder (eq. 3-6).")
    fld: FocusedLocal = Field(FocusedLocal(), description="Focused local decoder (eq. 7-10).")
    cd: Compensation = Field(Compensation(), description="Compensation decoder (section 3.5).")
    width: int = Field(128, ge=1, description="Channels of each decoder's output.")
    ngib: bool = Field(
        True, description="Integrate the decoders with the NGIB (eq. 11-13), or with `fusion` (Table 5)."
    )
    ngib_skip: bool = Field(
        True,
        description="Skip connection around the MLP of eq. 12, as for Φ in eq. 2: the paper calls it similar to the "
        "stage-adaptive decoder's (section 3.6). false: no skip, as eq. 12 prints it; trains more slowly and detects "
        "defective images less well, but localises defects better on some data (docs/afrad_defaults.md).",
    )
    fusion: Literal["sum", "concat"] = Field(
        "sum", description="Without NGIB: sum or concatenation of the decoders' outputs, then one linear layer."
    )
    score: Score = Field(Score(), description="From the error map to a score per image (section 3.7).")
    training: Training = Field(Training(), description="Optimisation (section 4.2).")
    eval_batch: EvalBatch = 16

    @model_validator(mode="before")
    @classmethod
    def _as_read(cls, given: Any) -> Any:
        """Fill what is not given with the values of the reading."""
        if not isinstance(given, Mapping):
            return given
        return _beneath(values_of(given.get("reading", "tuned")), _beneath(_left_out(given), given))

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the fields that came with the readings where they change nothing, so that the id of a cell is the
        same as before, and its earlier results are found and called stale."""
        data: dict[str, Any] = handler(self)
        if self.reading == "tuned":
            data.pop("reading", None)
            if self.sad.skip and isinstance(data.get("sad"), dict):
                data["sad"].pop("skip", None)
        if not self.training.mask and isinstance(data.get("training"), dict):
            data["training"].pop("mask", None)  # `_left_out` reads it as 0 again
        if self.score.relative_image == self.score.relative and isinstance(data.get("score"), dict):
            data["score"].pop("relative_image", None)  # likewise
        return data

    @field_validator("decoders")
    @classmethod
    def _are_offered(cls, decoders: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if isinstance(pyramid := info.data.get("mfpn"), Pyramid):
            for name in decoders:
                own_decoders.check(name, len(pyramid.widths))
        return decoders

    @property
    def step(self) -> int:
        """The side of the image must be a multiple of this."""
        return max(self.features.grid, *self.features.reductions)

    @model_validator(mode="after")
    def _stages_exist(self) -> Config:
        stages = len(self.mfpn.widths)
        for name, part in (("sad", self.sad), ("fld", self.fld), ("cd", self.cd)):
            strange = [stage for stage in part.stages if not 1 <= stage <= stages]
            if strange or len(set(part.stages)) != len(part.stages):
                raise ValueError(f"{name}.stages must be distinct stages of 1..{stages}, but got {list(part.stages)}")
        if len(self.sad.repeats) != stages or any(repeat < 0 for repeat in self.sad.repeats):
            raise ValueError(
                f"sad.repeats must give a count >= 0 for each of the {stages} stages, but got {list(self.sad.repeats)}"
            )
        if any(kernel % 2 == 0 or kernel < 1 for kernel in self.fld.kernels):
            raise ValueError(f"fld.kernels must be odd, but got {list(self.fld.kernels)}")
        if len(set(self.decoders)) != len(self.decoders):
            raise ValueError(f"decoders must be distinct, but got {list(self.decoders)}")
        return self


def reads(config: Config, image_size: int) -> FeatureMaps:
    """The feature maps that the method reads."""
    features = config.features
    return FeatureMaps(config.backbone, features.reductions, image_size, features.grid, features.resize)
