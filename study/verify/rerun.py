"""Run packs of a study again in this process, with the real training, into a separate store."""

from collections.abc import Mapping, Sequence
from typing import Any

from study.drive.progress import Display
from study.plan.packing import pack_seconds
from study.verify.what_to_rerun import Rerun, Step
from workers.contract.errors import DataError
from workers.contract.settings import DataSettings
from workers.contract.trial import Pack
from workers.data.images import known
from workers.model.inputs import Data, load_data
from workers.replicas.device import PRECISIONS_OF, describe_device, prepare_device
from workers.store.listing import checkpoints
from workers.store.protocol import Store
from workers.train.loop import Progress, train


def rerun_all(
    reruns: Sequence[Rerun],
    store: Store,
    *,
    device: str,
    precision: str,
    data_where: Mapping[str, str | None],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Train the packs one after the other, showing their progress; return the description of the device.

    Args:
        reruns: what to run, in this order.
        store: where their rows go.
        device: auto | cpu | cuda | mps.
        precision: of matrix products, as in RunSettings.
        data_where: `root` and `path` of the data, if they have moved since the study was planned.
        provenance: of the code.

    Raises:
        DataError: the data are missing, or are not those that the study was trained on.
    """
    place = prepare_device(device, precision)
    steps = {step.pack.pack_id: step for rerun in reruns for step in rerun.steps}
    seconds = {
        pack_id: pack_seconds(step.pack, known(_settings_of(step.pack, data_where)), place.type)
        for pack_id, step in steps.items()
    }
    with Display(seconds, {pack_id: step.pack for pack_id, step in steps.items()}, 0) as display:
        reached: dict[str, int] = {}
        for rerun in reruns:
            ancestors: list[Pack] = []
            for step in rerun.steps:
                # The halves of a split pack have one ancestor, which runs once.
                if step.is_whole or reached.get(step.pack.pack_id, -1) < step.until:
                    data = _data_of(step.pack, data_where, place)
                    _train(step, ancestors, data, store, place, provenance, display)
                    reached[step.pack.pack_id] = step.until
                ancestors.insert(0, step.pack)
    for _, _, key in list(checkpoints(store)):
        store.delete(key)
    return describe_device(place)


def precision_like(was: Mapping[str, Any], device: str) -> str:
    """Return the precision in a provenance if it is of the same device and the device has it, otherwise `auto`."""
    precision = was.get("precision")
    return str(precision) if was.get("device") == device and precision in PRECISIONS_OF.get(device, ()) else "auto"


def _train(
    step: Step,
    ancestors: Sequence[Pack],
    data: Data,
    store: Store,
    device: Any,
    provenance: Mapping[str, Any],
    display: Display,
) -> None:
    reached = [-1]

    def report(progress: Progress) -> None:
        reached[0] = progress.committed
        display.epoch(progress.pack_id, progress.epoch, progress.diverged)

    train(
        step.pack,
        data,
        store,
        device=device,
        attempt="0",
        ancestors=ancestors,
        provenance=provenance,
        report=report,
        should_stop=lambda: not step.is_whole and reached[0] >= step.until,
    )
    display.ended(step.pack.pack_id)


def _settings_of(pack: Pack, data_where: Mapping[str, str | None]) -> DataSettings:
    given = {name: value for name, value in data_where.items() if value is not None}
    return pack.trials[0].settings.data.model_copy(update=given)


def _data_of(pack: Pack, data_where: Mapping[str, str | None], device: Any) -> Data:
    first = pack.trials[0]
    data = load_data(_settings_of(pack, data_where), first.settings.measure, device)
    if data.fingerprint != first.fingerprint:
        raise DataError(
            f"data: has fingerprint {data.fingerprint[:16]}..., but trial {first.trial_id} was trained on "
            f"{first.fingerprint[:16]}...; name the right data with --data-root or --data-path"
        )
    return data
