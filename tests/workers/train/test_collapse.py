"""At K = 1 the form of the KL term decides whether the units of a large latent layer survive the first epochs."""

import pytest
import torch

from workers.contract.settings import DataSettings, MeasureSettings
from workers.contract.settings_table import settings_from
from workers.contract.trial import Pack, pack_id_of, trial_of
from workers.measure.baseline import baseline_bound
from workers.measure.every_epoch import measure
from workers.model.inputs import load_data
from workers.replicas.device import prepare_device
from workers.train.learner import Learner

EPOCHS = 30


@pytest.mark.parametrize(("kl", "survives"), [("auto", True), ("sampled", False)])
def test_closed_form_keeps_units_that_the_sampled_form_prunes(kl: str, survives: bool):
    device = prepare_device("cpu")
    data = load_data(DataSettings(), MeasureSettings(), device)
    trials = [trial_of(settings_from({"n_z": 50, "seed": seed, "objective.kl": kl}), data.fingerprint) for seed in (0, 1)]
    pack = Pack(pack_id=pack_id_of([t.trial_id for t in trials], None, 0), trials=tuple(trials), borders=(EPOCHS,))
    learner = Learner(pack, data, device)
    for epoch in range(1, EPOCHS + 1):
        learner.train_epoch(epoch)
    measured = measure(learner.parameters, learner.architecture, data, learner.seeds, 1, EPOCHS)
    active = (measured.activity > 0.1).sum(-1)
    assert bool((active > 0).all()) == survives
    assert bool((measured.test_bound > baseline_bound(data, learner.architecture)).all()) == survives
    assert torch.isfinite(measured.test_bound).all()
