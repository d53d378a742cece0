"""Checks and times a GPU machine in at most ten minutes: `python -m benchmarks.gpu_check --out gpu.md`.

Prints one line per check and writes tables in Markdown; the exit code is 1 if a check fails. With --smoke everything is
tiny and also runs on a CPU.
"""

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import device_checks, kernel_checks
from benchmarks.device_speed import Peak, Slice, by_n_z, paper_packs, peak, slices, speeds
from benchmarks.scenes import Scene, full, learner_of, small
from workers.contract.trial import Pack
from workers.replicas.device import PRECISIONS, describe_device, prepare_device


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks and timings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the Markdown file to write")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, on any device")
    parser.add_argument("--seconds", type=float, default=540, help="time after which no further pack is timed; default: 540")
    parser.add_argument("--only", choices=("checks", "speed"), help="run only one half")
    given = parser.parse_args(arguments)
    until = time.perf_counter() + given.seconds
    device = prepare_device("auto")
    if device.type != "cuda" and not given.smoke:
        print("this machine has no CUDA GPU; use --smoke to run the code on the CPU", file=sys.stderr)
        return 2
    lines = [
        f"# {name}: {value}" if name == "device_name" else f"- {name}: {value}" for name, value in facts(device).items()
    ]
    failures = 0
    if given.only != "speed":
        rows, failures = checks(given.smoke)
        lines += table("Checks", ("check", "where", "precision", "largest error", "seconds"), rows)
        given.out.write_text("\n".join(lines) + "\n")
    if given.only != "checks":
        for part in timings(prepare_device("auto"), given.smoke, until):
            lines += part
            given.out.write_text("\n".join(lines) + "\n")
    print(f"{failures} checks failed; the tables are in {given.out}")
    return 1 if failures else 0


def facts(device: torch.device) -> dict[str, str]:
    """Return what the numbers depend on: machine and versions."""
    found = {"device_name": "", **describe_device(device)}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"multiprocessors": properties.multi_processor_count, "memory, GB": round(properties.total_memory / 1e9)}
    return {name: str(value) for name, value in found.items()}


def checks(is_small: bool) -> tuple[list[Sequence[object]], int]:
    """Run the checks; return one row per check and the number of failures."""
    rows: list[Sequence[object]] = []
    failed = 0

    def run(name: str, where: str, precision: str, check) -> None:  # noqa: ANN001
        nonlocal failed
        started = time.perf_counter()
        try:
            found = check()
            if isinstance(found, list):
                assert not found, "; ".join(found)
            result = f"{found:.1e}" if found else "0"
        except Exception as error:
            traceback.print_exc()
            failed += 1
            result = f"FAILED: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        rows.append((name, where, precision, result, f"{time.perf_counter() - started:.1f}"))
        print(" | ".join(map(str, rows[-1])), flush=True)

    device = prepare_device("auto", "ieee")
    if kernels_run(device):
        for name, kernel in kernel_checks.CHECKS.items():
            run(
                f"kernel: {name}", "odd shapes", "ieee", lambda kernel=kernel: below(kernel(device), kernel_checks.TOLERANCE)
            )
    precisions = [name for name in PRECISIONS if name == "ieee" or device.type == "cuda"]
    for precision in precisions:
        device = prepare_device("auto", precision)
        cells = list(device_checks.CELLS)[: 1 if is_small else {"ieee": None, "tf32": 4, "bf16": 1}[precision]]
        for name, check in device_checks.CHECKS.items():
            for cell in cells:
                run(name, cell, precision, partial(check, cell, device))
    device = prepare_device("auto", "ieee")
    names = ["default", "dreg"] if is_small else None
    run("every setting trains", "cells of the tests", "ieee", lambda: device_checks.every_setting_trains(device, names))
    return rows, failed


def below(error: float, limit: float) -> float:
    """Return the error if float32 explains it, else raise."""
    assert error < limit, f"{error:.1e} is not below {limit:.0e}"
    return error


def kernels_run(device: torch.device) -> bool:
    """Tell whether Triton can run its kernels on this device."""
    if device.type == "cuda":
        return True
    from triton import knobs

    return bool(knobs.runtime.interpret)


def timings(device: torch.device, is_small: bool, until: float) -> Iterable[list[str]]:
    """Yield the tables of speeds, of one step's kernels and of the paper's grid; a failure is reported in its place."""
    scene = small(device) if is_small else full(device, 10_000, 1_000)
    top = peak(device, is_small)
    yield table(
        "The device in this run",
        ("product, TFLOP/s", "copy, GB/s"),
        [(f"{top.flops / 1e12:.3g}", f"{top.bytes_a_second / 1e9:.4g}")],
    )
    parts = {
        "Training, 784-200-200-50, batches of 100": lambda title: _speeds(title, scene, top, is_small),
        "Kernels of an epoch, K 1": lambda title: table(
            title, ("kernel", "calls", "microseconds", "share"), profile(scene, is_small)
        ),
        "Packs of grids/paper.yaml on random images of MNIST's size": lambda title: _paper(
            title, small(device) if is_small else full(device), is_small, until
        ),
    }
    for title, part in parts.items():
        try:
            yield part(title)
        except Exception as error:
            traceback.print_exc()
            yield ["", f"## {title}", "", f"FAILED: {type(error).__name__}: {str(error)[:300]}"]


def _speeds(title: str, scene: Scene, top: Peak, is_small: bool) -> list[str]:
    ks, packs = ((1, 2), (1, 2)) if is_small else ((1, 5, 50), (1, 8, 32, 64))
    rows = []
    for s in speeds(scene, ks, packs, top, -(-len(scene.data.train) // (24 if is_small else 100))):
        rate, time_of_step = f"{s.steps_a_second:,.0f}", f"{1e6 / s.steps_a_second:.1f}"
        rows.append((s.k, s.name, s.trials, rate, time_of_step, f"{s.share_of_floor:.2f}"))
        print(f"K {s.k}, {s.name}, {s.trials}: {rate} trial-steps/s, {s.share_of_floor:.2f} of the floor", flush=True)
    columns = ("K", "how", "trials", "trial-steps/s", "microseconds per trial-step", "share of the floor")
    return table(title, columns, rows)


def _paper(title: str, scene: Scene, is_small: bool, until: float) -> list[str]:
    packs = paper_packs()
    # Seed blocks repeat the shapes, so one pack of each shape is enough.
    shapes = {str(pack.trials[0].settings.model_copy(update={"seed": 0, "warmup": 0})): pack for pack in packs}
    chosen = list(shapes.values())[:1] if is_small else list(shapes.values())
    timed: list[Slice] = []
    for one in slices(scene, chosen, until, 2 if is_small else 200):
        timed.append(one)
        print(f"{one.name}: {one.epoch_s:.3f} s per epoch, {one.measure_s:.3f} s to measure it", flush=True)
    rows = [
        (s.name, s.trials, *(f"{v:.3g}" for v in (s.start_s, s.epoch_s, s.measure_s, s.final_s, s.whole_s / 60)))
        for s in timed
    ]
    columns = ("pack", "trials", "start, s", "epoch, s", "measurement, s", "end, s", "300 epochs, min")
    lines = table(title, columns, rows)
    lines += [] if is_small or len(timed) < len(shapes) else _apart(timed[-1], by_n_z(chosen[-1], scene.data), scene, until)
    trials = sum(s.trials for s in timed)
    whole = sum(len(pack.trials) for pack in packs)
    if trials:
        minutes = sum(s.whole_s for s in timed) / 60 * whole / trials
        steps = sum(300 * s.steps * s.trials for s in timed)
        training = sum(300 * s.epoch_s for s in timed)
        lines += [
            "",
            f"Timed: {len(timed)} of {len(shapes)} shapes, {trials} of {whole} trials. All {whole}: {minutes:.1f} min on "
            f"this device, one pack after another; {training / steps * 1e6:.2f} microseconds per trial-step of training.",
        ]
    return lines


def _apart(padded: Slice, packs: list[Pack], scene: Scene, until: float) -> list[str]:
    """Compare the time of a padded pack with that of the packs of single n_z that it replaces."""
    timed = list(slices(scene, packs, until))
    if len(timed) < len(packs):
        return []
    epoch, minutes = sum(s.epoch_s for s in timed), sum(s.whole_s for s in timed) / 60
    return [
        "",
        f"{padded.name}: {padded.epoch_s:.3g} s per epoch, {padded.whole_s / 60:.3g} min in one padded pack; "
        f"{epoch:.3g} s and {minutes:.3g} min in {len(timed)} packs of one n_z each.",
    ]


def profile(scene: Scene, is_small: bool, rows: int = 25) -> list[Sequence[object]]:
    """List the most expensive kernels in one epoch of a pack."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    learner = learner_of(scene, [{"seed": seed} for seed in range(2 if is_small else 60)])
    learner.train_epoch(1)
    cuda = scene.device.type == "cuda"
    with torch_profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        learner.train_epoch(2)
    times: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in seen.key_averages():
        times[event.key] += event.self_device_time_total if cuda else event.self_cpu_time_total
        calls[event.key] += event.count
    total = sum(times.values()) or 1
    return [(f"`{name[:90]}`", calls[name], f"{t:.0f}", f"{t / total:.3f}") for name, t in times.most_common(rows)]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Render a table in Markdown."""
    cells = [columns, ["---"] * len(columns), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return ["", f"## {title}", "", *("| " + " | ".join(row) + " |" for row in cells)]


if __name__ == "__main__":
    sys.exit(main())
