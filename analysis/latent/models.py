"""Reads trained models from weights files, and computes their codes, reconstructions and decoded points."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from analysis.latent.numbers import (
    Classifier,
    Floats,
    fit_classifier,
)
from analysis.latent.pictures import Shown
from analysis.loading.study import Study
from workers.contract.errors import DataError, RecordError, reason_of
from workers.contract.settings import DataSettings, Settings
from workers.contract.user_paths import expanded
from workers.data.images import known, load_images
from workers.data.subset import subset
from workers.model.architecture import Architecture, architecture_of
from workers.model.inputs import Data, data_from
from workers.model.layers import fixed_statistics
from workers.model.networks import Model, conditional_prior, pixel_mean_of, pixels, posterior
from workers.store.keys import WEIGHTS_FOLDER, weights_key
from workers.store.open import open_store
from workers.store.weights_file import FROM_A_COPY, decode_weights

PART = 1000
"""Images per forward pass; it changes no number, as the statistics of batch normalisation are fixed."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained model from its weights file, in float64, with a replica axis of 1 in front of every tensor."""

    path: str
    """Path of the weights file."""
    trial_id: str
    epoch: int
    settings: Settings
    network: Model
    """Batch normalisation uses the fixed statistics of evaluation."""


def read_model(study: Study | str | Path, trial_id: str, epochs: int | None = None) -> TrainedModel:
    """Read the trained model of a trial; nothing is unpickled.

    Args:
        study: the output of `load`, or the folder of a study.
        trial_id: a trial that has completed.
        epochs: number of epochs after which it was stored; None: the longest training stored.

    Raises:
        RecordError: its weights are missing or damaged; the file is named.
    """
    root = study.url if isinstance(study, Study) else expanded(study).rstrip("/")
    store = open_store(root)
    keys = [key for key in store.list(WEIGHTS_FOLDER) if key.startswith(f"{WEIGHTS_FOLDER}/{trial_id}-")]
    wanted = f"{WEIGHTS_FOLDER}/{trial_id}-*.safetensors" if epochs is None else weights_key(trial_id, epochs)
    key = max(keys, key=lambda key: (len(key), key), default=wanted) if epochs is None else wanted
    if key not in keys:
        raise RecordError(f"{root}/{key}", "there is no such file: the weights of this trial are missing", FROM_A_COPY)
    try:
        raw = store.read(key)
    except OSError as error:
        raise RecordError(f"{root}/{key}", f"cannot be read ({reason_of(error)})", FROM_A_COPY) from error
    return _parse(raw, f"{root}/{key}", key)


def _parse(raw: bytes, path: str, key: str) -> TrainedModel:
    arrays, facts = decode_weights(raw, path)
    try:
        settings = Settings.model_validate_json(json.dumps(facts["settings"]))
        trial_id, epoch = str(facts["trial_id"]), int(facts["epoch"])
    except (ValidationError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise RecordError(path, f"is damaged or not a weights file ({type(error).__name__})", FROM_A_COPY) from error
    tensors = {name: torch.from_numpy(array.copy()).double().unsqueeze(0) for name, array in arrays.items()}
    if weights_key(trial_id, epoch) != key:
        held = f"holds the weights of trial {trial_id} after epoch {epoch}"
        raise RecordError(path, held, "move it away and restore the right file from a copy")
    first = tensors.get("encoder.hidden0.weight")
    if first is None or first.ndim != 3:
        raise RecordError(path, "is damaged (encoder.hidden0.weight is missing)", FROM_A_COPY)
    architecture = architecture_of(settings, first.shape[1])
    wanted = _shapes(architecture)
    found = {name: tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise RecordError(
                path, f"is damaged ({name} is {found.get(name)} and should be {wanted.get(name)})", FROM_A_COPY
            )
        if not torch.isfinite(tensors[name]).all() or (name.startswith("running_variance/") and tensors[name].min() < 0):
            raise RecordError(path, f"is damaged ({name} has impossible numbers)", FROM_A_COPY)
    layers = [name.removeprefix("running_mean/") for name in wanted if name.startswith("running_mean/")]
    statistics = {name: (tensors[f"running_mean/{name}"], tensors[f"running_variance/{name}"]) for name in layers}
    parameters = {name: tensor for name, tensor in tensors.items() if not name.startswith("running_")}
    network = Model(parameters, architecture, fixed_statistics(statistics))
    return TrainedModel(path, trial_id, epoch, settings, network)


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a weights file, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (n_in, n_out) in architecture.layers().items():
        shapes |= {f"{name}.weight": (n_in, n_out), f"{name}.bias": (1, n_out)}
        if architecture.is_normalised(name):
            row = (1, n_out)
            shapes |= {f"{name}.scale": row, f"running_mean/{name}": row, f"running_variance/{name}": row}
    if architecture.decoder == "gaussian" and architecture.decoder_logvar == "global":
        shapes["decoder.log_variance"] = (1, 1)
    return shapes


def codes(model: TrainedModel, images: Floats, layer: int = -1) -> Floats:
    """Return the means of q(z|x), [image, unit]; with several stochastic layers each layer's mean is the next one's input.

    Args:
        model: the output of `read_model`.
        images: inputs as the model was trained on them, [image, pixel].
        layer: stochastic layer, from 0 at the image; -1 is the top, where the prior is N(0, I).
    """
    return _in_parts(images, lambda x: _means(model, x)[layer])


def reconstruct(model: TrainedModel, images: Floats) -> Floats:
    """Return E[x|z_1] at the mean of q(z_1|x), [image, pixel]."""
    return _in_parts(images, lambda x: _pixel_means(model, _means(model, x)[0]))


def decode(model: TrainedModel, z: Floats) -> Floats:
    """Return E[x|z] at points of the top layer, [point, pixel]; lower layers take their conditional prior means."""
    return _in_parts(z, lambda points: _pixel_means(model, _down(model, points)))


def _down(model: TrainedModel, h: Tensor) -> Tensor:
    for layer in reversed(range(len(model.network.architecture.latent) - 1)):
        h, _ = conditional_prior(model.network, layer, h)
    return h


def _means(model: TrainedModel, x: Tensor) -> list[Tensor]:
    means = [x]
    for layer in range(len(model.network.architecture.latent)):
        means.append(posterior(model.network, layer, means[-1])[0])
    return means[1:]


def _pixel_means(model: TrainedModel, z: Tensor) -> Tensor:
    heads = pixels(model.network, z)
    return pixel_mean_of(model.network.architecture, heads)


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
    """A classifier of grey pixels; None without labels."""


def read_digits(settings: Settings, fingerprint: str, root: str | None = None) -> Digits:
    """Load the data set of a trial with its classes, and fit a classifier of them.

    Args:
        settings: the settings of the trial.
        fingerprint: the fingerprint of the data that it was trained on.
        root: folder of the data; None: the folder that the settings name.

    Raises:
        DataError: the data are missing, or differ from those that the trial was trained on.
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
    shown = Shown(shape, data.test.double().numpy(), grey, images.test_labels, images.class_names)
    return Digits(data, shown, classifier)


def _moved(settings: DataSettings, root: str | None) -> DataSettings:
    if root is None:
        return settings
    if settings.path is not None:
        return settings.model_copy(update={"path": str(Path(root) / Path(settings.path).name)})
    return settings.model_copy(update={"root": root})
