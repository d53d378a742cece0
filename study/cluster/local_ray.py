"""Start, watch and end Ray on this machine. Ray is imported only when a function needs it."""

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
    """Start Ray on this machine with `slots` cores."""
    import ray

    quiet_environment()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=slots,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        # Rows go to files, not through Ray, so the smallest store that Ray accepts is enough.
        object_store_memory=100 * 2**20,
    )
    # TypeError: the handler was not installed from Python. ValueError: outside the main thread, where Ray sets none either.
    with suppress(TypeError, ValueError):
        signal.signal(signal.SIGTERM, on_sigterm)
    global _ending
    _ending = threading.Event()
    # Registered after Ray's own function, and so called before it.
    atexit.register(_ending.set)
    threading.Thread(target=_end_with_gcs, args=(_ending,), daemon=True).start()


def dead_processes() -> list[str]:
    """Return which of Ray's own processes have died; empty on a cluster that this process did not start."""
    from ray._private import worker

    # Ray has no public function for this.
    node = worker._global_node
    return sorted({name for name, _ in node.dead_processes()} & {"raylet", "gcs_server"}) if node else []


def end_ray() -> None:
    """End the Ray of this process, so that the next round starts a new one."""
    import ray

    _ending.set()
    _kill()
    ray.shutdown()


def _end_with_gcs(ending: threading.Event) -> None:
    """End this process if Ray's gcs_server dies: it would hang, and Ray would end it after a minute without a message.

    If this process ends Ray itself, the gcs_server is expected to be gone.
    """
    while "gcs_server" not in (dead := dead_processes()):
        if ending.wait(1) or (not dead and not _is_up()):
            return
    if ending.is_set():
        return
    print(
        f"Ray's {' and '.join(dead)} died; everything stored is intact; run the same command again to continue",
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
        # By force: a graceful shutdown would wait for the processes that died.
        node.kill_all_processes(check_alive=False, allow_graceful=False)
