"""Random kill -9 of a study whose results lie on an S3 service that fails at one request in twenty.

    python -m tests.end_to_end.s3_storm --kills 30 --out FOLDER

Prints a table and exits 1 if the bucket does not hold, key by key, what an undisturbed run puts into a folder, or if an upload is
left open. With `--believe-lost-answers` the store takes every PUT without an answer for done: the same storm must find that.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

from tests import ROOT
from tests.end_to_end.contents import contents
from tests.s3_server import AFTER, BEFORE, KEYS, FaultyProxy, make_bucket, open_uploads, s3_server
from workers.store.open import open_store

GRID = """
study: storm
factors: {{warmup: [0, 3], n_z: [2, 3], seed: [0, 1]}}
model: {{hidden: [16]}}
training: {{epochs: {epochs}}}
measure: {{nll_samples: 12, secondary_samples: 12}}
run: {{commit_every: 1}}
"""
BUCKET = "results"

BROKEN = """
import workers.store.bucket as bucket

def create(self, key, raw):
    try:
        self._client(0, len(raw)).put(key, raw, mode="create", use_multipart=False)
    except bucket.AlreadyExistsError:
        return False
    except (bucket.BaseError, OSError):
        pass
    return True

bucket.BucketStore.create = create
"""
"""What the negative control runs in every process."""


def main() -> int:
    words = _parser().parse_args()
    table, is_whole = storm(words.out, words.kills, words.seed, words.epochs, words.rate, words.believe_lost_answers)
    for name, value in table.items():
        print(f"| {name} | {value} |", flush=True)
    return 0 if is_whole else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rate", type=float, default=0.05, help="share of requests that are spoilt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--believe-lost-answers", action="store_true", help="the negative control")
    return parser


def storm(
    out: Path, kills: int, seed: int, epochs: int, rate: float = 0.05, believes: bool = False
) -> tuple[dict[str, object], bool]:
    """Returns what happened, and whether the bucket holds the study and nothing is left open."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    grid = out / "storm.yaml"
    grid.write_text(GRID.format(epochs=epochs))
    environment = {**os.environ, **KEYS, "PYTHONPATH": str(ROOT)}
    subprocess.run(_command(grid, str(out / "undisturbed")), check=True, env=environment, stdout=subprocess.DEVNULL)
    expected = contents(open_store(str(out / "undisturbed" / "storm")))
    if believes:
        (out / "broken").mkdir(exist_ok=True)
        (out / "broken" / "sitecustomize.py").write_text(BROKEN)
        environment["PYTHONPATH"] = f"{out / 'broken'}:{ROOT}"
    with s3_server(out / "moto.txt") as address:
        make_bucket(address, BUCKET)
        proxy = FaultyProxy(address, rate, seed, late_s=1.0)
        # One that is missed for certain: a study that goes on computes lost rows again, but never a trained model.
        proxy.first = "/weights/"
        environment["AWS_ENDPOINT_URL"] = proxy.url
        killed, in_a_put, code = _storm(grid, out / "log.txt", environment, proxy, kills, seed)
        with patch.dict(os.environ, {**KEYS, "AWS_ENDPOINT_URL": address}):
            stored = contents(open_store(f"s3://{BUCKET}/storm"), is_strict=False)
        uploads = open_uploads(address, BUCKET)
        proxy.close()
    lost, other = (
        expected.keys() - stored.keys(),
        [key for key in expected if stored.get(key, expected[key]) != expected[key]],
    )
    done = proxy.done
    table = {
        "kill -9, of these while a PUT was under way": f"{killed}, {in_a_put}",
        "requests seen by the service": sum(done[method] for method in ("PUT", "GET", "DELETE", "POST")),
        "spoilt: 500 or 503 / done, but the answer lost / or late": f"{sum(done[fault] for fault in BEFORE)} / "
        f"{' / '.join(str(done[fault]) for fault in AFTER)}",
        "keys expected / missing / other / too many": f"{len(expected)} / {len(lost)} / {len(other)} / "
        f"{len(stored.keys() - expected.keys())}",
        "uploads left open": uploads,
        "exit code of the last run": code,
        "seconds": round(time.monotonic() - started),
    }
    return table, stored == expected and not uploads and code == 0 and killed == kills


def _command(grid: Path, out: str) -> list[str]:
    return [sys.executable, "-m", "study.run", str(grid), "--executor", "inline", "--out", out]


def _storm(
    grid: Path, log: Path, environment: dict[str, str], proxy: FaultyProxy, kills: int, seed: int
) -> tuple[int, int, int]:
    """Kill the study again and again, then let it end; kills, those in a PUT, and the last exit code."""
    chance, killed, in_a_put = random.Random(seed), 0, 0
    with open(log, "wb") as file:
        while killed < kills:
            process = subprocess.Popen(_command(grid, f"s3://{BUCKET}"), env=environment, stdout=file, stderr=file)
            before = proxy.done["PUT"]
            wanted, aims = before + chance.randint(1, 4), chance.random() < 0.6
            while process.poll() is None and proxy.done["PUT"] < wanted:
                time.sleep(0.005)
            while aims and process.poll() is None and not proxy.under_way["PUT"]:
                time.sleep(0.0005)
            if process.poll() == 0:
                return killed, in_a_put, 0
            in_a_put += proxy.under_way["PUT"] > 0
            process.kill()
            process.wait()
            killed += 1
        # What a long row of faults has ended goes on with the same command.
        for _ in range(3):
            code = subprocess.run(_command(grid, f"s3://{BUCKET}"), env=environment, stdout=file, stderr=file).returncode
            if code == 0:
                break
    return killed, in_a_put, code


if __name__ == "__main__":
    sys.exit(main())
