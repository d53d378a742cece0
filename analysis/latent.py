"""`python -m analysis.latent results/quickstart`: pictures of the latent space and their numbers, from stored weights."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor

from analysis.average import AverageError
from analysis.files import replace
from analysis.findings import LATENT_CAPTIONS
from analysis.latent_pictures import Panel, Scene, Shown, scene_pictures
from analysis.latent_scene import cells_of, measure_all
from analysis.latent_tables import (
    LATTICE,
    STEPS,
    Classifier,
    Encoded,
    Floats,
    agreement,
    cross_entropy,
    fit_classifier,
    lattice,
    plane_row,
    purity,
    silhouettes,
    traversal,
)
from analysis.load import LoadError, Study, load
from analysis.pictures import Picture
from analysis.report import BAD_INPUT, DAMAGED
from workers.architecture import Architecture, architecture_of
from workers.data import Data, data_from, measured_at
from workers.images import DamagedDataError, DataError, known, load_images
from workers.layers import fixed_statistics
from workers.model import conditional_prior, pixel_mean_of, pixels, posterior
from workers.records import RecordError, VersionError
from workers.settings import DataSettings, Settings
from workers.store import FIGURES_FOLDER, WEIGHTS_FOLDER, open_store, weights_key
from workers.subset import subset
from workers.trial import trial_of
from workers.weights import decode_weights

PART = 1000
"""Images at a time; changes no number, as statistics are fixed."""

_COPY = "restore it from a copy"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model as its weights file has it, in float64, with a replica axis of 1 in front of every tensor."""

    path: str
    """Of the weights file."""
    trial_id: str
    epoch: int
    settings: Settings
    architecture: Architecture
    parameters: Mapping[str, Tensor]
    statistics: Mapping[str, tuple[Tensor, Tensor]]
    """Mean and variance of every batch-normalised layer in evaluation."""


def read_model(study: Study | str | Path, trial_id: str, epochs: int | None = None) -> Model:
    """The trained model of a trial; nothing is unpickled.

    Args:
        study: what `load` gave, or the folder of a study.
        trial_id: of a trial that has completed.
        epochs: after which it was stored; None: the longest training there is.

    Raises:
        RecordError: its weights are missing or damaged; the file is named.
    """
    root = study.url if isinstance(study, Study) else str(study).rstrip("/")
    store = open_store(root)
    keys = [key for key in store.list(WEIGHTS_FOLDER) if key.startswith(f"{WEIGHTS_FOLDER}/{trial_id}-")]
    wanted = f"{WEIGHTS_FOLDER}/{trial_id}-*.safetensors" if epochs is None else weights_key(trial_id, epochs)
    key = max(keys, key=lambda key: (len(key), key), default=wanted) if epochs is None else wanted
    if key not in keys:
        raise RecordError(f"{root}/{key}", "there is no such file: the weights of this trial are missing", _COPY)
    try:
        raw = store.read(key)
    except OSError as error:
        raise RecordError(f"{root}/{key}", f"cannot be read ({error.strerror})", _COPY) from error
    return _parse(raw, f"{root}/{key}", key)


def _parse(raw: bytes, path: str, key: str) -> Model:
    arrays, facts = decode_weights(raw, path)
    try:
        settings = Settings.model_validate_json(json.dumps(facts["settings"]))
        trial_id, epoch = str(facts["trial_id"]), int(facts["epoch"])
    except (ValidationError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RecordError(path, f"is damaged or no weights file ({type(error).__name__})", _COPY) from error
    tensors = {name: torch.from_numpy(array.copy()).double().unsqueeze(0) for name, array in arrays.items()}
    if weights_key(trial_id, epoch) != key:
        held = f"holds the weights of trial {trial_id} after epoch {epoch}"
        raise RecordError(path, held, "move it away and restore the right file from a copy")
    first = tensors.get("encoder.hidden0.weight")
    if first is None or first.ndim != 3:
        raise RecordError(path, "is damaged (encoder.hidden0.weight is missing)", _COPY)
    architecture = architecture_of(settings, first.shape[1])
    wanted = _shapes(architecture)
    found = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise RecordError(path, f"is damaged ({name} is {found.get(name)} and should be {wanted.get(name)})", _COPY)
        if not torch.isfinite(tensors[name]).all() or (name.startswith("running_variance/") and tensors[name].min() < 0):
            raise RecordError(path, f"is damaged ({name} has numbers that cannot be)", _COPY)
    layers = [name.removeprefix("running_mean/") for name in wanted if name.startswith("running_mean/")]
    statistics = {name: (tensors[f"running_mean/{name}"], tensors[f"running_variance/{name}"]) for name in layers}
    parameters = {name: tensor for name, tensor in tensors.items() if not name.startswith("running_")}
    return Model(path, trial_id, epoch, settings, architecture, parameters, statistics)


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Every tensor of a weights file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (n_in, n_out) in architecture.layers().items():
        shapes |= {f"{name}.weight": (n_in, n_out), f"{name}.bias": (1, n_out)}
        if architecture.is_normalised(name):
            row = (1, n_out)
            shapes |= {f"{name}.scale": row, f"running_mean/{name}": row, f"running_variance/{name}": row}
    if architecture.decoder == "gaussian" and architecture.decoder_logvar == "global":
        shapes["decoder.log_variance"] = (1, 1)
    return shapes


def codes(model: Model, images: Floats, layer: int = -1) -> Floats:
    """Means of q(z|x), [image, unit]; of several stochastic layers each one's mean goes into the next, and the top counts.

    Args:
        model: what `read_model` gave.
        images: inputs as the model was trained on them, [image, pixel].
        layer: stochastic layer, from 0 at the image; -1 is the top, where the prior is N(0, I).
    """
    return _in_parts(images, lambda x: _means(model, x)[layer])


def reconstruct(model: Model, images: Floats) -> Floats:
    """E[x|z_1] at the mean of q(z_1|x), [image, pixel]."""
    return _in_parts(images, lambda x: _pixel_means(model, _means(model, x)[0]))


def decode(model: Model, z: Floats) -> Floats:
    """E[x|z] of points of the top layer, [point, pixel]; layers below are at the means of their conditional priors."""
    return _in_parts(z, lambda points: _pixel_means(model, _down(model, points)))


def _down(model: Model, h: Tensor) -> Tensor:
    for layer in reversed(range(len(model.architecture.latent) - 1)):
        h, _ = conditional_prior(model.parameters, model.architecture, layer, h, fixed_statistics(model.statistics))
    return h


def _means(model: Model, x: Tensor) -> list[Tensor]:
    means = [x]
    for layer in range(len(model.architecture.latent)):
        q = posterior(model.parameters, model.architecture, layer, means[-1], fixed_statistics(model.statistics))
        means.append(q[0])
    return means[1:]


def _pixel_means(model: Model, z: Tensor) -> Tensor:
    heads = pixels(model.parameters, model.architecture, z, fixed_statistics(model.statistics))
    return pixel_mean_of(model.architecture, heads)


@torch.no_grad()
def _in_parts(rows: Floats, function: Callable[[Tensor], Tensor]) -> Floats:
    tensor = torch.from_numpy(np.asarray(rows, dtype=np.float64))
    found = [function(tensor[None, None, first : first + PART])[0, 0] for first in range(0, len(rows), PART)]
    return torch.cat(found).numpy()


@dataclass(frozen=True, eq=False)
class Digits:
    """The images of a study."""

    data: Data
    test: Shown
    classifier: Classifier | None
    """Of grey pixels; None without labels."""


def read_digits(settings: Settings, fingerprint: str, root: str | None = None) -> Digits:
    """The data set of a trial, its classes, and a classifier of them.

    Args:
        settings: of the trial.
        fingerprint: of the data it was trained on.
        root: folder of the data, where it is not that of the study.

    Raises:
        DataError: the data are not there, or are other data.
    """
    chosen = _moved(settings.data, root)
    found = known(chosen).fingerprint
    if found != fingerprint:
        raise DataError(
            f"data: the study was trained on other data (fingerprint {fingerprint[:12]}) than {chosen.path or chosen.name} "
            f"({found[:12]}); name the folder of its data with --root"
        )
    images = subset(load_images(chosen), chosen)
    data, plain = (data_from(images, found, settings.measure, torch.device("cpu"), kind) for kind in (chosen.input, "grey"))
    grey = plain.test.double().numpy()
    classifier = None
    if images.train_labels is not None and images.test_labels is not None:
        classifier = fit_classifier(plain.train.numpy(), images.train_labels, grey, images.test_labels)
    shape = int(images.test.shape[1]), int(images.test.shape[2])
    return Digits(data, Shown(shape, data.test.double().numpy(), grey, images.test_labels), classifier)


def _moved(settings: DataSettings, root: str | None) -> DataSettings:
    if root is None:
        return settings
    if settings.path is not None:
        return settings.model_copy(update={"path": str(Path(root) / Path(settings.path).name)})
    return settings.model_copy(update={"root": root})


def latent(
    study: Study, decoder: str, root: str | None = None, seed: int | None = None
) -> tuple[list[Picture], dict[str, pd.DataFrame], str]:
    """Numbers of every completed trial at the base cell of the n_z contrast, and pictures of one seed.

    Args:
        study: what `load` gave.
        decoder: one of its levels; nothing is pooled over decoders.
        root: see read_digits.
        seed: see cells_of.

    Returns:
        The pictures, the other tables by the stem of their files, and a line for the reader.

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


def _read(study: Study, row: Mapping[str, Any] | pd.Series) -> Model:
    return read_model(study, str(row["trial_id"]), int(row["last_epoch"]))


def _refuse_other_weights(study: Study, model: Model, digits: Digits, fingerprint: str) -> None:
    """Weights must say their trial's settings, and give the activity that was stored of it: they may be of another study.

    Raises:
        RecordError: they do not.
    """
    rows = study.activity([model.trial_id])
    # Upper layers were measured with noise.
    n_z = model.architecture.latent[0]
    stored = rows[rows["epoch"] == model.epoch]["activity"].to_numpy(float)[:n_z]
    is_its_own = trial_of(model.settings, fingerprint).trial_id == model.trial_id
    if not is_its_own or len(stored) < n_z or model.architecture.n_x != digits.data.n_x:
        raise RecordError(model.path, "is damaged (it does not say what its trial is)", _COPY)
    found = codes(model, measured_at(digits.data, model.epoch).double().numpy(), layer=0).var(0)
    wrong = ~np.isclose(found, stored, rtol=0.02, atol=1e-3)
    if wrong.any():
        unit = int(np.flatnonzero(wrong)[0])
        raise RecordError(
            model.path,
            f"does not give the activity stored of its trial (unit {unit}: {found[unit]:.4g}, not {stored[unit]:.4g})",
            _COPY,
        )


def _measure(model: Model, digits: Digits, facts: Mapping[str, Any]) -> Panel:
    """A model on the test images, and what a figure of it shows."""
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
        is_deep=len(model.architecture.latent) > 1,
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
    """Write the pictures (PNG, PDF, CSV) and tables of every decoder into figures/; earlier ones are replaced whole.

    Returns:
        The files written, and a line a decoder; one whose trials have not ended is left out, and its line says so.

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
        files |= {f"{name}.csv": table.to_csv(index=False).encode() for name, table in tables.items()}
    if absent and not files:
        raise absent[0]
    said = pd.DataFrame(captions, columns=["name", "title", "caption", "number"])
    files[LATENT_CAPTIONS] = said.to_csv(index=False).encode()
    for name, raw in files.items():
        replace(study.path / FIGURES_FOLDER / name, raw)
    return [study.path / FIGURES_FOLDER / name for name in files], [*lines, *map(str, absent)]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 written, 2 bad input, 3 damaged data."""
    parser = argparse.ArgumentParser(prog="python -m analysis.latent", description=__doc__)
    parser.add_argument("study", help="folder of a study, such as results/quickstart; its trials must have ended")
    parser.add_argument("--root", help="folder of the data sets, where it is not that of the study")
    parser.add_argument("--seed", type=int, help="seed to draw; default: the first that has completed")
    given = parser.parse_args(arguments)
    try:
        study = load(given.study)
        written, lines = write_latent(study, given.root, given.seed)
    except (LoadError, AverageError, DataError, RecordError) as error:
        print(error, file=sys.stderr)
        is_damage = isinstance(error, DamagedDataError | RecordError) and not isinstance(error, VersionError)
        return DAMAGED if is_damage else BAD_INPUT
    except OSError as error:
        path = error.filename or given.study
        print(f"{path}: cannot be read or written ({error.strerror}); check the disk and its rights", file=sys.stderr)
        return BAD_INPUT
    print("\n".join(f"{study.name}: {line}" for line in lines))
    for path in written:
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
