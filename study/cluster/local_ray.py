"""This machine's own Ray: started quietly, watched, ended. Imports Ray when it is called, not before."""

import atexit
import logging
import os
import signal
import sys
import threading
from contextlib import suppress

_ending = threading.Event()
"""Set before this process ends the Ray that it has started."""


def quiet_environment() -> None:
    """Before Ray is imported: its own loggers, signal handler and statistics off, one thread a process."""
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
    """Start a Ray on this machine that has so many cores."""
    import ray

    quiet_environment()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # Rows go to files, not through Ray: the least that Ray accepts is enough.
        object_store_memory=100 * 2**20,
    )
    # TypeError: it was not installed from Python. ValueError: not in the main thread, where Ray leaves it alone as well.
    with suppress(TypeError, ValueError):
        signal.signal(signal.SIGTERM, on_sigterm)
    global _ending
    _ending = threading.Event()
    # Registered after Ray's own, and so called before it.
    atexit.register(_ending.set)
    threading.Thread(target=_end_with_gcs, args=(_ending,), daemon=True).start()


def dead_processes() -> list[str]:
    """Those of Ray's own processes on this machine that have died; none on a cluster that others started."""
    from ray._private import worker

    # Ray has no public way to ask.
    node = worker._global_node
    return sorted({name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"}) if node else []


def end_ray() -> None:
    """End this process's Ray, so that the next round starts another."""
    import ray

    _ending.set()
    _kill()
    ray.shutdown()


def _end_with_gcs(ending: threading.Event) -> None:
    """Without Ray's gcs_server this process hangs in Ray, which ends it after a minute without a word for the user.

    Where this process ends its Ray itself, as at its own end, a gcs_server that is gone is as it should be.
    """
    while "gcs_server" not in (dead := dead_processes()):
        if ending.wait(1) or (not dead and not _is_up()):
            return
    if ending.is_set():
        return
    print(
        f"Ray's {' and '.join(dead)} died; what is stored is whole, and the same command goes on",
        file=sys.stderr,
        flush=True,
    )
    _kill()
    os._exit(1)


def _is_up() -> bool:
    from ray._private import worker

    return worker._global_node is not None


def _kill() -> None:
    from ray._private import worker

    if (node := worker._global_node) is not None:
        # By force: a shutdown in good order asks those who died.
        node.kill_all_processes(check_alive=False, allow_graceful=False)
