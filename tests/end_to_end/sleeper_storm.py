"""Machines that sleep and wake: SIGSTOP of driver, worker, raylet or all of a machine, while other drivers go on and go further.

    python -m tests.end_to_end.sleeper_storm --stops 100 --seed 0 --out /tmp/sleepers

Each driver has a process namespace of its own, so that no driver can look for another's process, as on another machine; without
the right to make one (unshare needs root) plain processes are used, and that is printed. Most drivers want more epochs than those
before. At the end all content is compared with that of an undisturbed run, and every exit code with what was stored. Prints a
table and exits 1 if anything differs. With `--read-beyond` workers read commits beyond the end of their own pack, as they once
did: the comparison must find that. `--scale 0.05` shortens all times: the sleeps, heartbeats and the silence after which a driver
is taken for gone.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from tests import ROOT
from tests.end_to_end.processes import family, named

GRID = """
study: storm
data: {n_valid: 1337}  # a hundred images to train on
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [8]}
training: {epochs: 30, batch_size: 50}
measure: {images: 100, nll_samples: 5, secondary_samples: 3}
run: {device: cpu, commit_every: 2, max_failures: 50}
"""
TRIALS, FIRST_GOAL, FURTHER = 4, 30, 10
"""Trials of the grid, epochs that the first driver wants, and how many more a later one may want."""

IN_EVERY_PROCESS = """
import sys
words = sys.orig_argv
is_driver = "study.run" in words
if is_driver:
    import study.drive.lease as lease
    lease.BEAT_EVERY_S, lease.SILENT_AFTER_S, lease.LOOK_EVERY_S = ({beat}, {silent}, {look})
if any("default_worker" in word for word in words) or (is_driver and "inline" in words):
    import time
    import workers.store.ends, workers.train.commit
    from workers.store.listing import segments
    from workers.train.learner import Learner
    train_epoch = Learner.train_epoch

    def slowly(self, epoch):
        time.sleep({pace})
        return train_epoch(self, epoch)

    Learner.train_epoch = slowly
    if {read_beyond}:
        everything = lambda store, pack, until=None: list(segments(store, pack.pack_id))
        workers.store.ends.committed = workers.train.commit.committed = everything
"""
"""What Python runs first: the scaled times, epochs that last long enough to be met, and the fault of the negative control."""

VICTIMS = ("driver", "worker", "raylet", "machine", "machine")
ROWS, ENDS = ["trial_id", "epoch"], ["trial_id", "epochs"]


@dataclass
class Driver:
    """One that was started."""

    process: subprocess.Popen[bytes]
    goal: int
    executor: str
    log: Path
    asleep: dict[int, float] = field(default_factory=dict)
    """When each of its processes that sleep is to wake."""


class Storm:
    """The drivers, who sleeps until when, and what was seen."""

    def __init__(self, words: argparse.Namespace) -> None:
        """Write the grid and what every process runs first."""
        self.words, self.chance = words, random.Random(words.seed)
        self.out: Path = words.out.absolute()
        self.drivers, self.running = list[Driver](), list[Driver]()
        self.stops, self.codes, self.wrong = Counter[str](), Counter[int](), list[str]()
        self.goals = [FIRST_GOAL]
        self.out.mkdir(parents=True, exist_ok=True)
        self.grid = self.out / "storm.yaml"
        self.grid.write_text(GRID)
        first = self.out / "first"
        first.mkdir(exist_ok=True)
        scale = words.scale
        program = IN_EVERY_PROCESS.format(
            beat=10 * scale, silent=60 * scale, look=min(1.0, 10 * scale), pace=words.pace, read_beyond=words.read_beyond
        )
        (first / "sitecustomize.py").write_text(program)
        self.environment = os.environ | {"PYTHONPATH": f"{first}:{ROOT}", "OMP_NUM_THREADS": "1"}
        self.apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"] if can_be_apart() else []

    def start(self, goal: int, executor: str) -> Driver:
        """Start a driver in a namespace of its own."""
        log = self.out / f"driver-{len(self.drivers):03d}.txt"
        command = [sys.executable, "-m", "study.run", str(self.grid), "--out", str(self.out), "--executor", executor]
        with open(log, "wb") as file:
            process = subprocess.Popen(
                [*self.apart, *command, "--set", f"training.epochs={goal}"],
                stdout=file,
                stderr=file,
                start_new_session=True,
                env=self.environment,
                cwd=self.out,
            )
        driver = Driver(process, goal, executor, log)
        self.drivers.append(driver)
        self.running.append(driver)
        return driver

    def stop(self, driver: Driver, victim: str, seconds: float) -> bool:
        """Let some processes of a driver's machine sleep; return False if it has none of this kind."""
        pid = driver.process.pid
        # unshare itself stays awake; the driver is its child.
        inside = [*([] if self.apart else [pid]), *family(pid)]
        pids = {
            "driver": children(pid) if self.apart else [pid],
            "worker": named(pid, "ray::"),
            "raylet": named(pid, "raylet"),
            "machine": inside,
        }[victim]
        hit = 0
        for each in pids:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGSTOP)
                driver.asleep[each] = time.monotonic() + seconds
                hit += 1
        if hit:
            self.stops[victim] += 1
            said = f"{sum(self.stops.values())} stops: {victim} of driver {self.drivers.index(driver)} for {seconds:.1f} s"
            print(f"{said}, {borders(self.out)} borders", flush=True)
        return bool(hit)

    def wake(self, driver: Driver, now: float = float("inf")) -> None:
        """Wake those whose time has come."""
        for pid in [pid for pid, until in driver.asleep.items() if until <= now]:
            del driver.asleep[pid]
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def look(self) -> None:
        """Wake whose time has come, and compare the exit code of every driver that has ended with what is stored."""
        now = time.monotonic()
        for driver in list(self.running):
            self.wake(driver, now)
            if (code := driver.process.poll()) is None:
                continue
            self.running.remove(driver)
            self.codes[code] += 1
            said, ended = driver.log.read_text(errors="replace"), len(ended_at(self.out, driver.goal))
            is_true = {0: ended == TRIALS, 1: "missing: " in said}.get(code, False)
            if not is_true or "Traceback" in said:
                self.wrong.append(
                    f"{driver.log.name}: exit code {code}, {ended} of {TRIALS} trials ended at {driver.goal}:\n{said[-1500:]}"
                )

    def wait(self, driver: Driver, seconds: float = 600) -> None:
        """Wait until a driver has ended."""
        end = time.monotonic() + seconds
        while driver in self.running and time.monotonic() < end:
            self.look()
            time.sleep(0.05)
        if driver in self.running:
            self.wrong.append(f"{driver.log.name}: has not ended after {seconds:.0f} s")

    def overtaken(self) -> None:
        """The first stop: a whole machine sleeps in its first pack until another driver has gone further and has ended."""
        first = self.start(FIRST_GOAL, "inline")
        before = borders(self.out)
        while borders(self.out) == before and first.process.poll() is None:
            time.sleep(0.02)
        self.stop(first, "machine", float("inf"))
        self.goals.append(FIRST_GOAL + FURTHER)
        self.wait(self.start(self.goals[-1], "inline"))
        self.wake(first)
        self.wait(first)

    def go_on(self) -> None:
        """The other stops, at random."""
        scale, chance = self.words.scale, self.chance
        plan = [VICTIMS[number % len(VICTIMS)] for number in range(self.words.stops - 1)]
        chance.shuffle(plan)
        due, seen, since = time.monotonic(), borders(self.out), time.monotonic()
        while plan:
            self.look()
            if sum(not driver.asleep for driver in self.running) < 2 and len(self.running) < 4:
                if chance.random() < 0.9:
                    self.goals.append(self.goals[-1] + FURTHER)
                on_ray = plan[-1] in ("worker", "raylet") and "ray" in self.words.executors
                self.start(self.goals[-1], "ray" if on_ray else chance.choice(self.words.executors))
            awake = [driver for driver in self.running if not driver.asleep]
            # One stop in four falls anywhere, as into the start of a driver; the others into the work, after a border.
            is_met = borders(self.out) > seen or since + 60 < time.monotonic()
            if awake and time.monotonic() >= due and is_met:
                if self.stop(chance.choice(awake), plan[-1], scale * chance.uniform(1, 120)):
                    plan.pop()
                    due, since = time.monotonic() + chance.expovariate(1 / (15 * scale)), time.monotonic()
                    seen = -1 if chance.random() < 0.25 else borders(self.out)
                elif since + 120 < time.monotonic():
                    plan.insert(0, plan.pop())
                    since = time.monotonic()
            time.sleep(0.02)

    def end(self) -> None:
        """Let all go on to their ends, then run once more what may be missing."""
        for driver in list(self.running):
            if self.words.stops <= 20:
                self.wake(driver)
            self.wait(driver)
        for driver in self.running:
            self.wake(driver)
            driver.process.kill()
        last = self.start(self.goals[-1], "inline")
        self.wait(last)
        if last.process.returncode != 0:
            self.wrong.append(f"the last driver ended with {last.process.returncode}")


def main() -> int:
    words = _parser().parse_args()
    storm, started = Storm(words), time.monotonic()
    apart = "of their own" if storm.apart else "shared, as this user may not make others: processes decide, not heartbeats"
    print(f"seed {words.seed}, times x {words.scale:g}, process namespaces {apart}", flush=True)
    try:
        storm.overtaken()
        storm.go_on()
        storm.end()
    finally:
        for driver in storm.running:
            storm.wake(driver)
            driver.process.kill()
    differences = compare(storm, undisturbed(storm))
    table = {
        "stops of " + " / ".join(dict.fromkeys(VICTIMS)): " / ".join(
            str(storm.stops[each]) for each in dict.fromkeys(VICTIMS)
        ),
        "drivers, and their exit codes": f"{len(storm.drivers)}, {dict(sorted(storm.codes.items()))}",
        "goals": f"{len(set(storm.goals))}, {storm.goals[0]} to {storm.goals[-1]} epochs",
        "exit codes that are not true": len(storm.wrong),
        "different from the undisturbed run": len(differences),
        "seconds": round(time.monotonic() - started),
    }
    for name, value in table.items():
        print(f"| {name} | {value} |", flush=True)
    for text in [*storm.wrong[:3], *differences[:9]]:
        print(text)
    return 1 if storm.wrong or differences else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="1: sleeps of 1 to 120 s, heartbeats as in every study")
    parser.add_argument("--pace", type=float, default=0.5, help="seconds that every epoch lasts longer")
    parser.add_argument("--executors", nargs="+", default=["ray", "inline"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--read-beyond", action="store_true", help="the negative control")
    return parser


def can_be_apart() -> bool:
    """Whether processes may have a namespace of their own here."""
    with suppress(OSError):
        return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode == 0
    return False


def children(pid: int) -> list[int]:
    """The processes that a process has started itself."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    with suppress(OSError):
        return [int(each) for each in text.read_text().split()]
    return []


def borders(out: Path) -> int:
    return len(list((out / "storm" / "epochs").glob("[!.]*.parquet")))


def ended_at(out: Path, goal: int) -> set[str]:
    """The trials whose end after at least so many epochs is stored."""
    frame = read(out, "trials", ENDS)
    return set(frame[frame["epochs"] >= goal]["trial_id"])


def read(out: Path, folder: str, key: list[str]) -> pd.DataFrame:
    """All rows of a folder, without the times that they took."""
    if not list((out / "storm" / folder).glob("[!.]*.parquet")):
        return pd.DataFrame(columns=key)
    frame = pd.read_parquet(out / "storm" / folder).drop(columns=["seconds"])
    return frame.sort_values(key, ignore_index=True)


def models(out: Path) -> dict[str, str]:
    """A hash of every trained model."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((out / "storm" / "weights").glob("[!.]*.safetensors"))
    }


def undisturbed(storm: Storm) -> Path:
    """Run the same goals one after the other with nobody asleep."""
    out = storm.out / "undisturbed"
    words = [str(storm.grid), "--out", str(out), "--executor", "inline", "--set"]
    goals = [f"training.epochs={goal}" for goal in dict.fromkeys(storm.goals)]
    program = "import sys; from study.commands.run import main; "
    program += f"sys.exit(max(main([*{words!r}, goal]) for goal in {goals!r}))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=storm.out)
    return out


def compare(storm: Storm, calm: Path) -> list[str]:
    """Every difference of content.

    All rows must be there. Ends and models of a goal may be absent if the packs were made longer before they reached it.
    """
    out, goal, found = storm.out, storm.goals[-1], []
    rows, expected = read(out, "epochs", ROWS), read(calm, "epochs", ROWS)
    if rows.duplicated(ROWS).any():
        found.append(f"{rows.duplicated(ROWS).sum()} rows are doubled")
    found += different("epochs", rows, expected, ROWS, must_have=set(map(tuple, expected[ROWS].to_numpy())))
    ends, expected = read(out, "trials", ENDS), read(calm, "trials", ENDS)
    last = {(trial_id, goal) for trial_id in expected["trial_id"]}
    found += different("trials", ends, expected, ENDS, must_have=last)
    stored, right = models(out), models(calm)
    found += [f"weights/{name} differs" for name in stored if stored[name] != right.get(name)]
    found += [f"weights/{name} is missing" for name in right if f"-{goal:06d}." in name and name not in stored]
    return found


def different(
    what: str, ours: pd.DataFrame, theirs: pd.DataFrame, key: list[str], must_have: set[tuple[str, int]]
) -> list[str]:
    """Rows that are missing, or that are not the same in every bit."""
    calm = {tuple(row[name] for name in key): bits(row) for row in theirs.to_dict("records")}
    storm = {tuple(row[name] for name in key): bits(row) for row in ours.to_dict("records")}
    missing = [f"{what} {at} is missing" for at in sorted(must_have - storm.keys(), key=str)]
    return missing + [f"{what} {at} differs" for at, row in storm.items() if row != calm.get(at)]


def bits(row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """A row that equals another one if all of its bits do."""
    return {name: value.tobytes() if hasattr(value, "tobytes") else repr(value) for name, value in row.items()}


if __name__ == "__main__":
    sys.exit(main())
