"""The words of a forecast: what --plan prints of cost, and what a run says of it before and after."""

from collections.abc import Sequence

from study.forecast.amounts import duration, hours, in_bytes
from study.forecast.forecast import Forecast, forecast, stored_epochs
from study.forecast.rates import Rates
from study.grid.grid import Grid
from study.plan.machine import Machine, gpus_of_pack
from study.plan.planning import Work
from workers.contract.trial import Trial
from workers.data.images import Known
from workers.store.protocol import Store


def outlook(
    store: Store,
    grid: Grid,
    work: Work,
    wanted: Sequence[Trial],
    machine: Machine,
    data: Known,
    rates: Rates,
    on_ray: bool,
    path: object,
) -> list[str]:
    """What is left of a study will take so long; no line if nothing is left."""
    foreseen = forecast(
        work.missing,
        data,
        rates,
        machine.slots,
        on_ray=on_ray,
        done=stored_epochs(store, work.missing),
        wanted=wanted,
        ended=work.done,
        share=gpus_of_pack(grid.run) if machine.device == "cuda" else 1.0,
        keep_weights=grid.run.keep_weights == "all",
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
