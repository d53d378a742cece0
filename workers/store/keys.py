"""The paths of all files of a study, <out>/<study>/ and below; no other code builds a path."""

import re

PLAN_FOLDER, EPOCHS_FOLDER, TRIALS_FOLDER = "plan", "epochs", "trials"
WEIGHTS_FOLDER, CHECKPOINTS_FOLDER = "weights", "checkpoints"
LEASE_FOLDER, VERIFY_FOLDER = "lease", "verify"
FIGURES_FOLDER, REPORT = "figures", "report.html"

LATENT_CAPTIONS = "latent-captions.csv"
"""The captions of the latent figures, in the folder of figures."""

FOLDERS = (
    PLAN_FOLDER,
    EPOCHS_FOLDER,
    TRIALS_FOLDER,
    WEIGHTS_FOLDER,
    CHECKPOINTS_FOLDER,
    LEASE_FOLDER,
    VERIFY_FOLDER,
    FIGURES_FOLDER,
)
"""All folders that are written below a study."""


def study_url(out: str, study: str) -> str:
    """Return the address of the results of a study."""
    scheme, mark, path = out.rpartition("://")
    return f"{scheme}{mark}{path.rstrip('/')}/{study}"


def plan_key(number: int) -> str:
    """Return the key of an entry of the plan log; numbers start at 1."""
    return f"{PLAN_FOLDER}/{number:06d}.parquet"


def epochs_key(pack_id: str, first: int, last: int) -> str:
    """Return the key of the rows file of a pack from epoch `first` to the border `last`."""
    return f"{EPOCHS_FOLDER}/{pack_id}-{first:06d}-{last:06d}.parquet"


def trials_key(pack_id: str, epochs: int) -> str:
    """Return the key of the file that ends a pack, with one row per trial."""
    return f"{TRIALS_FOLDER}/{pack_id}-{epochs:06d}.parquet"


def weights_key(trial_id: str, epochs: int) -> str:
    """Return the key of a trained model."""
    return f"{WEIGHTS_FOLDER}/{trial_id}-{epochs:06d}.safetensors"


def checkpoint_key(pack_id: str, epoch: int, attempt: str) -> str:
    """Return the key of a pack's state at a border; each attempt has its own, so that no writer waits for another."""
    return f"{CHECKPOINTS_FOLDER}/{pack_id}-{epoch:06d}-{attempt}.safetensors"


def stop_key(run_id: str, pack_id: str | None = None) -> str:
    """Return the key that asks all workers of a run, or the worker of one pack, to stop at their next border."""
    return f"{CHECKPOINTS_FOLDER}/stop-{run_id}" + (f"-{pack_id}" if pack_id else "")


def closed_key(pack_id: str) -> str:
    """Return the key that forbids every worker to continue a pack."""
    return f"{CHECKPOINTS_FOLDER}/closed-{pack_id}"


def lease_key(number: int, run_id: str) -> str:
    """Return the key of the n-th heartbeat, by which the driver of a run shows that it is alive."""
    return f"{LEASE_FOLDER}/{number:06d}-{run_id}.json"


def verify_url(url: str, stamp: str) -> str:
    """Return the address of trials that were run again for `verify`, a folder laid out like a study without a plan."""
    return f"{url}/{VERIFY_FOLDER}/{stamp}"


CLOSED_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/closed-([0-9a-f]{{16}})")

EPOCHS_KEY = re.compile(rf"{EPOCHS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-(\d{{6,}})\.parquet")

TRIALS_KEY = re.compile(rf"{TRIALS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.parquet")

CHECKPOINT_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-[0-9a-f]+\.safetensors")

WEIGHTS_KEY = re.compile(rf"{WEIGHTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.safetensors")

LEASE_KEY = re.compile(rf"{LEASE_FOLDER}/(\d{{6,}})-([0-9a-f]+)\.json")
