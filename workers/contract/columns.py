"""The Arrow schemas of everything stored."""

import pyarrow as pa

from workers.contract.settings import Settings
from workers.contract.settings_table import default_of, leaves

SCHEMA_VERSION = 4

_VECTOR = pa.list_(pa.float32())

EPOCHS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("decoder", pa.string()),
        ("k", pa.int32()),
        ("batch_norm", pa.bool_()),
        ("warmup", pa.int32()),
        ("n_z", pa.int32()),
        ("seed", pa.int64()),
        ("epoch", pa.int32()),
        ("beta", pa.float64()),
        ("train_objective", pa.float64()),
        ("train_bound", pa.float64()),
        ("test_bound", pa.float64()),
        ("test_elbo", pa.float64()),
        ("test_reconstruction", pa.float64()),
        ("test_kl", pa.float64()),
        ("ess", pa.float64()),
        ("saturated_mean", pa.float64()),
        ("saturated_log_variance", pa.float64()),
        ("active_units", pa.int32()),
        ("activity", _VECTOR),
        ("activity_test", _VECTOR),
        ("activity_pca", _VECTOR),
        ("kl_per_unit", _VECTOR),
        ("kl_per_unit_test", _VECTOR),
        ("posterior_mean", _VECTOR),
        ("posterior_variance", _VECTOR),
        ("reconstruction_per_class", _VECTOR),
        ("seconds", pa.float64()),
    ]
)
"""A row a (trial, epoch); epoch 0 is before training. Nats per example; vectors have an entry a latent unit, layer by layer.

What a trial does not have (the saturated share of a head that is not bounded) is null.
"""

TRIALS = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("pack_id", pa.string()),
        ("decoder", pa.string()),
        ("k", pa.int32()),
        ("batch_norm", pa.bool_()),
        ("warmup", pa.int32()),
        ("n_z", pa.int32()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("epochs", pa.int32()),
        ("last_epoch", pa.int32()),
        ("train_bound", pa.float64()),
        ("test_bound", pa.float64()),
        ("test_elbo", pa.float64()),
        ("nll", pa.float64()),
        ("nll_samples", pa.int32()),
        ("l_1", pa.float64()),
        ("l_5", pa.float64()),
        ("l_64", pa.float64()),
        ("nll_comparable", pa.float64()),
        ("test_mse", pa.float64()),
        ("test_cross_entropy", pa.float64()),
        ("saturated_pixels", pa.float64()),
        ("mutual_information", pa.float64()),
        ("marginal_kl", pa.float64()),
        ("ablation_low", pa.float64()),
        ("ablation_between", pa.float64()),
        ("ablation_low_elbo", pa.float64()),
        ("ablation_between_elbo", pa.float64()),
        ("bound_bin", pa.float64()),
        ("secondary_samples", pa.int32()),
        ("activity_bin", _VECTOR),
        ("activity_grey", _VECTOR),
        ("active_units", pa.int32()),
        ("baseline_bound", pa.float64()),
        ("seconds", pa.float64()),
        ("device", pa.string()),
    ]
)
"""A row a finished trial. status: completed | diverged (then the bounds are those of last_epoch, and what is measured at the
end is null, as is what a trial does not have).
"""


def _column_type(name: str) -> pa.DataType:
    value = default_of(name)
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, tuple):
        return pa.list_(pa.int32())
    return pa.string()


PLAN = pa.schema(
    [
        ("schema_version", pa.int32()),
        ("trial_id", pa.string()),
        ("pack_id", pa.string()),
        ("parent_pack", pa.string()),
        ("from_epoch", pa.int32()),
        ("borders", pa.list_(pa.int32())),
        ("layer_sizes", pa.list_(pa.int32())),
        ("fingerprint", pa.string()),
        *((name, _column_type(name)) for name in leaves(Settings)),
    ]
)
"""A row a planned trial: its pack, its borders and every setting under its dotted name."""


# Wall time and the machine's name are not content: the same trial elsewhere has the same content.
NOT_CONTENT = ("seconds", "device")
