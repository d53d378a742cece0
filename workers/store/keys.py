"""The paths of all files of a study, <out>/<study>/ and below; no other code builds a path.

The grammar below says what a key is. A key is built only if it matches, so that no id that somebody wrote into a file leads
out of the study's folder.
"""

import re

from workers.contract.errors import RecordError

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


ID = re.compile(r"[0-9a-f]{16}")
"""The id of a trial or a pack."""

_ID, _EPOCH, _ATTEMPT, _RUN = "[0-9a-f]{16}", "[0-9]{6,10}", "[0-9a-f]{1,64}", "[0-9A-Za-z]{1,64}"

PLAN_KEY = re.compile(rf"{PLAN_FOLDER}/([0-9]{{6,10}})\.parquet")

EPOCHS_KEY = re.compile(rf"{EPOCHS_FOLDER}/({_ID})-({_EPOCH})-({_EPOCH})\.parquet")

TRIALS_KEY = re.compile(rf"{TRIALS_FOLDER}/({_ID})-({_EPOCH})\.parquet")

WEIGHTS_KEY = re.compile(rf"{WEIGHTS_FOLDER}/({_ID})-({_EPOCH})\.safetensors")

CHECKPOINT_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/({_ID})-({_EPOCH})-{_ATTEMPT}\.safetensors")

PAUSE_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/pause-({_ID})-({_EPOCH})-{_ATTEMPT}\.parquet")

CLOSED_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/closed-({_ID})")

STOP_KEY = re.compile(rf"{CHECKPOINTS_FOLDER}/stop-{_RUN}(-{_ID})?")

LEASE_KEY = re.compile(rf"{LEASE_FOLDER}/([0-9]{{6,18}})-([0-9a-f]{{1,64}})\.json")


def study_url(out: str, study: str) -> str:
    """Return the address of the results of a study."""
    scheme, mark, path = out.rpartition("://")
    return f"{scheme}{mark}{path.rstrip('/')}/{study}"


def plan_key(number: int) -> str:
    """Return the key of an entry of the plan log; numbers start at 1."""
    return _checked(PLAN_KEY, f"{PLAN_FOLDER}/{number:06d}.parquet")


def epochs_key(pack_id: str, first: int, last: int) -> str:
    """Return the key of the rows file of a pack from epoch `first` to the border `last`."""
    return _checked(EPOCHS_KEY, f"{EPOCHS_FOLDER}/{pack_id}-{first:06d}-{last:06d}.parquet")


def trials_key(pack_id: str, epochs: int) -> str:
    """Return the key of the file that ends a pack, with one row per trial."""
    return _checked(TRIALS_KEY, f"{TRIALS_FOLDER}/{pack_id}-{epochs:06d}.parquet")


def weights_key(trial_id: str, epochs: int) -> str:
    """Return the key of a trained model."""
    return _checked(WEIGHTS_KEY, f"{WEIGHTS_FOLDER}/{trial_id}-{epochs:06d}.safetensors")


def checkpoint_key(pack_id: str, epoch: int, attempt: str) -> str:
    """Return the key of a pack's state at a border; each attempt has its own, so that no writer waits for another."""
    return _checked(CHECKPOINT_KEY, f"{CHECKPOINTS_FOLDER}/{pack_id}-{epoch:06d}-{attempt}.safetensors")


def pause_key(pack_id: str, epoch: int, attempt: str) -> str:
    """Return the key of the rows that a pack had measured since its last border when it was asked to stop."""
    return _checked(PAUSE_KEY, f"{CHECKPOINTS_FOLDER}/pause-{pack_id}-{epoch:06d}-{attempt}.parquet")


def stop_key(run_id: str, pack_id: str | None = None) -> str:
    """Return the key that asks all workers of a run, or the worker of one pack, to stop after their epoch."""
    return _checked(STOP_KEY, f"{CHECKPOINTS_FOLDER}/stop-{run_id}" + (f"-{pack_id}" if pack_id else ""))


def closed_key(pack_id: str) -> str:
    """Return the key that forbids every worker to continue a pack."""
    return _checked(CLOSED_KEY, f"{CHECKPOINTS_FOLDER}/closed-{pack_id}")


def lease_key(number: int, run_id: str) -> str:
    """Return the key of the n-th heartbeat, by which the driver of a run shows that it is alive."""
    return _checked(LEASE_KEY, f"{LEASE_FOLDER}/{number:06d}-{run_id}.json")


def verify_url(url: str, stamp: str) -> str:
    """Return the address of trials that were run again for `verify`, a folder laid out like a study without a plan."""
    return f"{url}/{VERIFY_FOLDER}/{stamp}"


def _checked(grammar: re.Pattern[str], key: str) -> str:
    """Return the key if it matches.

    Raises:
        RecordError: a part of it is no id or number of a study.
    """
    if not grammar.fullmatch(key):
        raise RecordError(key[:200], "is not the name of a file of a study", _FROM_A_FILE)
    return key


_FROM_A_FILE = "a stored file must have named it; study doctor finds that file; restore it from a copy, or move it away"
