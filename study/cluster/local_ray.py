"""Start, watch and end Ray on this machine. Ray is imported only when a function needs it.

Nobody else can use this Ray. It listens on loopback alone. There a token that only its own processes hold in their
environment keeps out other users of the machine. Its sockets and logs are in a folder of mode 0700.
"""

import atexit
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from study.plan.machine import MachineError
from workers.contract.errors import reason_of

_ending = threading.Event()
"""Set before this process ends the Ray that it has started."""

_folders: list[Path] = []
"""Folders of the Rays that this process has started; the last one is in use."""

_LONGEST_SOCKET = 103
"""Most characters of the path of a socket; Linux allows 107."""

_OPEN = "r"
"""The folder that Ray uses, within one of mode 0700: Ray gives everybody all rights to its own."""

_BELOW = f"/{_OPEN}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""What Ray appends to the path of its folder."""

_NO_PORT = "65536"


def quiet_environment() -> None:
    """Turn off Ray's loggers, signal handler and statistics, and use one thread per process, before Ray is imported."""
    for name, value in {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    }.items():
        os.environ.setdefault(name, value)


def start_ray(slots: int) -> None:
    """Start Ray on this machine with `slots` cores.

    Raises:
        MachineError: there is no folder for its sockets.
    """
    quiet_environment()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    _folders.append(_new_folder())
    with _private_environment(), _without_sigterm():
        import ray

        _read_environment()
        ray.init(
            address="local",
            num_cpus=slots,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # Rows go to files, not through Ray, so the smallest store that Ray accepts is enough.
            object_store_memory=100 * 2**20,
            _temp_dir=str(_folders[-1] / _OPEN),
        )
    # TypeError: the handler was not installed from Python. ValueError: outside the main thread, where Ray sets none either.
    with suppress(TypeError, ValueError):
        signal.signal(signal.SIGTERM, on_sigterm)
    global _ending
    _ending = threading.Event()
    # Registered after Ray's own function, and so called before it.
    atexit.register(_end_at_exit, _ending, _folders[-1])
    threading.Thread(target=_end_with_gcs, args=(_ending,), daemon=True).start()


def socket_folder() -> Path:
    """Return the folder in which a Ray of this machine makes a folder of its own: RAY_TMPDIR, TMPDIR, or /tmp.

    Raises:
        MachineError: RAY_TMPDIR is too long for the path of a socket, or no folder can be written.
    """
    longest = _LONGEST_SOCKET - len(f"/{_PREFIX}12345678{_BELOW}")
    if named := os.environ.get("RAY_TMPDIR"):
        if len(named) > longest:
            raise MachineError(
                f"RAY_TMPDIR={named}: has {len(named)} characters, but the paths of Ray's sockets allow at most {longest}; "
                "name a shorter folder, or unset it"
            )
        return Path(named)
    try:
        own = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise MachineError(
            "no folder for temporary files can be written (TMPDIR, /tmp); set TMPDIR to one that can, with a short path"
        ) from error
    return Path(own if len(own) <= longest else "/tmp")


_PREFIX = "study-ray-"


def _new_folder() -> Path:
    base = socket_folder()
    try:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    except OSError as error:
        raise MachineError(
            f"{base}: Ray's sockets and logs cannot be stored there ({reason_of(error)}); set RAY_TMPDIR to a folder that "
            "can be written, with a short path"
        ) from error


@contextmanager
def _private_environment() -> Iterator[None]:
    """Set what the processes of this Ray inherit; this process itself may join another Ray later."""
    ours = {
        # Ray's switch for systems whose firewalls ask about every listener: it listens on 127.0.0.1 instead of everywhere.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        # Ray would write a token of its own to ~/.ray, readable by everybody.
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Pages of metrics ask for no token. They have no other switch than a port that does not exist.
        "RAY_enable_metrics_collection": "0",
        "AUTOSCALER_METRIC_PORT": _NO_PORT,
        "DASHBOARD_METRIC_PORT": _NO_PORT,
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _without_sigterm() -> Iterator[None]:
    """Let no process that is started here receive SIGTERM: batch systems send it to every process of a job.

    The driver receives it and asks the workers to store what they have, for which they and Ray must stay alive. Ray keeps
    Ctrl-C from its processes in the same way.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_environment() -> None:
    """Let Ray read the environment again, as it did when it was imported, perhaps long before."""
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    ray_constants.ENABLE_RAY_CLUSTER = False
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def _end_at_exit(ending: threading.Event, folder: Path) -> None:
    import ray

    ending.set()
    if folder in _folders:
        _end_by_force()
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def is_own() -> bool:
    """Return whether the Ray of this process is one that start_ray has started."""
    return bool(_folders)


def dead_processes() -> list[str]:
    """Return which of Ray's own processes have died; empty on a cluster that this process did not start."""
    from ray._private import worker

    # Ray has no public function for this.
    node = worker._global_node
    return sorted({name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"}) if node else []


def end_ray() -> Path | None:
    """End the Ray of this process, so that the next round starts a new one; return where its logs are, which are kept."""
    import ray

    _ending.set()
    _kill()
    ray.shutdown()
    return _logs_in(_folders.pop()) if _folders else None


def _logs_in(folder: Path) -> Path:
    return folder / _OPEN / "session_latest" / "logs"


def _end_with_gcs(ending: threading.Event) -> None:
    """End this process if Ray's gcs_server dies: it would hang, and Ray would end it after a minute without a message.

    If this process ends Ray itself, the gcs_server is expected to be gone.
    """
    while "gcs_server" not in (dead := dead_processes()):
        if ending.wait(1) or (not dead and not _is_up()):
            return
    if ending.is_set():
        return
    logs = f" (its logs: {_logs_in(_folders[-1])})" if _folders else ""
    print(
        f"Ray's {' and '.join(dead)} died{logs}; everything stored is intact; run the same command again to continue",
        file=sys.stderr,
        flush=True,
    )
    _kill()
    os._exit(1)


def _is_up() -> bool:
    from ray._private import worker

    return worker._global_node is not None


def _end_by_force() -> None:
    """Let ray.shutdown kill the processes of this Ray after it has left them: they do not receive SIGTERM.

    Killed before, they would be missed, and Ray would print pages about it.
    """
    from ray._private import worker

    if (node := worker._global_node) is not None:
        kill = node.kill_all_processes
        node.kill_all_processes = lambda *_, **__: kill(check_alive=False, allow_graceful=False)


def _kill() -> None:
    from ray._private import worker

    if (node := worker._global_node) is not None:
        # By force: a graceful shutdown would wait for the processes that died.
        node.kill_all_processes(check_alive=False, allow_graceful=False)
