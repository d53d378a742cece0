"""Stored columns: what they are called and hold, and that every list of columns elsewhere follows from their description."""

import re
import runpy
from collections import Counter
from dataclasses import replace
from typing import get_args

import pyarrow as pa
import pytest

import analysis.loading.vectors
import study.forecast.forecast
from analysis.claims.values import better_of, unit_of
from analysis.effects.seed_table import direction_of, floor_of
from analysis.loading.labels import measure_in_words
from analysis.stats.estimate import COUNT_FLOOR
from tests import ROOT
from workers.contract import columns
from workers.contract.column import Column, Per, Unit, at_the_last_epoch, refuse_other_fields
from workers.contract.columns import (
    AT_THE_LAST_EPOCH,
    COLUMNS,
    CURVES,
    EPOCH_COLUMNS,
    EPOCHS,
    MEASURED_AT_THE_END,
    MEASURED_EVERY_EPOCH,
    NOT_CONTENT,
    PLAN,
    PLAN_COLUMNS,
    SCHEMA_VERSION,
    TRIAL_COLUMNS,
    TRIAL_MEASURES,
    TRIALS,
    VECTORS,
    table_of,
    unit_of_column,
)
from workers.contract.settings import FACTORS
from workers.contract.settings_table import leaves

TABLES = {"epochs": EPOCH_COLUMNS, "trials": TRIAL_COLUMNS, "plan": PLAN_COLUMNS}

# What version 4 stores, name by name; a difference here is another version.
FACTORS_OF_4 = "decoder string, k int32, batch_norm bool, warmup int32, n_z int32, seed int64"
EPOCHS_OF_4 = f"""
    schema_version int32, trial_id string, {FACTORS_OF_4}, epoch int32, beta double, train_objective double,
    train_bound double, test_bound double, test_elbo double, test_reconstruction double, test_kl double, ess double,
    saturated_mean double, saturated_log_variance double, active_units int32, activity floats, activity_test floats,
    activity_pca floats, kl_per_unit floats, kl_per_unit_test floats, posterior_mean floats, posterior_variance floats,
    reconstruction_per_class floats, seconds double
"""
TRIALS_OF_4 = f"""
    schema_version int32, trial_id string, pack_id string, {FACTORS_OF_4}, status string, epochs int32, last_epoch int32,
    train_bound double, test_bound double, test_elbo double, nll double, nll_samples int32, l_1 double, l_5 double,
    l_64 double, nll_comparable double, test_mse double, test_cross_entropy double, saturated_pixels double,
    mutual_information double, marginal_kl double, ablation_low double, ablation_between double, ablation_low_elbo double,
    ablation_between_elbo double, bound_bin double, secondary_samples int32, activity_bin floats, activity_grey floats,
    active_units int32, baseline_bound double, seconds double, device string
"""
PLAN_OF_4 = """
    schema_version int32, trial_id string, pack_id string, parent_pack string, from_epoch int32, borders ints,
    layer_sizes ints, fingerprint string
"""
LISTS = {"floats": pa.list_(pa.float32()), "ints": pa.list_(pa.int32())}


def schema_from(text: str) -> list[tuple[str, pa.DataType]]:
    fields = (entry.split() for entry in text.split(","))
    return [(name, LISTS.get(kind) or pa.type_for_alias(kind)) for name, kind in fields]


@pytest.mark.parametrize(("schema", "text"), [(EPOCHS, EPOCHS_OF_4), (TRIALS, TRIALS_OF_4)], ids=["epochs", "trials"])
def test_schemas_are_those_of_version_4(schema, text):
    assert SCHEMA_VERSION == 4
    assert [(field.name, field.type) for field in schema] == schema_from(text)


def test_the_plan_has_its_own_columns_and_then_every_setting():
    own = schema_from(PLAN_OF_4)
    assert [(field.name, field.type) for field in PLAN][: len(own)] == own
    assert PLAN.names[len(own) :] == list(leaves())


@pytest.mark.parametrize("table", TABLES)
def test_every_column_has_a_unit_a_known_per_and_one_sentence(table):
    for column in TABLES[table]:
        assert column.unit in get_args(Unit), column.name
        assert column.per in get_args(Per), column.name
        assert re.fullmatch(r"[^\n|]{10,120}\.", column.about), column.about
        assert ". " not in column.about, column.about
    names = [column.name for column in TABLES[table]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("unit", "", "unit is ''; it must be one of nats per example, "),
        ("unit", "nats", "unit is 'nats'"),
        ("per", "row", "per is 'row'"),
        ("per", "latent unit", "one value per latent unit does not fit the type double"),
        ("type", pa.list_(pa.float32()), "one value per trial does not fit the type list"),
        ("source", "", "source is ''"),
        ("better", "more", "better is 'more'; it must be one of higher, lower, neither"),
        ("about", "", "write one sentence"),
    ],
)
def test_a_column_that_is_not_described_is_refused(field, value, text):
    fine = Column("planted", pa.float64(), "share", "The share of what is planted.", "trial", "end")
    with pytest.raises(ValueError, match=f"column planted: .*{re.escape(text)}"):
        replace(fine, **{field: value})


def test_a_name_means_the_same_in_every_table():
    every = [column for table in TABLES.values() for column in table]
    shared = [name for name, count in Counter(column.name for column in every).items() if count > 1]
    assert {"trial_id", "test_bound", "active_units", "seconds", *FACTORS} <= set(shared)
    for name in shared:
        facts = {(c.type, c.unit, c.better, c.is_content) for c in every if c.name == name}
        assert len(facts) == 1, name


def test_the_factors_are_described_in_their_order():
    assert [column.name for column in EPOCH_COLUMNS if column.name in FACTORS] == list(FACTORS)


def test_a_column_of_the_last_epoch_is_one_per_trial():
    bound = at_the_last_epoch(COLUMNS["test_bound"])
    assert bound.per == "trial"
    assert bound.about == "The `test_bound` of the trial's last epoch."
    assert bound in TRIAL_COLUMNS


IN_NATS = {
    *("train_objective", "train_bound", "test_bound", "test_elbo", "test_reconstruction", "test_kl"),
    *("reconstruction_per_class", "nll", "l_1", "l_5", "l_64", "nll_comparable", "test_cross_entropy"),
    *("mutual_information", "marginal_kl", "ablation_low", "ablation_between", "ablation_low_elbo"),
    *("ablation_between_elbo", "bound_bin", "baseline_bound"),
}
"""By hand; KL per unit is in nats of one unit, which docs/verify.md compares as it does activities."""

HIGHER = {
    *("test_bound", "test_elbo", "train_bound", "train_objective", "l_1", "l_5", "l_64", "test_reconstruction"),
    *("reconstruction_per_class", "bound_bin"),
}
LOWER = {"nll", "nll_comparable", "test_mse", "test_cross_entropy"}
PER_UNIT = {
    *("activity", "activity_test", "activity_pca", "kl_per_unit", "kl_per_unit_test"),
    *("posterior_mean", "posterior_variance"),
}


def test_columns_in_nats():
    """tests/study/verify/test_gaps.py shows that these alone are compared in the band of nats."""
    assert {name for name, column in COLUMNS.items() if column.unit == "nats per example"} == IN_NATS
    assert {name for name in COLUMNS if unit_of("final", name) == "nats"} == IN_NATS


def test_directions():
    assert {name for name in COLUMNS if direction_of(name) is True} == HIGHER
    assert {name for name in COLUMNS if direction_of(name) is False} == LOWER
    assert direction_of("epochs_to_target") is False
    assert direction_of("no column") is None
    assert {name for name in VECTORS if better_of("by_class", name)} == {"reconstruction_per_class"}


def test_counts_of_units_have_the_variance_of_rounding():
    assert {name for name in (*CURVES, *TRIAL_MEASURES) if floor_of(name)} == {"active_units"}
    assert floor_of("active_units") == COUNT_FLOOR


def test_vectors_are_known_to_the_forecast_and_to_loading():
    assert set(VECTORS) == {*PER_UNIT, "reconstruction_per_class"}
    assert len(PER_UNIT) == study.forecast.forecast.VECTORS
    kept: dict = {}
    analysis.loading.vectors.keep(kept, "key", EPOCHS.empty_table(), 0)
    assert {column for _, column in kept} == set(VECTORS)


def test_what_is_measured_once_and_what_in_every_epoch():
    assert set(TRIAL_MEASURES) == {field.name for field in TRIALS if field.type == pa.float64()} - {
        "train_bound",
        "test_bound",
        "test_elbo",
    }
    assert set(CURVES) == {f.name for f in EPOCHS if f.type == pa.float64()} - {"beta", "seconds"} | {"active_units"}
    assert AT_THE_LAST_EPOCH == ("train_bound", "test_bound", "test_elbo", "active_units")
    assert set(NOT_CONTENT) == {"seconds", "device"}
    assert {name for name, column in COLUMNS.items() if not column.is_of_the_trial} == {"seconds", "device", "pack_id"}


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("nll", "nll (nats per example)"),
        ("active_units", "active units"),
        ("ess", "ess (share)"),
        ("epochs_to_target", "epochs to target"),
    ],
)
def test_a_measure_is_shown_with_its_unit(column, words):
    assert measure_in_words(column) == words


@pytest.mark.parametrize(
    ("value", "column", "unit"),
    [
        ("final", "active_units", "units"),
        ("slope", "test_bound", "nats per epoch"),
        ("slope", "active_units", "units per epoch"),
        ("final", "ess", "share"),
        ("half_life", "", "epochs"),
        ("latent", "spearman_purity", "rho"),
    ],
)
def test_a_claim_is_counted_in_the_unit_of_its_column(value, column, unit):
    assert unit_of(value, column) == unit


def test_a_measurement_has_the_fields_of_its_columns():
    refuse_other_fields("Some", ["nll", "l_1"], [COLUMNS["l_1"], COLUMNS["nll"]])
    with pytest.raises(TypeError, match="Some lacks l_1; measure it, or drop the column"):
        refuse_other_fields("Some", ["nll"], [COLUMNS["nll"], COLUMNS["l_1"]])
    with pytest.raises(TypeError, match=r"Some has l_2, which no column stores; describe it in columns\.py"):
        refuse_other_fields("Some", ["nll", "l_2"], [COLUMNS["nll"]])


@pytest.mark.parametrize(
    ("module", "name", "measured"),
    [
        ("every_epoch", "MEASURED_EVERY_EPOCH", MEASURED_EVERY_EPOCH),
        ("at_the_end", "MEASURED_AT_THE_END", MEASURED_AT_THE_END),
    ],
)
def test_a_column_without_a_measurement_and_the_reverse_fail_at_import(monkeypatch, module, name, measured):
    path = str(ROOT / "workers" / "measure" / f"{module}.py")
    runpy.run_path(path)
    planted = replace(measured[0], name="planted")
    monkeypatch.setattr(columns, name, (*measured, planted))
    with pytest.raises(TypeError, match="lacks planted"):
        runpy.run_path(path)
    monkeypatch.setattr(columns, name, measured[1:])
    with pytest.raises(TypeError, match=f"has {measured[0].name}, which no column stores"):
        runpy.run_path(path)


def test_a_row_has_every_column_and_no_other():
    row = dict.fromkeys(TRIALS.names)
    assert table_of([row, row], TRIALS).schema == TRIALS
    for wrong, name in (({**row, "planted": 1}, "planted"), ({n: row[n] for n in row if n != "nll"}, "nll")):
        with pytest.raises(TypeError, match=f"a row and its schema differ in {name}$"):
            table_of([row, wrong], TRIALS)


def test_a_name_that_is_no_column_has_no_unit():
    assert unit_of_column("epochs_to_target") == ""
