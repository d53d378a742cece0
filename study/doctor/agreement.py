"""Compare what whole files say with the plan: the trials, their order and settings, the measurements, the trained models."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from workers.contract.errors import RecordError
from workers.contract.settings import FACTORS, Settings
from workers.contract.settings_table import value_of
from workers.contract.trial import measured_with, trial_of
from workers.store.ends import COMPLETED, DIVERGED, FAILED
from workers.store.keys import PLAN_FOLDER, TRIALS_FOLDER
from workers.store.placement import pack_in, unlike_the_plan
from workers.store.plan_log import Plan

_COPY = "restore it from a copy"

File = tuple[str, pa.Table, Mapping[str, Any]]
"""The key of a file of epochs/ or trials/, its table and its footer."""


def plan_at_odds(plan: Plan) -> Iterator[RecordError]:
    """Yield how a plan contradicts itself although every id in it is right."""
    packs = list(plan.packs.values())
    for pack in packs:
        if lengths := {trial.settings.training.epochs for trial in pack.trials} - {pack.epochs}:
            text = f"plans trials of pack {pack.pack_id} to epoch {min(lengths)}, but its last border is {pack.epochs}"
            yield RecordError(f"{PLAN_FOLDER}/", text, _COPY)
    ways = Counter(tuple(measured_with(pack).items()) for pack in packs)
    if len(ways) > 1:
        (most, _), (other, _), *_ = ways.most_common()
        name = next(name for (name, value), (_, there) in zip(most, other, strict=True) if value != there)
        text = f"plans trials with measure.{name}: {dict(most)[name]} and others with {dict(other)[name]}"
        yield RecordError(f"{PLAN_FOLDER}/", text, _COPY)


def files_at_odds(files: Sequence[File], plan: Plan) -> Iterator[RecordError]:
    """Yield how files of epochs/ and trials/ contradict the plan; what is wrong with a name is reported elsewhere."""
    for key, table, footer in files:
        if error := unlike_the_plan(key, table, footer, plan) or _unlike_its_pack(key, table, footer, plan):
            yield error
    yield from _other_settings(files, plan)


def _unlike_its_pack(key: str, table: pa.Table, footer: Mapping[str, Any], plan: Plan) -> RecordError | None:
    pack = plan.packs.get(pack_in(key))
    if pack is None:
        return None
    is_end = key.startswith(f"{TRIALS_FOLDER}/")
    if footer.get("closed") and not is_end and len(table):
        return RecordError(key, "says that its pack was closed before these epochs, and yet has rows of them", _COPY)
    if footer.get("closed") and not len(table):
        return None
    members = [trial.trial_id for trial in pack.trials]
    there = table["trial_id"].unique().to_pylist()
    if there != [member for member in members if member in set(there)]:
        return RecordError(key, f"has the trials of pack {pack.pack_id} in another order than the plan", _COPY)
    if is_end and table["trial_id"].to_pylist() != members:
        return RecordError(key, f"has not one row for each of the {len(members)} trials of pack {pack.pack_id}", _COPY)
    if is_end:
        for row in table.select(["trial_id", "status", "epochs", "last_epoch"]).to_pylist():
            is_right = row["status"] in (DIVERGED, FAILED) or (
                row["status"] == COMPLETED and row["epochs"] == row["last_epoch"]
            )
            if not is_right:
                text = f"has trial {row['trial_id']} as {row['status']} after epoch {row['last_epoch']} of {row['epochs']}"
                return RecordError(key, text, _COPY)
    return None


def _other_settings(files: Sequence[File], plan: Plan) -> Iterator[RecordError]:
    """Yield every file in which a trial has other factors than in the plan."""
    names = ["trial_id", *FACTORS]

    def wrong_in(tables: Sequence[pa.Table]) -> tuple[str, str, Any, Any] | None:
        whole = pa.concat_tables(table.select(names).replace_schema_metadata(None) for table in tables)
        for row in whole.group_by(names).aggregate([]).to_pylist():
            # Rows of trials that were never planned are reported elsewhere.
            if (trial := plan.trials.get(row["trial_id"])) is None:
                continue
            for name in FACTORS:
                if row[name] != (planned := value_of(trial.settings, name)):
                    return row["trial_id"], name, row[name], planned
        return None

    # One look at all rows costs less than one at every file.
    if not files or wrong_in([table for _, table, _ in files]) is None:
        return
    for key, table, _ in files:
        if wrong := wrong_in([table]):
            trial_id, name, got, planned = wrong
            yield RecordError(
                key, f"has rows of trial {trial_id} with {name}: {got}, which is planned with {planned}", _COPY
            )


def model_at_odds(key: str, trial_id: str, epochs: int, facts: Mapping[str, Any], plan: Plan) -> RecordError | None:
    """Return how the header of a trained model contradicts the plan, or None."""
    planned = plan.trials.get(trial_id)
    if planned is None:
        return RecordError(
            key, f"is a model of trial {trial_id}, which is not in the plan", "move it out of the study's folder"
        )
    packs = [pack for pack in plan.packs.values() if planned.trial_id in {trial.trial_id for trial in pack.trials}]
    if not any(epochs in pack.borders for pack in packs):
        return RecordError(key, f"is a model after epoch {epochs}, at which trial {trial_id} has no border", _COPY)
    try:
        settings = Settings.model_validate_json(json.dumps(facts.get("settings")))
    except ValueError:
        return RecordError(key, "has no settings of a trial in its header", _COPY)
    own = trial_of(settings, planned.fingerprint).trial_id
    if own != trial_id:
        return RecordError(key, f"has the settings of trial {own} in its header", _COPY)
    for name, value in measured_with(packs[0]).items():
        if (got := value_of(settings, f"measure.{name}")) != value:
            return RecordError(key, f"was measured with measure.{name}: {got}, but the plan says {value}", _COPY)
    return None
