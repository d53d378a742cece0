"""The peer on Ray Tune: one Tune trial per trial, as a user writes it (default) or as an expert tunes it (tuned).

python -m benchmarks.tune_peer default|tuned JOB.json runs the trials of the job and prints one line of JSON: the seconds
before Tune was started (start), and from then until it ended (run).
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

STARTED = time.perf_counter()


def main(kind: str, job: Path) -> None:
    """Run the trials of the job."""
    if kind == "tuned":
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "86400"
    import ray
    from ray import tune

    from benchmarks.tune_trial import train_one

    trials = json.loads(job.read_text())
    ray.init(address="local", num_cpus=len(os.sched_getaffinity(0)), include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            train_one,
            param_space={"trial": tune.grid_search([{**trial, "tuned": kind == "tuned"} for trial in trials])},
            tune_config=tune.TuneConfig(reuse_actors=kind == "tuned"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0 if kind == "tuned" else 1),
        )
        begun = time.perf_counter()
        results = tuner.fit()
        ended = time.perf_counter()
    failed = sum(result.error is not None or result.metrics is None or "nll" not in result.metrics for result in results)
    print(json.dumps({"start": begun - STARTED, "run": ended - begun, "failed": failed, "trials": len(results)}))
    ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
