"""The words of a forecast: what --plan prints of cost, and what a run says of it before and after."""

from study.forecast.amounts import duration, hours, in_bytes
from study.forecast.forecast import Forecast, forecast, stored_epochs
from study.forecast.overhead import Overhead
from study.forecast.rates import Rates
from study.plan.machine import gpus_of_pack
from study.plan.planning import Work
from study.plan.request import Request


def outlook(request: Request, work: Work, rates: Rates, overhead: Overhead, path: object) -> list[str]:
    """What is left of a study will take so long; no line if nothing is left."""
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


def said_of(forecast: Forecast, rates: Rates, device: str, path: object) -> list[str]:
    """Time, hours of the device and space, when one whole seed stands, and what that rests on."""
    if not forecast.seconds:
        return []
    thing = {"cpu": "core", "cuda": "GPU", "mps": "GPU"}[device]
    lines = [
        f"forecast: {duration(forecast.seconds)}, {hours(forecast.device_seconds)} {thing}-hours, "
        f"{in_bytes(forecast.stored_bytes)} more on disk"
    ]
    if forecast.first_factorial is not None:
        lines.append(f"every cell with one seed: after {duration(forecast.first_factorial)}")
    if rates.is_calibrated:
        lines.append(f"by what was measured on {rates.device_name} on {rates.date}, if nothing else runs there")
    else:
        lines.append(
            f"rough: this machine's {device} was not calibrated (built in: {rates.device_name}); "
            f"python -m study.run {path} --calibrate does it in a minute or so"
        )
    return lines


def compared(predicted: float, taken: float) -> str:
    """`predicted 5 min 20 s, took 5 min 41 s (+7%)`."""
    return f"predicted {duration(predicted)}, took {duration(taken)} ({taken / max(predicted, 1e-9) - 1:+.0%})"
