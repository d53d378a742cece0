"""One job in one process, as an executor runs it, and the device that it asks for."""

import platform

import numpy as np
import pytest
import torch

import workers.train.attempts
from tests.workers import tiny
from workers.contract.errors import DataError
from workers.contract.failure import Failure
from workers.contract.job import Job
from workers.contract.settings import DataSettings
from workers.contract.trial import trial_of
from workers.data.files import read_images
from workers.data.images import OtherDataError, fingerprint, load_images
from workers.replicas.device import describe_device, prepare_device
from workers.store.keys import plan_key, stop_key
from workers.store.listing import identity
from workers.store.open import open_store
from workers.train.attempts import run_attempts, run_job


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "mine.npz"
    whole = load_images(DataSettings())
    np.savez(path, images=whole.train[:60], labels=whole.train_labels[:60])
    known_as = fingerprint(load_images(DataSettings(name="npz", path=str(path))))
    # Where data lie is no part of a trial: the job says it.
    trials = tuple(trial_of(tiny.settings(data__name="npz", seed=seed), known_as) for seed in (0, 1))
    store = str(tmp_path / "results" / "study")
    open_store(store).create(plan_key(1), b"the driver writes it before any job")
    return Job(
        pack=tiny.pack_of(trials, (1, 2)),
        ancestors=(),
        precision="auto",
        keep_weights=True,
        max_failures=3,
        root=None,
        path=str(path),
        store=store,
        study=identity(open_store(store)),
        device="cpu",
        run_id="run1",
        provenance={"commit": "abc", "dirty": True},
    )


def test_a_job_is_trained_to_its_end(job):
    reports = []
    outcome = run_job(job, reports.append)
    assert (outcome.status, outcome.diverged) == ("done", {})
    assert [report.epoch for report in reports if report.seconds] == [0, 1, 2]
    store = open_store(job.store)
    assert len(tiny.rows(store)) == 6
    assert {row["status"] for row in tiny.ended(store).values()} == {"completed"}


def test_a_job_crosses_processes_as_text(job):
    assert Job.model_validate_json(job.model_dump_json()) == job


def test_a_job_stops_when_its_run_is_asked_to(job):
    store = open_store(job.store)
    store.create(stop_key(job.run_id), b"")
    assert run_job(job, lambda progress: None).status == "stopped"
    assert store.list("epochs") == []
    later = job.model_copy(update={"run_id": "run2"})
    assert run_job(later, lambda progress: None).status == "done"


def test_a_pack_asked_to_stop_does_not_measure_its_end(job):
    """One whose process dies there comes to no border, and would die for ever."""
    begun = job.model_copy(update={"pack": job.pack.model_copy(update={"borders": (1,)})})
    run_job(begun, lambda progress: None)
    store = open_store(job.store)
    for key in store.list("trials"):
        store.delete(key)
    store.create(stop_key(job.run_id, job.pack.pack_id), b"")
    assert run_job(begun, lambda progress: None).status == "stopped"
    assert store.list("trials") == []
    assert run_job(begun.model_copy(update={"run_id": "run2"}), lambda progress: None).status == "done"


def test_a_parent_is_handed_on(job):
    parent = job.pack.model_copy(update={"borders": (1, 2)})
    first = job.model_copy(update={"pack": parent.model_copy(update={"borders": (1,)})})
    run_job(first, lambda progress: None)
    child = tiny.pack_of(parent.trials[1:], (2,), parent, from_epoch=1)
    told = []
    run_job(job.model_copy(update={"pack": child, "ancestors": (parent,)}), told.append)
    assert {progress.epoch for progress in told} == {2}
    rows = tiny.rows(open_store(job.store))
    assert {epoch for trial_id, epoch in rows if trial_id == parent.trials[1].trial_id} == {0, 1, 2}


def test_data_that_are_gone_are_one_sentence(job):
    with pytest.raises(DataError, match=r"gone\.npz is not a file"):
        run_job(job.model_copy(update={"path": job.path.replace("mine", "gone")}), lambda progress: None)


def replaced(path):
    """Other images of the same size in the same file; returns the fingerprint of the former ones and of these."""
    settings = DataSettings(name="npz", path=path)
    former = fingerprint(load_images(settings))
    whole = load_images(DataSettings())
    np.savez(path, images=whole.train[60:120], labels=whole.train_labels[60:120])
    return former, fingerprint(load_images(settings))


def test_data_that_were_replaced_after_planning_are_refused_before_anything_is_trained(job):
    planned, there = replaced(job.path)
    reports = []
    ended = run_attempts(job, reports.append, reports.append)
    assert isinstance(ended, Failure)
    assert ended.kind == "damaged_data", "neither tried again nor a fault of its trials"
    assert ended.sentence.startswith(
        f"data.path: {job.path} has the fingerprint {there}, but this study was planned on data"
    )
    assert f"with the fingerprint {planned}; put the former data back, or give the study another name" in ended.sentence
    assert reports == []
    store = open_store(job.store)
    assert [store.list(folder) for folder in ("epochs", "trials", "weights", "checkpoints")] == [[], [], [], []]


def test_a_pack_planned_on_two_data_sets_is_refused(job):
    other = job.pack.trials[1].model_copy(update={"fingerprint": "0" * 64})
    mixed = job.model_copy(update={"pack": tiny.pack_of((job.pack.trials[0], other), (1, 2))})
    with pytest.raises(OtherDataError, match=f"with the fingerprint {'0' * 64}"):
        run_job(mixed, lambda progress: None)


def test_the_file_is_read_once_and_what_was_kept_is_not_taken_for_another(job, monkeypatch):
    """A file that is replaced between two readings could be hashed as one thing and trained on as another."""
    read = []
    monkeypatch.setattr("workers.data.images.read_images", lambda settings: read.append(settings) or read_images(settings))
    workers.train.attempts._data.cache_clear()
    assert run_job(job, lambda progress: None).status == "done"
    assert len(read) == 1
    of_first = tiny.rows(open_store(job.store))
    _, there = replaced(job.path)
    anew = tuple(trial_of(trial.settings, there) for trial in job.pack.trials)
    read.clear()
    assert run_job(job.model_copy(update={"pack": tiny.pack_of(anew, (1, 2))}), lambda progress: None).status == "done"
    assert len(read) == 1, "the data set of the job before is not used again"
    rows = tiny.rows(open_store(job.store))
    for before, after in zip(job.pack.trials, anew, strict=True):
        assert rows[after.trial_id, 2]["test_bound"] != of_first[before.trial_id, 2]["test_bound"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(
        ValueError, match=r"run\.device: got cuda, but this machine has no cuda device; allowed here: auto, cpu"
    ):
        prepare_device("cuda")


def test_a_device_sets_the_process_up_each_time():
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        assert prepare_device("cpu") == torch.device("cpu")
        assert torch.get_num_threads() == 1
        assert torch.get_default_dtype() == torch.float32
    finally:
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)


def test_provenance_names_what_can_change_a_number():
    found = describe_device(torch.device("cpu"))
    assert found.keys() == {
        "device",
        "device_name",
        "precision",
        "generator",
        "instructions",
        "python",
        "torch",
        "numpy",
        "platform",
    }
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["device"] == "cpu"
    assert found["numpy"] == np.__version__


def test_a_node_that_sees_no_plan_trains_nothing(job, tmp_path):
    """One that came after the driver had asked all, and has a disk of its own under the same name."""
    own = job.model_copy(update={"store": str(tmp_path / "own" / "study"), "max_failures": 1})
    ended = run_attempts(own, lambda progress: None, lambda failure: None)
    assert isinstance(ended, Failure)
    assert ended.kind == "store", "no fault of its trials"
    assert f"no plan was found on node {platform.node()}" in ended.sentence
    assert str(tmp_path / "own" / "study") in ended.sentence
    assert not (tmp_path / "own").exists()
