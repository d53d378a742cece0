"""Where everything of a study lies: <out>/<study>/ and below; the only code that builds a path."""

import re

PLAN_FOLDER, EPOCHS_FOLDER, TRIALS_FOLDER = "plan", "epochs", "trials"
WEIGHTS_FOLDER, CHECKPOINTS_FOLDER = "weights", "checkpoints"
LEASE_FOLDER, VERIFY_FOLDER = "lease", "verify"
FIGURES_FOLDER, REPORT = "figures", "report.html"

LATENT_CAPTIONS = "latent-captions.csv"
"""The captions of the latent figures, below the folder of figures."""

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
"""Everything that anybody writes below a study."""


def study_url(out: str, study: str) -> str:
    """Where the results of a study lie."""
    return f"{out.rstrip('/')}/{study}"


def plan_key(number: int) -> str:
    """The key of the n-th entry of the plan log, from 1."""
    return f"{PLAN_FOLDER}/{number:06d}.parquet"


def epochs_key(pack_id: str, first: int, last: int) -> str:
    """The key of the rows of a pack from one border to the next."""
    return f"{EPOCHS_FOLDER}/{pack_id}-{first:06d}-{last:06d}.parquet"


def trials_key(pack_id: str, epochs: int) -> str:
    """The key of the row a trial that ends a pack."""
    return f"{TRIALS_FOLDER}/{pack_id}-{epochs:06d}.parquet"


def weights_key(trial_id: str, epochs: int) -> str:
    """The key of a trained model."""
    return f"{WEIGHTS_FOLDER}/{trial_id}-{epochs:06d}.safetensors"


def checkpoint_key(pack_id: str, epoch: int, attempt: str) -> str:
    """The key of a pack's state at a border; unique to the attempt, so that nobody waits for another's."""
    return f"{CHECKPOINTS_FOLDER}/{pack_id}-{epoch:06d}-{attempt}.safetensors"


def stop_key(run_id: str, pack_id: str | None = None) -> str:
    """The key whose presence asks the workers of one run, or that of one pack, to stop at their next border."""
    return f"{CHECKPOINTS_FOLDER}/stop-{run_id}" + (f"-{pack_id}" if pack_id else "")


def closed_key(pack_id: str) -> str:
    """The key whose presence says that nobody may go on with a pack."""
    return f"{CHECKPOINTS_FOLDER}/closed-{pack_id}"


def lease_key(number: int, run_id: str) -> str:
    """The key of the n-th heartbeat by which the driver of one run says that it is there."""
    return f"{LEASE_FOLDER}/{number:06d}-{run_id}.json"


def verify_url(url: str, stamp: str) -> str:
    """Where trials of a study that were run again lie; laid out like a study without a plan."""
    return f"{url}/{VERIFY_FOLDER}/{stamp}"


CLOSED_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/closed-([0-9a-f]{{16}})")

EPOCHS_KEY = re.compile(rf"{EPOCHS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-(\d{{6,}})\.parquet")

TRIALS_KEY = re.compile(rf"{TRIALS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.parquet")

CHECKPOINT_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})-[0-9a-f]+\.safetensors")

WEIGHTS_KEY = re.compile(rf"{WEIGHTS_FOLDER}/([0-9a-f]{{16}})-(\d{{6,}})\.safetensors")

LEASE_KEY = re.compile(rf"{LEASE_FOLDER}/(\d{{6,}})-([0-9a-f]+)\.json")
