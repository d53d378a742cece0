"""Measures the latent spaces of a study's trained models, and writes the pictures and tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.figures.picture import Picture
from analysis.figures.replace_file import make_place, replace
from analysis.latent.models import (
    Digits,
    TrainedModel,
    codes,
    decode,
    read_digits,
    read_model,
    reconstruct,
)
from analysis.latent.numbers import (
    LATTICE,
    STEPS,
    Encoded,
    agreement,
    cross_entropy,
    lattice,
    plane_row,
    purity,
    silhouettes,
    traversal,
)
from analysis.latent.pictures import Panel, Scene, scene_pictures
from analysis.latent.trials import cells_of, measure_all
from analysis.loading.csv_text import csv_of
from analysis.loading.study import LoadError, Study
from workers.contract.errors import RecordError
from workers.contract.trial import trial_of
from workers.model.inputs import measured_at
from workers.store.keys import FIGURES_FOLDER, LATENT_CAPTIONS
from workers.store.weights_file import FROM_A_COPY


def latent(
    study: Study, decoder: str, root: str | None = None, seed: int | None = None
) -> tuple[list[Picture], dict[str, pd.DataFrame], str]:
    """Measure every completed trial at the base cell of the n_z contrast, and draw the pictures of one seed.

    Args:
        study: the output of `load`.
        decoder: one of its levels; nothing is pooled over decoders.
        root: see read_digits.
        seed: see cells_of.

    Returns:
        The pictures, the other tables by the stem of their files, and a line that sums them up.

    Raises:
        LoadError: see cells_of.
        RecordError: weights are missing or damaged; the file is named.
        DataError: see read_digits.
    """
    cells = cells_of(study, decoder, seed)
    first = cells.trials.iloc[0]
    digits = read_digits(_read(study, first).settings, first["fingerprint"], root)

    def measure(row: Mapping[str, Any]) -> Panel:
        model = _read(study, row)
        _refuse_other_weights(study, model, digits, row["fingerprint"])
        return _measure(model, digits, {name: row[name] for name in ("trial_id", *study.factors)})

    numbers = measure_all(cells, digits.test.classes, measure)
    scene = Scene(
        decoder=decoder,
        base=cells.base,
        seed=cells.seed,
        images=digits.test,
        panels=numbers.panels,
        per_class=numbers.per_class,
        per_trial=numbers.per_trial,
    )
    tables = {f"latent-trials-{decoder}": numbers.per_trial, f"latent-images-{decoder}": numbers.per_image}
    reader = digits.classifier
    words = f"the lattice is read by {reader.name}, {reader.accuracy:.1%} right on test images" if reader else "no labels"
    return scene_pictures(scene), tables, f"{decoder}: {len(numbers.per_trial)} trials; {words}"


def _read(study: Study, row: Mapping[str, Any] | pd.Series) -> TrainedModel:
    return read_model(study, str(row["trial_id"]), int(row["last_epoch"]))


def _refuse_other_weights(study: Study, model: TrainedModel, digits: Digits, fingerprint: str) -> None:
    """Check that weights belong to their trial: they may have been copied from another study.

    They must hold the settings of the trial, and reproduce the activity that was stored for it.

    Raises:
        RecordError: they do not.
    """
    rows = study.activity([model.trial_id])
    # Upper layers were measured with noise.
    n_z = model.network.architecture.latent[0]
    stored = rows[rows["epoch"] == model.epoch]["activity"].to_numpy(float)[:n_z]
    is_its_own = trial_of(model.settings, fingerprint).trial_id == model.trial_id
    if not is_its_own or len(stored) < n_z or model.network.architecture.n_x != digits.data.n_x:
        raise RecordError(model.path, "is damaged (its settings are not those of its trial)", FROM_A_COPY)
    found = codes(model, measured_at(digits.data, model.epoch).double().numpy(), layer=0).var(0)
    wrong = ~np.isclose(found, stored, rtol=0.02, atol=1e-3)
    if wrong.any():
        unit = int(np.flatnonzero(wrong)[0])
        raise RecordError(
            model.path,
            f"does not reproduce its trial's stored activity (unit {unit}: {found[unit]:.4g}, not {stored[unit]:.4g})",
            FROM_A_COPY,
        )


def _measure(model: TrainedModel, digits: Digits, facts: Mapping[str, Any]) -> Panel:
    """Measure a model on the test images, and collect everything that its figures show."""
    inputs, classes, shape = digits.test.inputs, digits.test.classes, digits.test.shape
    found, means = codes(model, inputs), reconstruct(model, inputs)
    activity = codes(model, measured_at(digits.data, model.epoch).double().numpy()).var(0)
    order = np.argsort(-activity, kind="stable")
    units = tuple(int(unit) for unit in order[:2])
    points = lattice(len(activity), units)
    decoded = decode(model, points)
    plane = None
    if classes is not None and digits.classifier is not None:
        plane = agreement(points, digits.classifier.read(decoded), found, classes)
    nothing = np.full(len(found), np.nan)
    numbers = {"activity_across": activity[units[0]], "activity_up": activity[units[1]] if len(units) > 1 else None}
    return Panel(
        encoded=Encoded(
            facts=facts,
            codes=found,
            cross_entropy=cross_entropy(inputs, means),
            purity=nothing if classes is None else purity(found, classes),
            silhouette=nothing if classes is None else silhouettes(found, classes),
        ),
        is_deep=len(model.network.architecture.latent) > 1,
        activity=activity,
        order=order,
        means=means,
        lattice=decoded.reshape(-1, LATTICE, *shape),
        points=points,
        plane=plane,
        traversals=decode(model, traversal(order)).reshape(len(order), len(STEPS), *shape),
        numbers=plane_row(plane, units, digits.classifier) | numbers,
    )


def write_latent(study: Study, root: str | None = None, seed: int | None = None) -> tuple[list[Path], list[str]]:
    """Write the pictures (PNG, PDF, CSV) and tables of every decoder into figures/; each file replaces an earlier one whole.

    Returns:
        The files written, and one line per decoder; a decoder without completed trials is left out, and its line says so.

    Raises:
        LoadError, RecordError, DataError: see latent; LoadError only if no decoder can be drawn.
        OSError: the study's folder is not writable.
    """
    files: dict[str, bytes] = {}
    lines, absent, captions = [], [], []
    for decoder in study.factors["decoder"]:
        try:
            pictures, tables, words = latent(study, decoder, root, seed)
        except LoadError as error:
            absent.append(error)
            continue
        lines.append(words)
        for picture in pictures:
            files |= {f"{picture.name}.{kind}": raw for kind, raw in picture.render().items()}
            tables[picture.name] = picture.table
            captions.append((picture.name, picture.title, picture.caption, picture.number))
        files |= {f"{name}.csv": csv_of(table) for name, table in tables.items()}
    if absent and not files:
        raise absent[0]
    table_of_captions = pd.DataFrame(captions, columns=["name", "title", "caption", "number"])
    files[LATENT_CAPTIONS] = csv_of(table_of_captions)
    make_place(study.path, study.url)
    for name, raw in files.items():
        replace(study.path / FIGURES_FOLDER / name, raw)
    return [study.path / FIGURES_FOLDER / name for name in files], [*lines, *map(str, absent)]
