"""Named settings from the literature; each value is looked up in its source, see docs/settings.md."""

from collections.abc import Mapping

from workers.settings import SettingValue

PRESETS: Mapping[str, Mapping[str, SettingValue]] = {
    # Bettencourt and Craddock: what their text states, and for what it leaves open the values of docs/settings.md.
    "paper": {
        "data.name": "mnist",
        "data.input": "dynamic",
        "data.n_valid": 5000,
        "model.hidden": (200, 200),
        "model.activation": "softplus",
        "objective.kl": "auto",
        "training.epochs": 300,
        "training.batch_size": 100,
        "training.learning_rate": 1e-3,
        "training.beta1": 0.9,
        "training.beta2": 0.9,
        "training.epsilon": 1e-4,
        "training.epsilon_mode": "tf1",
        "measure.threshold": 0.1,
        "measure.images": 10_000,
        "measure.nll_samples": 5000,
    },
}
