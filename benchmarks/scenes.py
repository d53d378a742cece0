"""Makes packs on random images for checks and timings, with the sizes of MNIST or small enough to run anywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from workers.contract.settings import MeasureSettings, Settings, SettingValue
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.data.arrays import Images
from workers.model.inputs import Data, data_from
from workers.train.learner import Learner


@dataclass(frozen=True)
class Scene:
    """A device, images on it, and the settings that all trials share."""

    device: torch.device
    data: Data
    common: Mapping[str, SettingValue]


def scene(device: torch.device, n_train: int, n_test: int, n_x: int, common: Mapping[str, SettingValue]) -> Scene:
    """Make random grey images, binarised anew in every step."""
    rng = np.random.default_rng(0)
    # Most pixels are black, as in images of digits.
    grey = [np.maximum(rng.random((n, n_x), dtype=np.float32) * 3 - 2, 0) for n in (n_train, n_test)]
    labels = [rng.integers(0, 10, n) for n in (n_train, n_test)]
    images = Images(grey[0], grey[1], labels[0], labels[1])
    measure = MeasureSettings(images=max(2, n_train // 6))
    return Scene(device, data_from(images, "0" * 64, measure, device), common)


def full(device: torch.device, n_train: int = 60_000, n_test: int = 10_000) -> Scene:
    """Make images of MNIST's size and the paper's networks."""
    return scene(device, n_train, n_test, 784, {"training.batch_size": 100})


def small(device: torch.device) -> Scene:
    """Make a few images of odd size and small networks; the last batch is smaller than the others."""
    common = {"training.batch_size": 24, "model.hidden": (12, 9), "n_z": 5, "training.learning_rate": 0.01}
    return scene(device, 62, 31, 21, common)


def pack_of(scene: Scene, members: Sequence[Mapping[str, SettingValue]]) -> Pack:
    """Return the pack of some trials, each given by its differences from the settings of the scene."""
    return pack_of_trials([settings_from({**scene.common, **member}) for member in members], scene.data)


def pack_of_trials(members: Sequence[Settings], data: Data) -> Pack:
    """Return the pack of the trials with these settings."""
    trials = tuple(trial_of(member, data.fingerprint) for member in members)
    return Pack(pack_id=pack_id_of([trial.trial_id for trial in trials], None, 0), trials=trials, borders=(300,))


def learner_of(scene: Scene, members: Sequence[Mapping[str, SettingValue]]) -> Learner:
    """Make the learner of a pack as on a GPU, on any device."""
    return Learner(pack_of(scene, members), scene.data, scene.device, on_device=True)


def onto(data: Data, device: torch.device) -> Data:
    """Move the data to a device."""
    tensors = {field.name: getattr(data, field.name) for field in fields(data)}
    return replace(data, **{name: t.to(device) for name, t in tensors.items() if isinstance(t, torch.Tensor)})
