"""Measure in under two minutes what work costs on this machine's device, and fit prices to the times.

All slots are busy, as in a study. Separate processes (study.forecast.timing_process) measure, so that neither torch nor Ray
is imported here.
"""

import datetime
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from study.forecast.amounts import duration
from study.forecast.rates import Prices, Rates, device_name, keep_rates
from study.forecast.work import Work
from study.plan.machine import gpus_of_pack, this_machine
from workers.contract.errors import UserError
from workers.contract.settings import RunSettings

MOST = 16
"""Most processes that measure side by side; more would add nothing new and take memory."""

KINDS = {
    "train": ("calls", "products", "elements", "updates"),
    "measure": ("calls", "products", "elements"),
    "end": ("calls", "products", "elements", "pairs"),
}
"""The amounts of Work that have a price in each part of a pack."""


class CalibrationError(UserError):
    """The device could not be measured; the text says why and what to do."""


def calibrate_for(run: RunSettings, say: Callable[[str], None]) -> Rates:
    """Measure the device that a grid's packs would run on here, and store the rates.

    Raises:
        MachineError, CalibrationError: there is no such device, or it cannot be measured.
    """
    begun = time.monotonic()
    machine = this_machine(run)
    # GPUs are alike and do not disturb each other: one is measured, with as many packs as will share it.
    side_by_side = machine.slots if machine.device != "cuda" else min(machine.slots, max(1, int(1 / gpus_of_pack(run))))
    rates = calibrate(machine.device, run.precision, side_by_side)
    path = keep_rates(rates)
    say(
        f"calibrated {rates.device_name} ({rates.slots} packs side by side, {rates.precision}) in "
        f"{duration(time.monotonic() - begun)}; kept in {path}"
    )
    return rates


def calibrate(device: str, precision: str, side_by_side: int, is_quick: bool = False) -> Rates:
    """Time a few shapes in several processes at once, and in one of them alone, and fit the prices to the times.

    Args:
        device: cpu | cuda | mps.
        precision: as run.precision.
        side_by_side: packs that share this device: one per core, or the packs of one GPU.
        is_quick: use three shapes instead of ten, for tests; the prices are then meaningless.

    Raises:
        CalibrationError: a measuring process ends without an answer.
    """
    begun = time.monotonic()
    started = [_start(device, precision, is_quick) for _ in range(min(MOST, side_by_side))]
    try:
        for process in started:
            _line(process)
        process_s = time.monotonic() - begun
        alone = _answers(started[:1], "alone")[0]
        found = _answers(started, "all")
    finally:
        for process in started:
            process.kill()
            process.communicate()
    rows = [_together(same) for same in zip(*(each["rows"] for each in found), strict=True)]
    pack, trial = _of_packs([each["packs"] for each in found], prices := fit(rows))
    return Rates(
        device=device,
        device_name=device_name(device) or found[0]["device_name"],
        precision=found[0]["precision"],
        torch=found[0]["torch"],
        slots=len(started),
        date=datetime.date.today().isoformat(),
        training=prices["train"],
        measuring=prices["measure"],
        ending=prices["end"],
        pack=pack,
        trial=trial,
        byte=median(each["per_byte"] for each in found),
        process=process_s,
        crowd=1.0,
    ).model_copy(update={"crowd": crowd_from(rows, alone["rows"])})


def fit(rows: Sequence[Mapping[str, Any]]) -> dict[str, Prices]:
    """Fit prices, none of them negative, to the measured times by least squares of the relative errors."""
    # Imported here: scipy takes a good part of a second to load, and only a calibration needs it.
    from scipy.optimize import nnls

    prices = {}
    for kind, names in KINDS.items():
        chosen = [row for row in rows if row["kind"] == kind]
        work = [Work(*row["work"]) for row in chosen]
        relative = np.array(
            [[getattr(w, name) / row["seconds"] for name in names] for w, row in zip(work, chosen, strict=True)]
        )
        found, _ = nnls(relative, np.ones(len(chosen)))
        prices[kind] = Prices(**dict(zip(names, map(float, found), strict=True)))
    return prices


def crowd_from(crowded: Iterable[Mapping[str, Any]], alone: Iterable[Mapping[str, Any]]) -> float:
    """Return the geometric mean of the ratio of times with all slots busy to those of the same shapes alone; at least 1."""
    single = {(row["kind"], tuple(row["shape"])): row["seconds"] for row in alone}
    ratios = [row["seconds"] / single[key] for row in crowded if (key := (row["kind"], tuple(row["shape"]))) in single]
    return max(1.0, math.exp(sum(map(math.log, ratios)) / len(ratios)))


def _together(same: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one row for a shape that several processes timed at once, with the median of their times."""
    return {**same[0], "seconds": median(row["seconds"] for row in same)}


def _of_packs(found: Sequence[Sequence[Mapping[str, Any]]], prices: Mapping[str, Prices]) -> tuple[float, float]:
    """Return the seconds of a pack and of each of its trials besides the arithmetic, from packs of two sizes."""
    rest = []
    for same in zip(*found, strict=True):
        parts = zip(prices.values(), same[0]["works"], strict=True)
        arithmetic = sum(price.of(Work(*work)) for price, work in parts)
        rest.append((same[0]["replicas"], max(0.0, median(pack["seconds"] for pack in same) - arithmetic)))
    (few, short), (many, long) = rest
    trial = max(0.0, (long - short) / (many - few))
    return max(0.0, short - few * trial), trial


def _start(device: str, precision: str, is_quick: bool) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "study.forecast.timing_process", device, precision, *(["quick"] if is_quick else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _answers(processes: Sequence[subprocess.Popen[str]], question: str) -> list[dict[str, Any]]:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{question}\n")
        process.stdin.flush()
    return [json.loads(_line(process)) for process in processes]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise CalibrationError(
            f"--calibrate: a process that measures the device ended with exit code {process.wait()}; its error is printed "
            "above; fix that and calibrate again, or plan with the built-in figures"
        )
    return line
