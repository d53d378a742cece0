"""Prices of work on a device: measured by a calibration and kept in one file per device, or else built in."""

import json
import os
import re
import secrets
from importlib.metadata import version
from pathlib import Path

from pydantic import Field, NonNegativeFloat, ValidationError

from study.forecast.work import Work
from workers.contract.settings import Frozen
from workers.contract.user_paths import cache_folder

DRIVER = Path("/proc/driver/nvidia/gpus")

AUTO = {"cpu": "ieee", "cuda": "tf32", "mps": "ieee"}
"""What `run.precision: auto` means on each device; see workers.replicas.device."""


class Prices(Frozen):
    """Seconds per unit of each amount in study.forecast.work.Work."""

    calls: NonNegativeFloat = 0.0
    products: NonNegativeFloat = 0.0
    elements: NonNegativeFloat = 0.0
    updates: NonNegativeFloat = 0.0
    pairs: NonNegativeFloat = 0.0

    def of(self, work: Work) -> float:
        """Return the seconds that this work takes."""
        prices = (self.calls, self.products, self.elements, self.updates, self.pairs)
        return sum((price * amount for price, amount in zip(prices, work.amounts(), strict=True)), 0.0)


class Rates(Frozen):
    """What everything costs on one device, in seconds."""

    device: str
    device_name: str
    precision: str
    torch: str
    slots: int = Field(ge=1, description="processes that ran side by side when it was measured")
    date: str
    """Day of the measurement, like 2026-11-29; empty if built in."""
    training: Prices
    measuring: Prices
    ending: Prices
    pack: NonNegativeFloat
    """Per pack, besides its arithmetic: set-up, rows, files."""
    trial: NonNegativeFloat
    """Per trial, likewise."""
    byte: NonNegativeFloat
    """Per byte of a checkpoint or of weights, stored durably."""
    process: NonNegativeFloat
    """Until a worker's process can train: start of Python, import of torch."""
    crowd: float = Field(ge=1, description="time of a pack with all slots busy, divided by that of a pack alone")

    @property
    def is_calibrated(self) -> bool:
        """Whether the rates were measured on the device rather than built in."""
        return bool(self.date)


def _built_in(device: str, name: str, scale: float, calls: float) -> Rates:
    """Return the rates of the CPU with its arithmetic scaled to another speed."""
    return Rates(
        device=device,
        device_name=name,
        precision="auto",
        torch="",
        slots=1,
        date="",
        training=Prices(calls=3e-4 * calls, products=8e-12 / scale, elements=2.2e-9 / scale, updates=3.7e-9 / scale),
        measuring=Prices(calls=3e-4 * calls, products=2e-11 / scale, elements=2.2e-9 / scale),
        ending=Prices(calls=1.7e-4 * calls, products=1.6e-11 / scale, elements=1.5e-9 / scale, pairs=4.9e-9 / scale),
        pack=0.05,
        trial=0.004,
        byte=4e-9,
        process=4.0,
        crowd=1.0,
    )


BUILT_IN = {
    "cpu": _built_in("cpu", "one core of an AMD EPYC", 1.0, 1.0),
    "cuda": _built_in("cuda", "a guess: nothing was measured", 200.0, 0.2),
    "mps": _built_in("mps", "a guess: nothing was measured", 10.0, 1.0),
}
"""The first is what a calibration found on one two-core machine; the other two are guesses."""


def find_rates(device: str, precision: str, here: bool = True) -> Rates:
    """Return the newest rates measured on this machine's device, or the built-in ones if there are none.

    If packs do not run `here`, rates measured on any device of the type count.
    """
    found = [rates for path in folder().glob(f"{device}-*.json") if (rates := _read(path))]
    exact = precision if precision != "auto" else AUTO[device]
    found = [rates for rates in found if rates.precision == exact]
    if here:
        found = [r for r in found if r.device_name == device_name(device) and r.torch == version("torch")]
    return max(found, key=lambda rates: rates.date, default=BUILT_IN[device])


def keep_rates(rates: Rates) -> Path:
    """Write the rates where find_rates looks for them; return the file."""
    words = [rates.device, rates.device_name, str(rates.slots), f"torch{rates.torch}", rates.precision]
    path = folder() / f"{re.sub(r'[^A-Za-z0-9.]+', '-', '-'.join(words))}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{secrets.token_hex(8)}")
    aside.write_text(json.dumps(rates.model_dump(), indent=1))
    os.replace(aside, path)
    return path


def folder() -> Path:
    """Return the folder of calibrations, which lies beside the fetched data sets."""
    return cache_folder() / "rates"


def device_name(device: str) -> str:
    """Return the name of this machine's GPU or processor, found without torch; empty if the system gives none."""
    try:
        if device == "cuda":
            files = sorted(DRIVER.glob("*/information"))
            text, label = (files[0].read_text() if files else ""), "Model"
        else:
            text, label = Path("/proc/cpuinfo").read_text(), "model name"
    except OSError:
        return ""
    match = re.search(rf"^{label}\s*:\s*(.+?)\s*$", text, re.M)
    return match[1] if match else ""


def _read(path: Path) -> Rates | None:
    try:
        return Rates.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):  # of another version, or damaged: ignored
        return None
