"""Calibration: prices come back from times made of them, a real one is kept and found again, and a plan loads no torch."""

import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path

import pytest

from study.forecast.calibrate import CalibrationError, calibrate, crowd_from, fit
from study.forecast.rates import BUILT_IN, Prices, device_name, find_rates, folder, keep_rates
from study.forecast.timing_process import shapes
from study.forecast.work import Sizes, end, measurement, training_epoch
from tests import ROOT

TRUE = {
    "train": Prices(calls=3e-4, products=1e-11, elements=2e-9, updates=3e-9),
    "measure": Prices(calls=2e-4, products=2e-11, elements=1e-9),
    "end": Prices(calls=1e-4, products=1.5e-11, elements=3e-9, pairs=5e-9),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def rows_of(prices: dict[str, Prices], noise: float = 0.0) -> list[dict]:
    rows = []
    for i, shape in enumerate(shapes("cpu")):
        settings, sizes = shape.settings()[0], Sizes(shape.train, shape.train, shape.test, shape.n_x)
        for kind, of in (("train", training_epoch), ("measure", measurement), ("end", end)):
            work = of(settings, shape.replicas, sizes)
            seconds = prices[kind].of(work) * (1 + noise * (-1) ** i)
            rows.append({"kind": kind, "work": astuple(work), "seconds": seconds, "shape": astuple(shape)})
    return rows


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_the_shapes_tell_all_prices_apart(device):
    import study.forecast.calibrate

    rows = rows_of(TRUE)
    assert fit(rows).keys() == TRUE.keys() == study.forecast.calibrate.KINDS.keys()
    for kind, prices in fit(rows).items():
        for name, price in TRUE[kind].model_dump().items():
            assert getattr(prices, name) == pytest.approx(price, rel=1e-3, abs=1e-15), (kind, name)
    assert len(shapes(device)) == 10


def test_noise_of_a_tenth_moves_what_is_predicted_by_about_a_tenth():
    exact, noisy = rows_of(TRUE), fit(rows_of(TRUE, noise=0.1))
    from study.forecast.work import Work

    for row in exact:
        assert noisy[row["kind"]].of(Work(*row["work"])) == pytest.approx(row["seconds"], rel=0.2)


def test_no_price_is_negative():
    wrong = rows_of(TRUE)
    for row in wrong:
        row["seconds"] = 1.0 / (1 + row["work"][0])
    assert all(price >= 0 for prices in fit(wrong).values() for price in prices.model_dump().values())


def test_the_crowd_is_the_mean_ratio_of_the_same_shapes():
    alone = rows_of(TRUE)[:6]
    crowded = [{**row, "seconds": row["seconds"] * (1.2 if i % 2 else 1.25)} for i, row in enumerate(rows_of(TRUE))]
    assert crowd_from(crowded, alone) == pytest.approx((1.2 * 1.25) ** 0.5)
    assert crowd_from(alone, crowded) == 1, "neighbours make nothing faster"


def test_a_calibration_is_kept_for_its_device_and_precision_alone(cache):
    mine = BUILT_IN["cpu"].model_copy(
        update={"device_name": device_name("cpu"), "precision": "ieee", "torch": "0", "date": "2026-01-02", "slots": 3}
    )
    from importlib.metadata import version

    assert find_rates("cpu", "auto") is BUILT_IN["cpu"]
    keep_rates(mine)
    assert find_rates("cpu", "auto") is BUILT_IN["cpu"], "of another version of torch"
    mine = mine.model_copy(update={"torch": version("torch")})
    path = keep_rates(mine)
    assert path.parent == folder() == cache / "factorial-iwae" / "rates"
    assert find_rates("cpu", "auto") == find_rates("cpu", "ieee") == mine
    assert find_rates("cpu", "bf16") is BUILT_IN["cpu"]
    assert find_rates("cuda", "auto") is BUILT_IN["cuda"]
    newer = mine.model_copy(update={"device_name": "another", "date": "2026-01-03"})
    keep_rates(newer)
    assert find_rates("cpu", "auto") == mine
    assert find_rates("cpu", "auto", here=False) == newer
    assert not newer.model_copy(update={"date": ""}).is_calibrated
    path.write_text(path.read_text()[:-20])
    assert find_rates("cpu", "auto") is BUILT_IN["cpu"], "a damaged file is as good as none"


@pytest.mark.parametrize(("value", "where"), [("/x", "/x"), ("", "~/.cache"), ("relative", "~/.cache")])
def test_where_calibrations_lie(monkeypatch, value, where):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert folder() == Path(where).expanduser() / "factorial-iwae" / "rates"


def test_real_processes_measure_a_real_device():
    rates = calibrate("cpu", "auto", 2, is_quick=True)
    assert (rates.device, rates.precision, rates.slots, rates.is_calibrated) == ("cpu", "ieee", 2, True)
    assert rates.crowd >= 1
    assert rates.process > 0
    assert rates.byte > 0
    for prices in (rates.training, rates.measuring, rates.ending):
        assert sum(prices.model_dump().values()) > 0


def test_a_device_that_is_not_there_is_a_sentence():
    with pytest.raises(CalibrationError, match="--calibrate: a process that measures the device ended with exit code 1"):
        calibrate("mps" if sys.platform != "darwin" else "cuda", "auto", 1, is_quick=True)


PROBE = """
import sys
from study.commands.run import main
code = main(sys.argv[1:])
print("imported:", *sorted({"torch", "ray", "torchvision", "matplotlib", "scipy", "sklearn"} & sys.modules.keys()))
sys.exit(code)
"""


def test_a_plan_with_a_forecast_needs_neither_torch_nor_ray_nor_scipy():
    words = [str(ROOT / "grid.yaml"), "--plan", "--set", "run.device=cpu"]
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "\nforecast: " in done.stdout
    assert done.stdout.splitlines()[-1] == "imported:"
    counted = subprocess.run([sys.executable, "-c", "import scipy.optimize" + PROBE, *words], capture_output=True, text=True)
    assert counted.stdout.splitlines()[-1] == "imported: scipy", "what is imported is seen"
