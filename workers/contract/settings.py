"""Every setting of a trial and of a run, with its type, range, default and meaning.

A default, once released, never changes: `trial_id` leaves out settings at their default, so a different default would assign
old results to new settings. A study that needs other values names them or uses a preset.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from workers.contract.setting_texts import CLASSES, checked_scale, classes_text, layers_text, scale_text

Level = bool | int | float | str
"""A level of a factor: one value of one scalar setting."""


SettingValue = Level | tuple[int, ...] | None

FACTORS = ("decoder", "k", "batch_norm", "warmup", "n_z", "seed")
"""The six factors that every study has; any other scalar setting can be made one."""


def _without_sign_of_zero(number: float) -> float:
    return number + 0.0


Number = Annotated[float, AfterValidator(_without_sign_of_zero)]
"""A number in which -0.0 is 0.0: they are equal, but their texts differ, and so would the ids of two trials."""


class Frozen(BaseModel):
    """A record that cannot be changed, accepts no unknown key and converts no type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataSettings(Frozen):
    """The images, and how they enter the model."""

    name: Literal["digits", "mnist", "fashion_mnist", "binarized_mnist", "frey_faces", "omniglot", "npz"] = Field(
        "digits", description="data set; `digits` comes with scikit-learn, `npz` is your own file"
    )
    root: str | None = Field(
        None,
        description="folder that contains (or receives) the files of all data sets except digits and npz; "
        "default factorial-iwae in XDG_CACHE_HOME or ~/.cache",
    )
    path: str | None = Field(None, description="the .npz file of `name: npz`")
    scale: Annotated[str, BeforeValidator(scale_text), AfterValidator(checked_scale)] = Field(
        "auto",
        description="number by which the pixels of `name: npz` are divided; auto: 1 for pixels from 0 to 1, 255 for "
        "integers that are plausibly 0 to 255, and a refusal of any other range",
    )
    image_size: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=2)] = Field(
        (),
        description="[height, width] of the images of `name: npz` if the file holds rows of pixels; otherwise rows become "
        "squares where that is possible. It changes pictures and no number",
    )
    input: Literal["dynamic", "static", "threshold", "grey"] = Field(
        "dynamic",
        description="how pixels become inputs; dynamic: binarised again every time an image is used, static: binarised "
        "once, threshold: 1 above 0.5 and 0 otherwise, grey: unchanged",
    )
    n_valid: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="number of training images at the front that are set aside and not used (5000 leaves 55,000 of "
        "MNIST's 60,000)",
    )
    classes: Annotated[str, Field(pattern=rf"^(all|{CLASSES})$"), BeforeValidator(classes_text)] = Field(
        "all", description="classes whose images are used: a list of labels such as [1, 2, 3, 4, 5] or [cat, dog], or all"
    )
    subset: Literal["classes", "random"] = Field(
        "classes",
        description="images that are used if `data.classes` is a list; classes: those of these classes, random: equally "
        "many training images drawn from all classes, with the whole test set (the control for the number of images)",
    )


class ModelSettings(Frozen):
    """The networks of encoder and decoder."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(min_length=1, max_length=8)] = Field(
        (200, 200), description="number of units of each hidden layer of the encoder; the decoder mirrors them"
    )
    layers_above: Annotated[
        str,
        Field(pattern=r"^(none|([1-9]\d{0,3}-){1,8}z[1-9]\d{0,3}(-([1-9]\d{0,3}-){1,8}z[1-9]\d{0,3}){0,7})$"),
        BeforeValidator(layers_text),
    ] = Field(
        "none",
        description="stochastic layers above the first one (which `model.hidden` and `n_z` describe), lowest first, "
        "as a list of {hidden: [100, 100], n_z: 50} or in short 100-100-z50",
    )
    activation: Literal["softplus", "tanh", "relu", "leaky_relu"] = Field(
        "softplus", description="activation function of the hidden layers; leaky_relu has slope 0.01"
    )
    encoder_mean_head: Literal["linear", "sigmoid", "activation"] = Field(
        "linear",
        description="mu of q(z|x) as a function of the output of its layer; activation: the same function as in the hidden "
        "layers",
    )
    encoder_logvar_head: Literal["linear", "tanh", "softplus", "linear_sd"] = Field(
        "linear",
        description="log sigma^2 of q(z|x) as a function of the output a of its layer; linear: a, tanh: tanh(a), softplus: "
        "sigma^2 = softplus(a), linear_sd: sigma = exp(a)",
    )
    decoder_logvar: Literal["tanh", "linear_clamped", "global", "fixed"] = Field(
        "tanh",
        description="log sigma^2 of the Gaussian decoder; tanh and linear_clamped: one output per pixel, "
        "global: one learned number, fixed: `model.decoder_logvar_value`",
    )
    decoder_logvar_value: Number = Field(
        0.0, ge=-20, le=20, description="log sigma^2 of `decoder_logvar: fixed`, and the initial value of `global`"
    )
    decoder_logvar_limit: Number = Field(
        6.0, gt=0, le=20, description="bound on the size of log sigma^2 with `decoder_logvar: linear_clamped`"
    )
    bn_scope: Literal["hidden", "hidden_and_latent"] = Field(
        "hidden",
        description="layers that batch_norm normalises; hidden: the hidden layers, hidden_and_latent: also mu and "
        "log sigma^2 of q(z|x)",
    )
    bn_statistics: Literal["recompute", "running"] = Field(
        "recompute",
        description="statistics of batch normalisation that measurements use; recompute: those of the fixed training "
        "images, computed again for every measurement, running: moving averages over the training steps",
    )
    bn_momentum: Number = Field(
        0.1, gt=0, le=1, description="weight of the newest batch in the moving averages of `bn_statistics: running`"
    )
    init: Literal["glorot_normal", "glorot_uniform"] = Field(
        "glorot_normal", description="distribution of the initial weights; both have variance 2 / (n_in + n_out)"
    )
    output_bias: Literal["zero", "data_mean"] = Field(
        "zero",
        description="initial bias of the decoder's output for the mean of a pixel; data_mean: the logit of the mean of that "
        "pixel over the training images",
    )


class ObjectiveSettings(Frozen):
    """The bound that is trained, and how the bound and its gradient are estimated."""

    bound: Literal["iwae", "vae"] = Field(
        "iwae",
        description="bound that is trained; iwae: L_K, the log of the mean weight, vae: the mean of the K log weights (the "
        "control with equal computing)",
    )
    kl: Literal["auto", "sampled", "analytic"] = Field(
        "auto",
        description="how the variational term is computed; analytic: in closed form, sampled: at the samples, auto: in "
        "closed form (the paper's eq. 2) if k = 1 and `gradient: standard`, otherwise at the samples (eq. 3)",
    )
    gradient: Literal["standard", "stl", "dreg"] = Field(
        "standard",
        description="estimator of the encoder's gradient; stl: only the path derivative, dreg: doubly reparameterised",
    )
    beta: Number = Field(1.0, ge=0, le=1000, description="weight of the variational term after warm-up")
    beta_place: Literal["inside", "outside"] = Field(
        "inside",
        description="what beta multiplies; inside: log p(z) - log q(z|x) within the importance weights, outside: the whole "
        "bound, as in beta L_K + (1 - beta) mean log p(x|z)",
    )
    warmup_by: Literal["epoch", "step"] = Field("epoch", description="whether beta rises per epoch or per step in warm-up")
    warmup_cycles: int = Field(
        1, ge=1, le=10_000, description="how many times beta rises from 0; more than 1 means cyclical warm-up"
    )
    warmup_share: Number = Field(
        0.5,
        gt=0,
        le=1,
        description="share of a cycle in which beta rises, if there are several; a cycle takes warmup / warmup_share epochs",
    )
    free_bits: Number = Field(
        0.0,
        ge=0,
        le=1000,
        description="nats per latent unit; while a unit's KL, averaged over the batch, is below this, it costs nothing",
    )
    batch_reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="how the loss is reduced over a batch; this matters because Adam's epsilon does not scale with the loss",
    )
    iwae_tile_bug: bool = Field(
        False,
        description="forensic: groups K different images into one importance-weighted mean, like a known bug in another "
        "program",
    )


class TrainingSettings(Frozen):
    """The optimizer and its schedule."""

    epochs: int = Field(
        300, ge=1, le=1_000_000, description="passes over the training images; you can extend a study to more epochs later"
    )
    batch_size: int = Field(
        100, ge=1, le=2**31 - 1, description="images per step; the last batch of an epoch may be smaller"
    )
    learning_rate: Number = Field(1e-3, gt=0, le=10, description="Adam's step size; with a schedule, the first step size")
    schedule: Literal["constant", "burda"] = Field(
        "constant",
        description="schedule of the learning rate; burda: eight stages in which it falls to a tenth, each three times as "
        "long as the one before",
    )
    schedule_over: int = Field(
        3280,
        ge=1,
        le=1_000_000,
        description="number of epochs over which a schedule runs; 3280 is Burda et al.'s 1 + 3 + ... + 2187",
    )
    order: Literal["shuffled", "fixed"] = Field(
        "shuffled", description="order of the training images; shuffled: a new order in every epoch, fixed: always as stored"
    )
    beta1: Number = Field(0.9, ge=0, lt=1, description="Adam's decay of the first moment")
    beta2: Number = Field(
        0.9, ge=0, lt=1, description="Adam's decay of the second moment (0.9 in the paper, 0.999 in other sources)"
    )
    epsilon: Number = Field(1e-4, gt=0, le=1, description="Adam's guard against division by zero")
    epsilon_mode: Literal["tf1", "torch"] = Field(
        "tf1", description="what epsilon is added to; tf1: the uncorrected sqrt(v), torch: the bias-corrected one"
    )
    initial_second_moment: Number = Field(
        0.0, ge=0, le=1000, description="value of Adam's second moment before the first step"
    )


class MeasureSettings(Frozen):
    """What is measured; these settings change neither the training nor the trial_id."""

    threshold: Number = Field(0.1, gt=0, description="a unit is active if its activity is above this threshold")
    images: int = Field(
        10_000,
        ge=2,
        le=2**31 - 1,
        description="largest number of fixed training images for activity and batch-norm statistics",
    )
    images_redrawn: bool = Field(
        False,
        description="forensic: draws the images of `measure.images` again in every epoch, so that units seem to become "
        "active again",
    )
    nll_samples: int = Field(
        5000,
        ge=1,
        le=1_000_000,
        description="number of importance samples S of nll = -L_S, which is measured on the test images at the end",
    )
    secondary_samples: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="number of importance samples of the ablations and of the bound on the other reading of the pixels, "
        "which are measured at the end",
    )


class Settings(Frozen):
    """The settings of one trial: the six factors, then everything else by group."""

    decoder: Literal["bernoulli", "gaussian", "continuous_bernoulli"] = Field(
        "bernoulli", description="likelihood of the pixels given z"
    )
    k: int = Field(1, ge=1, le=10_000, description="number of importance samples K of the bound L_K that is trained")
    batch_norm: bool = Field(False, description="batch normalisation before the activation of every hidden layer")
    warmup: int = Field(
        0,
        ge=0,
        le=2**31 - 1,
        description="number of epochs in which beta rises from 0 to `objective.beta`; 0 means that beta never changes",
    )
    n_z: int = Field(50, ge=1, le=8192, description="number of latent units")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of initial weights, data order, binarisation and noise")
    data: DataSettings = Field(default_factory=DataSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    measure: MeasureSettings = Field(default_factory=MeasureSettings)


class RunSettings(Frozen):
    """How a study is run; these settings change the numbers of a trial only by rounding."""

    out: str = Field(
        "results",
        min_length=1,
        description="folder or s3://bucket/prefix of all results; those of a study are written to <out>/<study>",
    )
    packing: Literal["auto", "none"] = Field(
        "auto",
        description="how trials are put into packs; auto: trials of equal shape together, on a GPU also trials of different "
        "n_z, none: one trial per pack",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="device that trains and measures; auto: a GPU (cuda) if there is one, otherwise the CPU"
    )
    precision: Literal["auto", "ieee", "tf32", "bf16"] = Field(
        "auto",
        description="precision of the factors of matrix products, in training and measurement; sums and everything else are "
        "float32 or float64; auto: tf32 on an NVIDIA GPU, otherwise ieee; it is recorded in every file of rows",
    )
    gpus_per_pack: Literal["auto"] | Annotated[float, Field(gt=0, le=16)] = Field(
        "auto", description="number of GPUs (or share of one) per pack; auto: 1 if there is a GPU"
    )
    commit_every: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto",
        description="epochs between the borders of packs that are planned from now on; auto: about ten seconds of training",
    )
    max_failures: int = Field(
        3,
        ge=0,
        le=100,
        description="how often a pack is retried between two borders before it is split, or its only trial counts as failed",
    )
    keep_weights: Literal["all", "none"] = Field(
        "all", description="trained models that are stored in weights/; all: every model, none: no model"
    )


NOT_IDENTITY = ("data.name", "data.root", "data.path", "data.image_size", "training.epochs")
"""Settings that `trial_id` leaves out besides `measure.*`: the data fingerprint stands for the first three, the size of flat
images only changes pictures, and a study can be extended to more epochs."""


# A setting whose default is None cannot be a factor; nor can the place of the data, which changes no number, nor how a file
# is read, because a study has one data set.
NOT_A_FACTOR = ("data.name", "data.root", "data.path", "data.scale", "data.image_size", "model.hidden", "training.epochs")


def layers_above(settings: "ModelSettings") -> tuple[tuple[tuple[int, ...], int], ...]:
    """Return the hidden sizes and the number of latent units of every stochastic layer above the first, from below."""
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
    """Return the number of latent units of all stochastic layers together."""
    return settings.n_z + sum(n_z for _, n_z in layers_above(settings.model))
