"""Check packages, device, results folder, space and token: the checks of `study doctor` that need no study."""

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from study.cluster.local_ray import socket_folder
from study.doctor.check import Check
from study.doctor.versions import version_problems
from study.forecast.amounts import in_bytes
from study.forecast.forecast import stored_bytes
from study.grid.design import DesignError, cells_by_settings, trials_of
from study.grid.grid import Grid, GridError
from study.plan.cpus import cores
from study.plan.gpus import gpu_count
from study.plan.machine import Machine, MachineError, in_words, this_machine
from study.plan.packing import pack_trials
from workers.contract.errors import DataError, StoreError, reason_of
from workers.contract.settings import RunSettings
from workers.contract.user_paths import expanded, home_folder, quoted
from workers.data.images import Known, known
from workers.store.open import open_store

_PROBE_TORCH = "import torch; print(torch.cuda.device_count())"


def check_versions() -> Check:
    """Compare the installed packages with the ranges of pyproject.toml."""
    problems = version_problems()
    if problems is None:
        return Check(2, "packages: this project is not installed, so its ranges are not known; run pip install -e .")
    if problems:
        return Check(2, f"packages: {'; '.join(problems)}; run pip install -e . to install versions that fit")
    return Check(0, f"packages: all within the supported ranges, Python {sys.version.split()[0]}")


def check_device(grid: Grid | None) -> Check:
    """Report what packs would run on here, and whether torch can use it."""
    try:
        words = in_words(this_machine(grid.run if grid else RunSettings()))
    except MachineError as error:
        return Check(2, f"device: {error}")
    listed = gpu_count()
    if listed:
        # In a separate process: torch takes seconds to import, and a piece of the GPU's memory.
        done = subprocess.run([sys.executable, "-c", _PROBE_TORCH], capture_output=True, text=True, timeout=120, check=False)
        seen = done.stdout.strip() or "none"
        if seen != str(listed):
            return Check(2, f"device: {listed} GPUs are listed, but torch sees {seen}; check the driver with nvidia-smi")
    return Check(0, f"device: {words} ({cores()} cores in all)")


def check_store(out: str) -> Iterator[Check]:
    """Check that the results folder stores new keys whole and durably, and never replaces an old one."""
    try:
        open_store(out)
    except StoreError as error:
        yield Check(2, str(error))
        return
    is_bucket = "://" in out
    folder = out if is_bucket else next(path for path in (Path(out), *Path(out).absolute().parents) if path.is_dir())
    probe = f"{folder}/.doctor-{secrets.token_hex(8)}"
    store = open_store(probe)
    try:
        started = time.perf_counter()
        first = store.create("probe", b"first")
        took = time.perf_counter() - started
        second = store.create("probe", b"second")
        kept = store.read("probe")
    except StoreError as error:
        yield Check(2, f"results: {error}")
        return
    except OSError as error:
        reason = reason_of(error)
        yield Check(
            2,
            f"results: {folder} does not allow what a store needs ({reason}: new files, hard links, fsync); "
            "check its permissions and its free space, or name another --out",
        )
        return
    finally:
        with suppress(OSError):
            store.delete("probe")
        with suppress(OSError):
            if not is_bucket:
                Path(probe).rmdir()
    if not first or second or kept != b"first":
        yield Check(2, f"results: {folder} lets a stored file be replaced; name an --out on another file system or service")
    else:
        yield Check(
            0,
            f"results: {folder} is writable, never replaces a stored file"
            f"{'' if is_bucket else ', and syncs'} ({1000 * took:.0f} ms per file)",
        )


def check_space(grid: Grid, out: str) -> Check:
    """Compare the free space with what the whole grid needs."""
    if "://" in out:
        return Check(0, f"space: {out} is a bucket, so space is not limited")
    folder = next(path for path in (Path(out), *Path(out).absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    try:
        data = known(grid.base.data)
        cells_by_settings(grid)
        need = _bytes_of(grid, data)
    except (DataError, DesignError, GridError) as error:
        return Check(2, f"space: {error}")
    text = f"space: {in_bytes(free)} free, the grid needs about {in_bytes(need)}"
    return Check(0, text) if free > need else Check(2, f"{text}; free some, or name another --out")


def _bytes_of(grid: Grid, data: Known) -> float:
    """What the forecast of a run from the beginning foresees on this machine."""
    try:
        machine = this_machine(grid.run)
    except MachineError:
        # The device has its own line; what is stored is nearly the same on any.
        machine = Machine("cpu", cores())
    packs = pack_trials(trials_of(grid, data.fingerprint), grid.run, machine.device, machine.slots, data)
    done = dict.fromkeys((pack.pack_id for pack in packs), -1)
    return stored_bytes(packs, data, done, grid.run.keep_weights == "all")


def check_sockets() -> Iterator[Check]:
    """Report where Ray would put its sockets, if that is not the folder for temporary files: their paths must be short."""
    try:
        folder = str(socket_folder())
    except MachineError as error:
        yield Check(2, f"sockets: {error}")
        return
    if "RAY_TMPDIR" not in os.environ and folder != (usual := tempfile.gettempdir()):
        yield Check(0, f"sockets: Ray's are in {folder}, because {usual} (TMPDIR) is too long for the path of a socket")


def check_token() -> Check:
    """Check the token of a Ray cluster, if one is used; the token itself is never shown."""
    is_asked = os.environ.get("RAY_AUTH_MODE") == "token"
    if is_asked and os.environ.get("RAY_AUTH_TOKEN"):
        return Check(0, "token: RAY_AUTH_TOKEN is set")
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if given is None and home_folder() is None:
        text = "token: the home folder is not known (HOME is not set), so there is no token"
        return Check(2, f"{text}; name its file with RAY_AUTH_TOKEN_PATH") if is_asked else Check(0, text)
    path = Path(expanded(given or "~/.ray/auth_token"))
    if not path.is_file():
        if is_asked:
            return Check(2, f"token: RAY_AUTH_MODE is token, but {path} does not exist; run ray get-auth-token --generate")
        return Check(0, "token: none is used (RAY_AUTH_MODE is not token)")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Check(2, f"token: others can read {path} (mode {mode:04o}); run chmod 600 {quoted(path)}")
    if not path.stat().st_size:
        return Check(2, f"token: {path} is empty; remove it and run ray get-auth-token --generate")
    return Check(0, f"token: {path}, mode {mode:04o}")
