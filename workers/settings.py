"""Every setting of a trial with its type, range, default and meaning; knows neither torch nor files.

A default, once released, never changes: `trial_id` leaves out settings at their default, so another default would give
old results to new settings. A study that wants other values names them or takes a preset.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo

Level = bool | int | float | str
"""A level of a factor: one value of one scalar setting."""

SettingValue = Level | tuple[int, ...] | None

FACTORS = ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")
"""The six factors that every study has; any other scalar setting can be made one."""


class Frozen(BaseModel):
    """A record that cannot be changed, takes no unknown key and converts no type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSettings(Frozen):
    """Which images, and how they enter the model."""

    name: Literal["digits", "mnist", "fashion_mnist", "npz"] = Field(
        "digits", description="data set; `digits` is embedded, `npz` is your own file"
    )
    root: str | None = Field(
        None, description="folder that holds (or receives) MNIST and Fashion-MNIST; default ~/.cache/factorial-iwae"
    )
    path: str | None = Field(None, description="the .npz file of `name: npz`")
    input: Literal["dynamic"] = Field(
        "dynamic", description="how pixels become inputs; dynamic: binarised anew every time an image is used"
    )
    n_valid: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="training images set aside at the front and not used (55,000 of MNIST's 60,000: 5000)",
    )


class ModelSettings(Frozen):
    """The networks on both sides of the latent layer."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)] = Field(
        (200, 200), description="units of the encoder's hidden layers; the decoder mirrors them"
    )
    activation: Literal["softplus", "tanh", "relu"] = Field("softplus", description="of the hidden layers")


class ObjectiveSettings(Frozen):
    """How the bound that is trained is estimated."""

    kl: Literal["auto", "sampled"] = Field(
        "auto",
        description="of the variational term; auto: in closed form at k = 1 (the paper's eq. 2), sampled with the "
        "importance weights at k > 1 (eq. 3); sampled: always",
    )


class TrainingSettings(Frozen):
    """The optimizer and its schedule."""

    epochs: int = Field(300, ge=1, le=1_000_000, description="passes over the training images; a study can be made longer")
    batch_size: int = Field(100, ge=1, le=2**31 - 1, description="images a step; the last batch of an epoch may be smaller")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Adam's step size")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the second moment (the paper's 0.9, 0.999 elsewhere)")
    epsilon: float = Field(1e-4, gt=0, le=1, description="Adam's guard against division by zero")
    epsilon_mode: Literal["tf1", "torch"] = Field(
        "tf1", description="where epsilon stands; tf1: beside the uncorrected sqrt(v), torch: beside the corrected one"
    )


class MeasureSettings(Frozen):
    """What is measured; changes no training and no trial_id."""

    threshold: float = Field(0.1, gt=0, description="a unit is active if its activity is above this")
    images: int = Field(
        10_000,
        ge=2,
        le=2**31 - 1,
        description="at most that many fixed training images for activity and batch-norm statistics",
    )
    nll_samples: int = Field(
        5000, ge=1, le=1_000_000, description="importance samples of nll = -L_S, measured once on the test images at the end"
    )


class Settings(Frozen):
    """One trial: the six factors, then everything else by room."""

    decoder: Literal["bernoulli", "gaussian"] = Field("bernoulli", description="likelihood of the pixels given z")
    k: int = Field(1, ge=1, le=10_000, description="importance samples K of the bound L_K that is trained")
    batch_norm: bool = Field(False, description="batch normalisation before the activation of every hidden layer")
    warmup: int = Field(0, ge=0, le=2**31 - 1, description="epochs in which beta rises from 0 to 1; 0: beta is always 1")
    n_z: int = Field(50, ge=1, le=8192, description="latent units")
    seed: int = Field(0, ge=0, lt=2**63, description="of initial weights, data order, binarisation and noise")
    data: DataSettings = Field(default_factory=DataSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    measure: MeasureSettings = Field(default_factory=MeasureSettings)


class RunSettings(Frozen):
    """How a study is run; changes no number of a trial beyond rounding."""

    out: str = Field("results", min_length=1, description="folder of all results; a study goes to <out>/<study>")
    packing: Literal["auto", "none"] = Field(
        "auto", description="auto: trials of equal shape side by side; none: one a pack"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU if there is one")
    gpus_per_pack: Literal["auto"] | Annotated[float, Field(gt=0, le=16)] = Field(
        "auto", description="GPUs (or a share of one) that a pack takes; auto: 1 where there is a GPU"
    )
    commit_every: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="epochs between borders of packs planned from now on; auto: about ten seconds' worth"
    )
    max_failures: int = Field(3, ge=0, le=100, description="times a pack is tried again after an error")


NOT_IDENTITY = ("data.name", "data.root", "data.path", "training.epochs")
"""Settings outside `trial_id` beside `measure.*`: the data fingerprint stands for the first three, and a study can be
made longer."""

# What is None by default cannot be a level; nor can where data lies, which changes no number.
NOT_A_FACTOR = ("data.name", "data.root", "data.path", "data.input", "model.hidden", "training.epochs")


@cache
def leaves(model: type[Frozen] = Settings) -> Mapping[str, FieldInfo]:
    """All settings of a model by dotted name, in the order in which they are declared."""
    return dict(_walk(model, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@cache
def default_of(name: str, model: type[Frozen] = Settings) -> SettingValue:
    """The default of a setting by dotted name."""
    value: SettingValue = leaves(model)[name].default
    return value


@cache
def adapter_of(name: str, model: type[Frozen] = Settings) -> TypeAdapter[Any]:
    """A validator of one setting by dotted name."""
    field = leaves(model)[name]
    # FieldInfo keeps the range apart from the type: put both together again.
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def flatten(settings: Frozen) -> dict[str, SettingValue]:
    """The settings as a table from dotted name to value."""
    return {name: value_of(settings, name) for name in leaves(type(settings))}


def value_of(settings: Frozen, name: str) -> SettingValue:
    """One setting by dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value  # type: ignore[no-any-return]  # leaves are SettingValue by construction


def build(values: Mapping[str, SettingValue]) -> dict[str, Any]:
    """Nest a table of dotted names into the keyword arguments of a model."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *rooms, leaf = name.split(".")
        target = nested
        for room in rooms:
            target = target.setdefault(room, {})
        target[leaf] = value
    return nested


def settings_from(values: Mapping[str, SettingValue]) -> Settings:
    """Settings from a table of dotted names; what is absent takes its default.

    Raises:
        pydantic.ValidationError: a name is unknown or a value is not allowed.
    """
    return Settings.model_validate(build(values))
