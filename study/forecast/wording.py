"""Word the forecast that --plan and every run print, and the comparison that a run prints at its end."""

from pathlib import Path

from study.forecast.amounts import duration, hours, in_bytes
from study.forecast.forecast import Forecast, forecast, stored_epochs
from study.forecast.overhead import Overhead
from study.forecast.rates import Rates
from study.plan.machine import gpus_of_pack
from study.plan.planning import Work
from study.plan.request import Request
from workers.contract.user_paths import quoted


def outlook(request: Request, work: Work, rates: Rates, overhead: Overhead, path: str | Path) -> list[str]:
    """Return the lines that forecast the rest of a study; none if nothing is left to do."""
    machine, run = request.machine, request.grid.run
    foreseen = forecast(
        work.missing,
        request.data,
        rates,
        machine.slots,
        overhead,
        done=stored_epochs(request.store, work.missing),
        wanted=request.wanted,
        ended=work.done,
        share=gpus_of_pack(run) if machine.device == "cuda" else 1.0,
        keep_weights=run.keep_weights == "all",
    )
    return said_of(foreseen, rates, machine.device, path)


def said_of(forecast: Forecast, rates: Rates, device: str, path: str | Path) -> list[str]:
    """Return the lines of a forecast: time, device-hours, space, when one seed is complete, and the source of the rates."""
    if not forecast.seconds:
        return []
    thing = {"cpu": "core", "cuda": "GPU", "mps": "GPU"}[device]
    lines = [
        f"forecast: {duration(forecast.seconds)}, {hours(forecast.device_seconds)} {thing}-hours, "
        f"{in_bytes(forecast.stored_bytes)} more on disk"
    ]
    if forecast.first_factorial is not None:
        lines.append(f"every cell finished with one seed: after {duration(forecast.first_factorial)}")
    if rates.is_calibrated:
        lines.append(f"based on measurements on {rates.device_name} on {rates.date}, assuming that nothing else runs there")
    else:
        lines.append(
            f"rough: this machine's {device} was not calibrated, so built-in rates are used ({rates.device_name}); "
            f"`python -m study.run {quoted(path)} --calibrate` measures it in about a minute"
        )
    return lines


def compared(predicted: float, taken: float) -> str:
    """Return a sentence such as `predicted 5 min 20 s, took 5 min 41 s (+7%)`; both times are in seconds."""
    return f"predicted {duration(predicted)}, took {duration(taken)} ({taken / max(predicted, 1e-9) - 1:+.0%})"
