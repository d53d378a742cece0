"""Every setting of a trial with its type, range, default and meaning; knows neither torch nor files.

A default, once released, never changes: `trial_id` leaves out settings at their default, so another default would give
old results to new settings. A study that wants other values names them or takes a preset.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Level = bool | int | float | str
"""A level of a factor: one value of one scalar setting."""


SettingValue = Level | tuple[int, ...] | None

FACTORS = ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")
"""The six factors that every study has; any other scalar setting can be made one."""


class Frozen(BaseModel):
    """A record that cannot be changed, takes no unknown key and converts no type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _classes_text(value: object) -> object:
    """A list of classes as the text that is stored, 3, 1, 2 as `1,2,3`; anything else is left for the type to judge."""
    if isinstance(value, str) and re.fullmatch(r"\d{1,4}(,\d{1,4})*", value):
        value = [int(c) for c in value.split(",")]  # the same classes are the same text, however they are written
    if isinstance(value, list | tuple) and value and all(isinstance(c, int) and not isinstance(c, bool) for c in value):
        return ",".join(map(str, sorted(set(value))))
    return value


def _layers_text(value: object) -> object:
    """Layers as a list of {hidden, n_z} as the text that is stored, `100-100-z50`; anything else is left as it is."""
    if isinstance(value, list | tuple) and value and all(_is_layer(layer) for layer in value):
        return "-".join(f"{'-'.join(map(str, layer['hidden']))}-z{layer['n_z']}" for layer in value)
    return value


def _is_layer(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"hidden", "n_z"} and isinstance(value["hidden"], list | tuple)


class DataSettings(Frozen):
    """Which images, and how they enter the model."""

    name: Literal["digits", "mnist", "fashion_mnist", "binarized_mnist", "frey_faces", "npz"] = Field(
        "digits", description="data set; `digits` is embedded, `npz` is your own file"
    )
    root: str | None = Field(
        None, description="folder that holds (or receives) all data sets but digits; default ~/.cache/factorial-iwae"
    )
    path: str | None = Field(None, description="the .npz file of `name: npz`")
    input: Literal["dynamic", "static", "threshold", "grey"] = Field(
        "dynamic",
        description="how pixels become inputs; dynamic: binarised anew every time an image is used, static: binarised "
        "once, threshold: 1 above 0.5, grey: as they are",
    )
    n_valid: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="training images set aside at the front and not used (55,000 of MNIST's 60,000: 5000)",
    )
    classes: Annotated[str, Field(pattern=r"^(all|\d{1,4}(,\d{1,4})*)$"), BeforeValidator(_classes_text)] = Field(
        "all", description="classes of the images that are used, as a list ([1, 2, 3, 4, 5]) or all"
    )
    subset: Literal["classes", "random"] = Field(
        "classes",
        description="where `classes` names some; classes: their images, random: as many training images drawn from all "
        "classes, and the whole test set (the control for their number)",
    )


class ModelSettings(Frozen):
    """The networks on both sides of the latent layers."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)] = Field(
        (200, 200), description="units of the encoder's hidden layers; the decoder mirrors them"
    )
    layers_above: Annotated[
        str,
        Field(pattern=r"^(none|([1-9]\d{0,3}-){1,8}z[1-9]\d{0,3}(-([1-9]\d{0,3}-){1,8}z[1-9]\d{0,3}){0,7})$"),
        BeforeValidator(_layers_text),
    ] = Field(
        "none",
        description="stochastic layers above the first (which `hidden` and `n_z` describe), upwards, as a list of "
        "{hidden: [100, 100], n_z: 50} or in short 100-100-z50",
    )
    activation: Literal["softplus", "tanh", "relu", "leaky_relu"] = Field(
        "softplus", description="of the hidden layers; leaky_relu has slope 0.01"
    )
    encoder_mean_head: Literal["linear", "sigmoid", "activation"] = Field(
        "linear", description="mu of q(z|x) as a function of its layer's output; activation: that of the hidden layers"
    )
    encoder_logvar_head: Literal["linear", "tanh", "softplus", "linear_sd"] = Field(
        "linear",
        description="log sigma^2 of q(z|x) from its layer's output a; linear: a, tanh: tanh(a), softplus: sigma^2 = "
        "softplus(a), linear_sd: sigma = exp(a)",
    )
    decoder_logvar: Literal["tanh", "linear_clamped", "global", "fixed"] = Field(
        "tanh",
        description="log sigma^2 of the Gaussian decoder; tanh and linear_clamped: a head a pixel, global: one learnt "
        "number, fixed: `decoder_logvar_value`",
    )
    decoder_logvar_value: float = Field(
        0.0, ge=-20, le=20, description="log sigma^2 of `decoder_logvar: fixed`, and where `global` starts"
    )
    decoder_logvar_limit: float = Field(
        6.0, gt=0, le=20, description="`decoder_logvar: linear_clamped` keeps log sigma^2 between minus and plus this"
    )
    bn_scope: Literal["hidden", "hidden_and_latent"] = Field(
        "hidden", description="layers that batch_norm normalises; hidden_and_latent: also mu and log sigma^2 of q(z|x)"
    )
    bn_statistics: Literal["recompute", "running"] = Field(
        "recompute",
        description="statistics of evaluation; recompute: of the fixed training images, anew at every measurement, "
        "running: moving averages over the steps",
    )
    bn_momentum: float = Field(0.1, gt=0, le=1, description="weight of the newest batch in `bn_statistics: running`")
    init: Literal["glorot_normal", "glorot_uniform"] = Field(
        "glorot_normal", description="initial weights, both of variance 2 / (n_in + n_out)"
    )
    output_bias: Literal["zero", "data_mean"] = Field(
        "zero", description="initial bias of the pixels' mean; data_mean: the logit of the training images' mean pixel"
    )


class ObjectiveSettings(Frozen):
    """Which bound is trained, and how it and its gradient are estimated."""

    bound: Literal["iwae", "vae"] = Field(
        "iwae", description="iwae: L_K, log of the mean weight; vae: mean of the K log weights (the equal-compute control)"
    )
    kl: Literal["auto", "sampled", "analytic"] = Field(
        "auto",
        description="of the variational term; auto: in closed form at k = 1 with `gradient: standard` (the paper's eq. 2), "
        "else sampled with the importance weights (eq. 3); sampled, analytic: always",
    )
    gradient: Literal["standard", "stl", "dreg"] = Field(
        "standard",
        description="estimator of the encoder's gradient; stl: path derivative only, dreg: doubly reparameterised",
    )
    beta: float = Field(1.0, ge=0, le=1000, description="weight of the variational term after warm-up")
    beta_place: Literal["inside", "outside"] = Field(
        "inside",
        description="where beta weighs; inside: log p(z) - log q(z|x) within the importance weights, outside: "
        "beta L_K + (1 - beta) mean log p(x|z)",
    )
    warmup_by: Literal["epoch", "step"] = Field("epoch", description="how often beta rises during warm-up")
    warmup_cycles: int = Field(1, ge=1, le=10_000, description="times beta rises from 0; above 1: cyclical warm-up")
    warmup_share: float = Field(
        0.5, gt=0, le=1, description="share of a cycle in which beta rises; a cycle takes warmup / warmup_share epochs"
    )
    free_bits: float = Field(
        0.0, ge=0, le=1000, description="nats a latent unit below which its mean KL over the batch costs nothing"
    )
    batch_reduction: Literal["mean", "sum"] = Field(
        "mean", description="of the loss over a batch; it matters as Adam's epsilon does not scale"
    )
    iwae_tile_bug: bool = Field(
        False, description="forensic: groups K different images into one importance-weighted mean, as a known bug does"
    )


class TrainingSettings(Frozen):
    """The optimizer and its schedule."""

    epochs: int = Field(300, ge=1, le=1_000_000, description="passes over the training images; a study can be made longer")
    batch_size: int = Field(100, ge=1, le=2**31 - 1, description="images a step; the last batch of an epoch may be smaller")
    learning_rate: float = Field(1e-3, gt=0, le=10, description="Adam's step size, the first one of a schedule")
    schedule: Literal["constant", "burda"] = Field(
        "constant",
        description="of the learning rate; burda: eight stages that fall to a tenth, each three times as long as the last",
    )
    schedule_over: int = Field(
        3280, ge=1, le=1_000_000, description="epochs over which a schedule runs; 3280: Burda et al.'s 1 + 3 + ... + 2187"
    )
    order: Literal["shuffled", "fixed"] = Field(
        "shuffled", description="of the training images; shuffled: anew every epoch, fixed: as stored, in every epoch"
    )
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: float = Field(0.9, ge=0, lt=1, description="Adam's decay of the second moment (the paper's 0.9, 0.999 elsewhere)")
    epsilon: float = Field(1e-4, gt=0, le=1, description="Adam's guard against division by zero")
    epsilon_mode: Literal["tf1", "torch"] = Field(
        "tf1", description="where epsilon stands; tf1: beside the uncorrected sqrt(v), torch: beside the corrected one"
    )
    initial_second_moment: float = Field(0.0, ge=0, le=1000, description="Adam's second moment before the first step")


class MeasureSettings(Frozen):
    """What is measured; changes no training and no trial_id."""

    threshold: float = Field(0.1, gt=0, description="a unit is active if its activity is above this")
    images: int = Field(
        10_000,
        ge=2,
        le=2**31 - 1,
        description="at most that many fixed training images for activity and batch-norm statistics",
    )
    images_redrawn: bool = Field(
        False, description="forensic: draws these images anew in every epoch, which fakes reactivation"
    )
    nll_samples: int = Field(
        5000, ge=1, le=1_000_000, description="importance samples of nll = -L_S, measured once on the test images at the end"
    )
    secondary_samples: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="importance samples of the ablations and of the bound on the other reading of the pixels, at the end",
    )


class Settings(Frozen):
    """One trial: the six factors, then everything else by room."""

    decoder: Literal["bernoulli", "gaussian", "continuous_bernoulli"] = Field(
        "bernoulli", description="likelihood of the pixels given z"
    )
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

    out: str = Field(
        "results", min_length=1, description="folder or s3://bucket/prefix of all results; a study goes to <out>/<study>"
    )
    packing: Literal["auto", "none"] = Field(
        "auto", description="auto: trials of equal shape side by side, on a GPU of any n_z; none: one a pack"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="auto: a GPU if there is one")
    precision: Literal["auto", "ieee", "tf32", "bf16"] = Field(
        "auto",
        description="of the factors of matrix products, in training and measurement; sums and all else are float32 or more; "
        "auto: tf32 on a GPU by NVIDIA, else ieee; recorded with every row's file",
    )
    gpus_per_pack: Literal["auto"] | Annotated[float, Field(gt=0, le=16)] = Field(
        "auto", description="GPUs (or a share of one) that a pack takes; auto: 1 where there is a GPU"
    )
    commit_every: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="epochs between borders of packs planned from now on; auto: about ten seconds' worth"
    )
    max_failures: int = Field(
        3,
        ge=0,
        le=100,
        description="times a pack is tried again between two borders, before it is split or its trial has failed",
    )
    keep_weights: Literal["all", "none"] = Field(
        "all", description="all: every trained model is stored in weights/; none: no model is"
    )


NOT_IDENTITY = ("data.name", "data.root", "data.path", "training.epochs")
"""Settings outside `trial_id` beside `measure.*`: the data fingerprint stands for the first three, and a study can be
made longer."""


# What is None by default cannot be a level; nor can where data lies, which changes no number.
NOT_A_FACTOR = ("data.name", "data.root", "data.path", "model.hidden", "training.epochs")


def layers_above(settings: "ModelSettings") -> tuple[tuple[tuple[int, ...], int], ...]:
    """Hidden sizes and latent units of every stochastic layer above the first, upwards."""
    if settings.layers_above == "none":
        return ()
    layers: list[tuple[tuple[int, ...], int]] = []
    hidden: list[int] = []
    for size in settings.layers_above.split("-"):
        if size.startswith("z"):
            layers.append((tuple(hidden), int(size[1:])))
            hidden = []
        else:
            hidden.append(int(size))
    return tuple(layers)


def latent_units(settings: Settings) -> int:
    """Latent units of all stochastic layers."""
    return settings.n_z + sum(n_z for _, n_z in layers_above(settings.model))
