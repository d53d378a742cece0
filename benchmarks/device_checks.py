"""Checks of packs on a GPU, as functions that raise AssertionError; they also run on a CPU, where they show less."""

import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel_checks import without_kernels
from benchmarks.scenes import learner_of, onto, small
from workers.contract.settings import MeasureSettings
from workers.measure import slices
from workers.measure.at_the_end import measure_final
from workers.measure.every_epoch import measure
from workers.model.padding import resized
from workers.replicas.device import precision_in_use
from workers.train.checkpoint import State
from workers.train.learner import Learner

TOLERANCES = {"ieee": 1e-5, "tf32": 2e-3, "bf16": 2e-2}
"""Relative tolerance of the sums of one epoch from equal states, by the precision of products."""

CELLS: Mapping[str, dict[str, Any]] = {
    "bernoulli, K 1": {"k": 1},
    "bernoulli, K 5, warm-up": {"k": 5, "warmup": 3},
    "gaussian, K 5, batch norm": {"k": 5, "decoder": "gaussian", "batch_norm": True},
    "n_z from 1 to 9, K 3": {"k": 3, "n_z": (5, 1, 9, 2), "objective.kl": "sampled"},
    "n_z from 1 to 9, K 1, batch norm": {"k": 1, "n_z": (5, 1, 9, 2), "batch_norm": True},
    "running statistics by step": {
        "batch_norm": True,
        "model.bn_statistics": "running",
        "objective.warmup_by": "step",
        "warmup": 2,
    },
    "two layers, dreg": {"k": 3, "model.layers_above": "7-z3", "objective.gradient": "dreg"},
}
"""A tuple has one entry per seed in SEEDS."""

SEEDS = (0, 1, 0, 7)


def _learner(cell: str, device: torch.device, members: Sequence[int] = range(len(SEEDS))) -> Learner:
    cells = [{name: v[i] if isinstance(v, tuple) else v for name, v in CELLS[cell].items()} for i in members]
    return learner_of(small(device), [{**cell, "seed": SEEDS[i]} for cell, i in zip(cells, members, strict=True)])


def _trained(learner: Learner, epochs: range) -> Tensor:
    return torch.stack([torch.stack(learner.train_epoch(epoch)) for epoch in epochs])


def _state(learner: Learner) -> State:
    return learner.state(0, (None,) * len(learner.seeds.index))


def _tensors(state: State) -> dict[str, Tensor]:
    found = dict(state.parameters)
    found |= {f"{kind} of {name}": m for name, kinds in state.moments.items() for kind, m in kinds.items()}
    return found | {f"statistic {i} of {name}": t for name, pair in state.statistics.items() for i, t in enumerate(pair)}


def _error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs() / expected.abs().clamp(min=1)).max().item()


def kernels_train_as_torch_does(cell: str, device: torch.device) -> float:
    """Compare one step with the kernels and one without them, from equal states."""
    one, other = _learner(cell, device), _learner(cell, device)
    found = _trained(one, range(2))
    with without_kernels():
        expected = _trained(other, range(2))
    error = _error(found, expected)
    assert error < TOLERANCES[precision_in_use()], error
    return error


def a_graph_trains_as_single_launches_do(cell: str, device: torch.device) -> float:
    """Compare three epochs with and without a graph: the same kernels in the same order give the same bits."""
    one, other = _learner(cell, device), _learner(cell, device)
    assert other.device_epoch
    other.device_epoch.captures = False
    error = _error(_trained(one, range(4)), _trained(other, range(4)))
    assert error < TOLERANCES[precision_in_use()], error
    return error


def a_pack_trains_as_its_members_alone_do(cell: str, device: torch.device) -> float:
    """Compare one epoch of a pack and of its members alone, from equal states."""
    packed = _trained(_learner(cell, device), range(2))
    alone = [_trained(_learner(cell, device, [member]), range(2)) for member in range(len(SEEDS))]
    error = _error(packed, torch.cat(alone, -1))
    assert error < TOLERANCES[precision_in_use()], error
    return error


def a_pack_measures_as_its_members_alone_do(cell: str, device: torch.device) -> float:
    """Compare measurements after one epoch from equal states; every vector is cut to the member's n_z."""
    packed = _learner(cell, device)
    _trained(packed, range(2))
    worst, found = 0.0, _measured(packed, small(device).data)
    for member in range(len(SEEDS)):
        alone = _learner(cell, device, [member])
        _trained(alone, range(2))
        for name, expected in _measured(alone, small(device).data).items():
            # Rounding decides whether a unit at the threshold is silenced.
            if "ablation" in name or not expected.numel():
                continue
            own, by_unit = found[name][member], expected.ndim > 1 and name != "reconstruction_per_class"
            own = own[: expected.shape[1]] if by_unit else own
            assert torch.equal(own.isnan(), expected[0].isnan()), name
            worst = max(worst, _error(own.nan_to_num(), expected[0].nan_to_num()))
    assert worst < 5 * TOLERANCES[precision_in_use()], worst
    return worst


def what_pads_stays_zero(cell: str, device: torch.device) -> float:
    """Check parameters and first moments of units that a replica does not have, after three epochs."""
    learner = _learner(cell, device)
    _trained(learner, range(4))
    units = learner.architecture.units
    for name, tensor in _tensors(_state(learner)).items():
        for replica, n_z in enumerate(units.widths if units else ()):
            if "exp_avg_sq" in name or name.startswith("statistic"):
                continue
            cut = resized(name.rpartition(" ")[2], tensor[replica], n_z)
            assert torch.equal(resized(name.rpartition(" ")[2], cut, learner.architecture.n_z), tensor[replica]), name
    return 0.0


def the_same_pack_twice_is_bit_equal(cell: str, device: torch.device) -> float:
    """Compare the results of training and measurement, and the whole state."""
    seen = []
    for _ in range(2):
        learner = _learner(cell, device)
        trained = _trained(learner, range(3))
        seen.append({**_tensors(_state(learner)), "trained": trained, **_measured(learner, small(device).data)})
    assert all(torch.equal(a.nan_to_num(), seen[1][name].nan_to_num()) for name, a in seen[0].items())
    return 0.0


def _measured(learner: Learner, data) -> dict[str, Tensor]:  # noqa: ANN001
    where = learner.parameters, learner.architecture, data, learner.seeds
    found = {**vars(measure(*where, learner.k, 2, learner.statistics))}
    final = measure_final(*where, MeasureSettings(nll_samples=65, secondary_samples=3), 2, learner.statistics)
    return found | {f"final {name}": value for name, value in vars(final).items()}


def resuming_is_bit_equal(cell: str, device: torch.device) -> float:
    """Restore a state into a fresh pack, and into the pack that has trained further."""
    learner, fresh = _learner(cell, device), _learner(cell, device)
    _trained(learner, range(3))
    half = learner.state(2, (None,) * len(SEEDS))
    expected, whole = _trained(learner, range(3, 5)), _tensors(_state(learner))
    for other in (fresh, learner):
        other.restore(half)
        assert torch.equal(_trained(other, range(3, 5)), expected)
        assert all(torch.equal(tensor, whole[name]) for name, tensor in _tensors(_state(other)).items())
    return 0.0


def a_broken_neighbour_changes_no_bit(cell: str, device: torch.device) -> float:
    """Make one replica NaN; the others train and measure as if it were healthy."""
    seen = []
    for breaks in (False, True):
        learner = _learner(cell, device)
        _trained(learner, range(2))
        if breaks:
            with torch.no_grad():
                learner.parameters["encoder.mean.weight"][1] = torch.nan
        trained = _trained(learner, range(2, 4)).movedim(-1, 0)
        assert not breaks or trained[1].isnan().all()
        found = {**_tensors(_state(learner)), "trained": trained, **_measured(learner, small(device).data)}
        seen.append({name: tensor[[0, 2, 3]].nan_to_num() for name, tensor in found.items()})
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in seen[0].items())
    return 0.0


def chunks_change_nothing(cell: str, device: torch.device) -> float:
    """Check that measurements do not depend on how many images and samples are taken at once."""
    learner = _learner(cell, device)
    _trained(learner, range(2))
    data, size = small(device).data, slices.ELEMENTS
    expected = _measured(learner, data)
    chunk = slices.CHUNK
    try:
        slices.ELEMENTS, slices.CHUNK = 4 * 21 * 7, 3
        found = _measured(learner, data)
    finally:
        slices.ELEMENTS, slices.CHUNK = size, chunk
    error = max(_error(found[name].nan_to_num(), value.nan_to_num()) for name, value in expected.items() if value.numel())
    assert error < TOLERANCES[precision_in_use()], error
    return error


def memory_comes_back(cell: str, device: torch.device) -> float:
    """Check that a pack leaves nothing on the device except the libraries' workspaces, which the first pack made."""
    if device.type != "cuda":
        return 0.0
    left = []
    for _ in range(3):
        learner = _learner(cell, device)
        _trained(learner, range(3))
        _measured(learner, small(device).data)
        del learner
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        left.append(torch.cuda.memory_allocated())
    assert left[1] == left[2], left
    return float(left[2])


CHECKS: Mapping[str, Callable[[str, torch.device], float]] = {
    check.__name__.replace("_", " "): check
    for check in (
        kernels_train_as_torch_does,
        a_graph_trains_as_single_launches_do,
        a_pack_trains_as_its_members_alone_do,
        a_pack_measures_as_its_members_alone_do,
        what_pads_stays_zero,
        the_same_pack_twice_is_bit_equal,
        resuming_is_bit_equal,
        a_broken_neighbour_changes_no_bit,
        chunks_change_nothing,
        memory_comes_back,
    )
}


def every_setting_trains(device: torch.device, names: list[str] | None = None) -> list[str]:
    """Train one cell per level of every setting for one epoch; return those whose numbers differ from torch's."""
    from benchmarks.scenes import pack_of_trials
    from tests.workers.variants import CELLS as VARIANTS
    from tests.workers.variants import images_of, settings_of

    wrong = []
    for name in names or VARIANTS:
        members = [settings_of(VARIANTS[name], {"seed": seed}) for seed in (0, 5)]
        data = onto(images_of(members[0].data, members[0].measure), device)
        one, other = (Learner(pack_of_trials(members, data), data, device, on_device=True) for _ in range(2))
        found = _trained(one, range(3))
        with without_kernels():
            assert other.device_epoch
            other.device_epoch.captures = False
            expected = _trained(other, range(3))
        if not _error(found, expected) < 5 * TOLERANCES[precision_in_use()]:
            wrong.append(f"{name}: {_error(found, expected):.1e}")
    return wrong
