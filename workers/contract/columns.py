"""Describe every stored column once; schemas, units and lists of columns are derived from these descriptions."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from workers.contract.column import (
    FLOAT,
    INTEGER,
    NATS,
    TEXT,
    UNITS,
    VECTOR,
    Column,
    at_the_last_epoch,
    schema_of,
)
from workers.contract.settings import Settings
from workers.contract.settings_table import default_of, leaves

SCHEMA_VERSION = 4

_of_trial = partial(Column, per="trial", source="plan")
_of_pack = partial(Column, per="pack", source="packing")
_of_training = partial(Column, per="trial and epoch", source="training")
_every_epoch = partial(Column, per="trial and epoch", source="every epoch")
_unit_of_epoch = partial(Column, type=VECTOR, per="latent unit", source="every epoch")
_at_the_end = partial(Column, type=FLOAT, per="trial", source="end")
_unit_at_the_end = partial(Column, type=VECTOR, per="latent unit", source="end")

_VERSION = _of_trial("schema_version", INTEGER, "identifier", "The version of this set of columns.")
_TRIAL_ID = _of_trial("trial_id", TEXT, "identifier", "A hash of the trial's settings, its seed and its data.")
_PACK_ID = _of_pack("pack_id", TEXT, "identifier", "The pack in which the trial was trained.")

_FACTORS = (
    _of_trial("decoder", TEXT, "name", "The likelihood of the pixels given z."),
    _of_trial("k", INTEGER, "samples", "The number K of importance samples of the bound that is trained."),
    _of_trial("batch_norm", pa.bool_(), "flag", "Whether the hidden layers are batch-normalised."),
    _of_trial(
        "warmup", INTEGER, "epochs", "The number of epochs in which beta rises from 0 to 1; with 0, beta is always 1."
    ),
    _of_trial("n_z", INTEGER, UNITS, "The number of latent units of the first stochastic layer."),
    _of_trial("seed", pa.int64(), "identifier", "The seed of initial weights, data order, binarisation and noise."),
)

_TRAIN_BOUND = _of_training(
    "train_bound",
    FLOAT,
    NATS,
    "L_K at beta 1 on the training batches, averaged over the steps of the epoch.",
    better="higher",
)
_TEST_BOUND = _every_epoch(
    "test_bound",
    FLOAT,
    NATS,
    "L_K = E[log (1/K) sum_k w_k] on the test images, with w_k = p(x, z_k) / q(z_k given x).",
    better="higher",
)
_TEST_ELBO = _every_epoch(
    "test_elbo", FLOAT, NATS, "L_1 = E[log w] on the test images, from the draws of `test_bound`.", better="higher"
)
_ACTIVE_UNITS = _of_training("active_units", INTEGER, UNITS, "The number of units whose `activity` exceeds the threshold.")

EPOCH_COLUMNS: tuple[Column, ...] = (
    _VERSION,
    _TRIAL_ID,
    *_FACTORS,
    Column("epoch", INTEGER, "epochs", "The number of the epoch; epoch 0 is before training.", "trial and epoch", "plan"),
    Column("beta", FLOAT, "weight", "The weight of the variational term in this epoch.", "trial and epoch", "plan"),
    _of_training(
        "train_objective",
        FLOAT,
        NATS,
        "The objective that was maximised, at the epoch's beta, averaged over its steps.",
        better="higher",
    ),
    _TRAIN_BOUND,
    _TEST_BOUND,
    _TEST_ELBO,
    _every_epoch(
        "test_reconstruction",
        FLOAT,
        NATS,
        "E[log p(x given z)] on the test images, averaged over K samples.",
        better="higher",
    ),
    _every_epoch("test_kl", FLOAT, NATS, "KL(q(z given x) to p(z)) on the test images, the sum of `kl_per_unit_test`."),
    _every_epoch(
        "ess", FLOAT, "share", "The effective share of the K samples, (sum_k w_k)^2 / (K sum_k w_k^2), from 1/K to 1."
    ),
    _every_epoch(
        "saturated_mean",
        FLOAT,
        "share",
        "The share of the encoder's means that lie at an end of their range; null if the range is unbounded.",
    ),
    _every_epoch("saturated_log_variance", FLOAT, "share", "The same share of the encoder's log-variances."),
    _ACTIVE_UNITS,
    _unit_of_epoch("activity", unit="activity (variance)", about="A_u = Var_x(E_q[u given x]) on fixed training images."),
    _unit_of_epoch("activity_test", unit="activity (variance)", about="The activity A_u on the test images."),
    _unit_of_epoch(
        "activity_pca",
        unit="activity (variance)",
        about="The eigenvalues of the covariance of the posterior means on the fixed training images.",
    ),
    _unit_of_epoch(
        "kl_per_unit", unit="nats per unit", about="KL(q(u given x) to the prior), averaged over the fixed training images."
    ),
    _unit_of_epoch("kl_per_unit_test", unit="nats per unit", about="The same KL of each unit on the test images."),
    _unit_of_epoch(
        "posterior_mean", unit="value of z", about="The mean mu_u(x) of q, averaged over the fixed training images."
    ),
    _unit_of_epoch(
        "posterior_variance",
        unit="variance of z",
        about="The variance sigma_u^2(x) of q, averaged over the fixed training images.",
    ),
    Column(
        "reconstruction_per_class",
        VECTOR,
        NATS,
        "`test_reconstruction` of the test images of each class.",
        "class",
        "every epoch",
        "higher",
    ),
    Column(
        "seconds",
        FLOAT,
        "seconds",
        "The trial's share of the time that its pack took for the epoch.",
        "trial and epoch",
        "machine",
    ),
)
"""One row per trial and epoch; vectors have one entry per latent unit, layer by layer, or one per class."""

TRIAL_COLUMNS: tuple[Column, ...] = (
    _VERSION,
    _TRIAL_ID,
    _PACK_ID,
    *_FACTORS,
    Column("status", TEXT, "name", "How the trial ended: completed, diverged or failed.", "trial", "outcome"),
    _of_trial("epochs", INTEGER, "epochs", "The number of epochs for which the trial was to be trained."),
    Column("last_epoch", INTEGER, "epochs", "The last epoch whose row is finite and stored.", "trial", "outcome"),
    at_the_last_epoch(_TRAIN_BOUND),
    at_the_last_epoch(_TEST_BOUND),
    at_the_last_epoch(_TEST_ELBO),
    _at_the_end("nll", unit=NATS, about="-L_S on the test images, with S = `nll_samples`.", better="lower"),
    _of_trial("nll_samples", INTEGER, "samples", "The number S of importance samples of `nll`."),
    _at_the_end("l_1", unit=NATS, about="L_1 from the draws of `nll`, whatever K was trained.", better="higher"),
    _at_the_end("l_5", unit=NATS, about="L_5 from the draws of `nll`, whatever K was trained.", better="higher"),
    _at_the_end("l_64", unit=NATS, about="L_64 from the draws of `nll`; null if S is less than 64.", better="higher"),
    _at_the_end(
        "nll_comparable",
        unit=NATS,
        about="`nll` with the probability mass of each pixel's level in place of a density, to make decoders comparable.",
        better="lower",
    ),
    _at_the_end(
        "test_mse", unit="squared pixel value", about="(x - E[x given z])^2, averaged over the test pixels.", better="lower"
    ),
    _at_the_end(
        "test_cross_entropy", unit=NATS, about="The cross-entropy of the test images and E[x given z].", better="lower"
    ),
    _at_the_end(
        "saturated_pixels",
        unit="share",
        about="The share of the Gaussian decoder's log-variances at an end of tanh or of the clamp; null if it has neither.",
    ),
    _at_the_end(
        "mutual_information", unit=NATS, about="I_q(x; z) on the n fixed training images; the estimate is at most ln(n)."
    ),
    _at_the_end("marginal_kl", unit=NATS, about="KL(q(z) to p(z)) on the fixed training images."),
    _at_the_end(
        "ablation_low",
        unit=NATS,
        about="The change of L_S (S = `secondary_samples`) if units of activity at most 0.01 are replaced by the prior.",
    ),
    _at_the_end(
        "ablation_between",
        unit=NATS,
        about="The same change for units of activity above 0.01 and at most the study's threshold.",
    ),
    _at_the_end("ablation_low_elbo", unit=NATS, about="The change of L_1 for the units of `ablation_low`."),
    _at_the_end("ablation_between_elbo", unit=NATS, about="The change of L_1 for the units of `ablation_between`."),
    _at_the_end(
        "bound_bin",
        unit=NATS,
        about="L_S (S = `secondary_samples`) of a model of grey pixels on one binarisation of the test set; null otherwise.",
        better="higher",
    ),
    _of_trial(
        "secondary_samples", INTEGER, "samples", "The number S of importance samples of the ablations and of `bound_bin`."
    ),
    _unit_at_the_end(
        "activity_bin",
        unit="activity (variance)",
        about="The activity of a model of grey pixels on binarised training images; null for other models.",
    ),
    _unit_at_the_end(
        "activity_grey",
        unit="activity (variance)",
        about="The activity of a model of binary pixels on the grey training images; null for other models.",
    ),
    at_the_last_epoch(_ACTIVE_UNITS),
    Column(
        "baseline_bound",
        FLOAT,
        NATS,
        "The mean log-likelihood of the test images if all pixels are independent.",
        "trial",
        "data",
    ),
    Column("seconds", FLOAT, "seconds", "The trial's share of the time of its pack.", "trial", "machine"),
    Column("device", TEXT, "name", "The processor or GPU that trained the trial's last epoch.", "trial", "machine"),
)
"""One row per trial that has ended. Values that do not exist are null, as are the final measures of a diverged trial."""

PLAN_COLUMNS: tuple[Column, ...] = (
    _VERSION,
    _TRIAL_ID,
    _PACK_ID,
    _of_pack("parent_pack", TEXT, "identifier", "The pack from whose state this pack began; null if it began anew."),
    _of_pack("from_epoch", INTEGER, "epochs", "The epoch of that state; 0 without a parent."),
    Column("borders", pa.list_(INTEGER), "epochs", "The epochs at which the pack stores its rows.", "border", "packing"),
    Column(
        "layer_sizes",
        pa.list_(INTEGER),
        UNITS,
        "The number of latent units of each stochastic layer.",
        "stochastic layer",
        "plan",
    ),
    _of_trial("fingerprint", TEXT, "identifier", "A hash of the data set's content."),
)
"""The columns of `plan` that are not settings; the settings follow under their dotted names."""


def _setting_type(name: str) -> pa.DataType:
    value = default_of(name)
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return FLOAT
    if isinstance(value, tuple):
        return pa.list_(INTEGER)
    return TEXT


EPOCHS, TRIALS = schema_of(EPOCH_COLUMNS), schema_of(TRIAL_COLUMNS)

PLAN = pa.schema([*schema_of(PLAN_COLUMNS), *((name, _setting_type(name)) for name in leaves(Settings))])
"""One row per planned trial: its pack, its borders and every setting under its dotted name."""

COLUMNS: Mapping[str, Column] = {column.name: column for column in (*TRIAL_COLUMNS, *EPOCH_COLUMNS)}
"""Every column by its name. A name in both tables has the same meaning in both; only `per` may differ."""

NOT_CONTENT = tuple(column.name for column in COLUMNS.values() if not column.is_content)

MEASURED_EVERY_EPOCH = tuple(column for column in EPOCH_COLUMNS if column.source == "every epoch")

MEASURED_AT_THE_END = tuple(column for column in TRIAL_COLUMNS if column.source == "end")

AT_THE_LAST_EPOCH = tuple(column.name for column in TRIAL_COLUMNS if column.source == "last epoch")
"""The columns that the row of a finished trial copies from its last epoch."""

VECTORS = tuple(column.name for column in EPOCH_COLUMNS if column.is_vector)

CURVES = tuple(
    column.name for column in EPOCH_COLUMNS if column.source in ("training", "every epoch") and not column.is_vector
)
"""The numbers that training or measurement gives in every epoch."""

TRIAL_MEASURES = tuple(column.name for column in TRIAL_COLUMNS if column.is_number and column.source != "last epoch")
"""The numbers that exist once per trial; every other number exists in every epoch."""


def unit_of_column(name: str) -> str:
    """Return the unit of a stored column; an empty text if there is no such column."""
    return COLUMNS[name].unit if name in COLUMNS else ""


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows as a table, after checking their columns, because Arrow would store null for a forgotten value.

    Raises:
        TypeError: a row lacks a column or has one that is not in the schema.
    """
    wanted = set(schema.names)
    for row in rows:
        if row.keys() != wanted:
            raise TypeError(f"a row and its schema differ in {', '.join(sorted(row.keys() ^ wanted))}")
    return pa.Table.from_pylist(rows, schema=schema)
