"""Random kill -9 of worker, driver, raylet and gcs_server through one study on real Ray, a reader polling throughout.

    python -m tests.end_to_end.kill_storm --workers 50 --drivers 30 --ray 20 --seed 0

Prints a table and exits 1 if a row is doubled, missing, torn or other than that of an undisturbed run. With
`--trust-checkpoints` the commit is broken on purpose (a checkpoint is believed without its rows): the same storm must find that.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tests.end_to_end.processes import end_leftovers, family, named

GRID = """
study: storm
factors:
  decoder: [bernoulli, gaussian]
  k: [1, 5]
  batch_norm: [false, true]
  warmup: [0, 10]
  n_z: [10]
  seed: {seeds}
training: {{epochs: {epochs}}}
measure: {{nll_samples: 20, secondary_samples: 20}}
run: {{commit_every: {every}}}
"""
KEYS = ["trial_id", "epoch"]

BROKEN = """
import workers.train.commit, workers.train.loop
from workers.store.listing import checkpoints

def newest(store, pack, ancestors, device):
    found = [(epoch, key) for pack_id, epoch, key in checkpoints(store) if pack_id == pack.pack_id]
    return workers.train.commit.from_bytes(store.read(max(found)[1]), device) if found else None

workers.train.loop.newest_state = newest
"""
"""What the negative control runs in every process: trust the newest checkpoint, whether its rows are there or not."""


@dataclass
class Seen:
    """What the reader saw while the study ran."""

    reads: int = 0
    torn: list[str] = field(default_factory=list)
    doubled: int = 0
    vanished: int = 0
    checkpoints: set[str] = field(default_factory=set)


def main() -> int:
    words = _parser().parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    grid = words.out / "storm.yaml"
    grid.write_text(GRID.format(epochs=words.epochs, every=words.every, seeds=list(range(words.seeds))))
    expected = _undisturbed(grid, words.out / "undisturbed")
    folder, seen, over = words.out / "storm" / "storm", Seen(), threading.Event()
    reader = threading.Thread(target=_read, args=(folder, seen, over))
    reader.start()
    started = time.monotonic()
    try:
        killed, narrow, finished_early = _storm(grid, words)
    finally:
        over.set()
        reader.join()
    rows, named = _rows(folder), _named_checkpoints(folder)
    between = sum(name not in named for name in narrow)
    stored = Counter(name.rsplit("-", 1)[0] for name in seen.checkpoints)
    again = sum(count - 1 for count in stored.values())
    missing = len(expected) - len(rows.drop_duplicates(KEYS))
    doubled = int(rows.duplicated(KEYS).sum())
    is_equal = rows.equals(expected)
    table = {
        "kill -9 of worker, driver, raylet, gcs_server": " / ".join(
            str(killed[name]) for name in ("worker", "driver", "raylet", "gcs_server")
        ),
        "of these between a checkpoint and its rows": between,
        "rows expected / doubled / missing": f"{len(expected)} / {doubled} / {missing}",
        "equal to the undisturbed run": is_equal,
        "reads while it ran, torn / with doubled rows / with rows gone": f"{seen.reads}, "
        f"{len(seen.torn)} / {seen.doubled} / {seen.vanished}",
        "borders trained again to their end": f"{again} of {len(stored)} seen, in {sum(killed.values())} kills",
        "still running at the last kill": not finished_early,
        "seconds": round(time.monotonic() - started),
    }
    print(f"killer seed {words.seed}")
    for name, value in table.items():
        print(f"| {name} | {value} |", flush=True)
    for text in seen.torn[:3]:
        print(text)
    whole = is_equal and not (doubled or missing or seen.torn or seen.doubled or seen.vanished)
    return 0 if whole and not finished_early and between >= words.between else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--drivers", type=int, default=30)
    parser.add_argument("--ray", type=int, default=20, help="kills of raylet or gcs_server")
    parser.add_argument("--between", type=int, default=10, help="at least so many between checkpoint and rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3, help="16 trials each")
    parser.add_argument("--every", type=int, default=2, help="epochs between borders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trust-checkpoints", action="store_true", help="the negative control")
    return parser


def _undisturbed(grid: Path, out: Path) -> pd.DataFrame:
    subprocess.run([*_command(grid, out), "--executor", "inline"], check=True, stdout=subprocess.DEVNULL)
    return _rows(out / "storm")


def _command(grid: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "study.run", str(grid), "--out", str(out)]


def _rows(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "epochs").drop(columns="seconds").sort_values(KEYS, ignore_index=True)


def _read(folder: Path, seen: Seen, over: threading.Event) -> None:
    """As a user with a notebook does, ten times a second."""
    before: set[tuple[str, int]] = set()
    while not over.wait(0.1):
        if not list((folder / "epochs").glob("[!.]*.parquet")):
            continue
        seen.checkpoints.update(name for name in os.listdir(folder / "checkpoints") if name.endswith(".safetensors"))
        try:
            rows = pd.read_parquet(folder / "epochs", columns=KEYS)
        except Exception as error:  # whatever it is, a reader tripped
            seen.torn.append(f"{type(error).__name__}: {error}")
            continue
        now = set(zip(rows["trial_id"], rows["epoch"], strict=True))
        seen.reads += 1
        seen.doubled += len(now) < len(rows)
        seen.vanished += bool(before - now)
        before = now


def _storm(grid: Path, words: argparse.Namespace) -> tuple[Counter[str], list[str], bool]:
    """Start the study again and again until every kill is spent.

    Returns:
        The kills; the checkpoints that appeared just before one; whether the study ended before the kills did.
    """
    chance = random.Random(words.seed)
    plan = ["worker"] * words.workers + ["driver"] * words.drivers + ["ray"] * words.ray
    chance.shuffle(plan)
    killed: Counter[str] = Counter()
    narrow: list[str] = []
    out, early = words.out / "storm", False
    folder = out / "storm"
    environment = dict(os.environ)
    if words.trust_checkpoints:
        (words.out / "broken").mkdir(exist_ok=True)
        (words.out / "broken" / "sitecustomize.py").write_text(BROKEN)
        environment["PYTHONPATH"] = f"{words.out / 'broken'}:{environment.get('PYTHONPATH', '')}"
    process: subprocess.Popen[bytes] | None = None
    relatives: set[int] = set()
    while plan:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode == 0:
                early = True
                break
            process = _start(grid, out, environment)
            _wait(lambda p=process: bool(named(p.pid, "ray::ImplicitFunc")) or p.poll() is not None, 120)
            # Somewhere in its start, or in the first borders: mostly so late that the study gets on.
            borders = _borders(folder)
            if chance.random() < 0.7:
                _wait(lambda p=process, n=borders: _borders(folder) > n or p.poll() is not None, 120)
            time.sleep(chance.uniform(0, 3))
        relatives |= set(family(process.pid))
        victim = plan[-1]
        if victim == "driver":
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        else:
            name = "ray::ImplicitFunc" if victim == "worker" else chance.choice(["raylet", "gcs_server"])
            fresh = None
            if victim == "worker" and chance.random() < 0.8:
                fresh = _fresh_checkpoint(folder, process)
            pids = named(process.pid, name)
            if not pids:
                time.sleep(0.1)
                continue
            _kill(chance.choice(pids))
            narrow += [fresh] if fresh else []
            victim = name if victim == "ray" else victim
        plan.pop()
        killed[victim] += 1
        print(f"{sum(killed.values())} kills, {_borders(folder)} borders", flush=True)
        if victim == "gcs_server":
            _wait(lambda running=process: running.poll() is not None, 90)
        time.sleep(chance.expovariate(1 / 1.5))
    early = early or (process is not None and process.poll() == 0)
    if process is not None and process.poll() is None:
        process.wait(1800)
    for _ in range(3):
        if subprocess.run(_command(grid, out), env=environment, stdout=subprocess.DEVNULL).returncode == 0:
            break
    end_leftovers(relatives)
    return killed, narrow, early


def _start(grid: Path, out: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with open(out.parent / "log.txt", "ab") as log:
        return subprocess.Popen(_command(grid, out), stdout=log, stderr=log, start_new_session=True, env=environment)


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not (is_met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return is_met


def _borders(folder: Path) -> int:
    return len(list((folder / "epochs").glob("[!.]*.parquet")))


def _fresh_checkpoint(folder: Path, process: subprocess.Popen[bytes]) -> str | None:
    """Wait until a checkpoint appears; its rows are then some milliseconds away."""
    if not (folder / "checkpoints").exists():
        return None
    before, end = set(os.listdir(folder / "checkpoints")), time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        for name in set(os.listdir(folder / "checkpoints")) - before:
            if name.endswith(".safetensors") and not name.startswith("."):
                return name
        time.sleep(0.0005)
    return None


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _named_checkpoints(folder: Path) -> set[str]:
    """The checkpoints that rows name."""
    footers = (json.loads(pq.read_schema(path).metadata[b"study"]) for path in (folder / "epochs").glob("[!.]*.parquet"))
    return {footer["checkpoint"].split("/")[1] for footer in footers}


if __name__ == "__main__":
    sys.exit(main())
