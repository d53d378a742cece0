"""Train sampled trials again and report for each whether every bit agrees or how far off it is (`study verify`)."""

import argparse
import json
import random
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from study.plan.gpus import gpu_count
from study.plan.machine import this_machine
from study.provenance import code_provenance
from study.status.found_study import Found, find_study, refuse_links
from study.verify.verdict import DIFFERENT, WITHIN, Verdict, ends_of, judge, origin_of, refuse_lost
from study.verify.what_to_rerun import reruns_of
from workers.contract.errors import CONFLICT, CommandError, FolderGoneError, say
from workers.contract.settings import RunSettings
from workers.contract.user_paths import expanded
from workers.store.keys import verify_url
from workers.store.open import open_store
from workers.store.plan_log import Plan, read_plan
from workers.store.protocol import Store

SUMMARY = "verify.json"

PAGE = "docs/verify.md"


def add_words(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `study verify`."""
    parser.add_argument("name", metavar="NAME", help="a study's name, or the path of its folder")
    parser.add_argument("--sample", type=_count, metavar="N", help="verify this many trials, drawn at random (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draw (default: 0)")
    parser.add_argument(
        "--trial", action="append", default=[], metavar="ID", help="verify this trial (its id, or the beginning of it)"
    )
    parser.add_argument("--alone", action="store_true", help="train each trial alone, not with its whole pack")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="auto: as in the study")
    parser.add_argument("--data-root", metavar="FOLDER", help="folder of the data, if they have moved since the study ran")
    parser.add_argument("--data-path", metavar="FILE", help="the .npz file, if it has moved since the study ran")


def carry_out(words: argparse.Namespace) -> int:
    """Train the trials again, compare them, print one line per trial, and store the result."""
    found = find_study(words.name, words.out)
    refuse_links(found)
    plan = read_plan(found.store)
    ended = ends_of(found.store, plan)
    chosen = _chosen(found, ended, words.trial, words.sample, words.seed)
    # Check that the device exists before making a folder.
    this_machine(RunSettings(device=words.device))
    reruns = reruns_of(plan, ended, chosen, words.alone)
    refuse_lost(found.store, plan, reruns)
    store = _fresh(found)
    for line in _announcement(found, words, chosen, [len(rerun.members) for rerun in reruns], store):
        say(line)
    from study.verify.rerun import precision_like, rerun_all

    was = origin_of(found.store, *ended[chosen[0]])
    device = words.device if words.device != "auto" else _device_of(was)
    precision = precision_like(was, device)
    where = {"root": _expanded(words.data_root), "path": _expanded(words.data_path)}
    try:
        rerun_all(reruns, store, device=device, precision=precision, data_where=where, provenance=code_provenance())
    finally:
        with suppress(OSError):
            # Remove the folder if it is empty: the data were not there, and nothing was run.
            if not found.is_in_bucket:
                Path(store.url).rmdir()
    verdicts = [verdict for rerun in reruns for verdict in judge(found.store, store, plan, rerun)]
    _store_summary(store, words, chosen, verdicts)
    for line in _table(verdicts, plan):
        say(line)
    for line in _ending(verdicts, store):
        say(line)
    return CONFLICT if any(verdict.name == DIFFERENT for verdict in verdicts) else 0


def _chosen(
    found: Found, ended: Mapping[str, tuple[str, int]], given: Sequence[str], sample: int | None, seed: int
) -> list[str]:
    """Return the named trials, then those drawn from the other ended ones, sorted so that a seed draws the same."""
    chosen: list[str] = []
    for beginning in given:
        matching = [trial_id for trial_id in sorted(ended) if beginning and trial_id.startswith(beginning)]
        if len(matching) != 1:
            what = "no ended trial has" if not matching else f"{len(matching)} ended trials have"
            raise CommandError(f"--trial {beginning}: {what} an id that begins like this; give an ended trial's whole id")
        chosen += [trial_id for trial_id in matching if trial_id not in chosen]
    wanted = sample if sample is not None else (0 if given else 1)
    rest = [trial_id for trial_id in sorted(ended) if trial_id not in chosen]
    if not ended:
        raise CommandError(f"study {found.name}: no trial has ended yet; verify it when one has")
    return chosen + random.Random(seed).sample(rest, min(wanted, len(rest)))


def _fresh(found: Found) -> Store:
    """Return the store of a new folder that no other verification uses."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if found.is_in_bucket:
        return open_store(verify_url(found.url, f"{stamp}-{secrets.token_hex(4)}"))
    for number in range(1000):
        url = verify_url(found.store.url, stamp if not number else f"{stamp}-{number}")
        try:
            # Not the study's own folder, which may have been removed in the meantime.
            Path(url).parent.mkdir(exist_ok=True)
            Path(url).mkdir()
        except FileExistsError:
            continue
        except FileNotFoundError:
            raise FolderGoneError(found.url) from None
        return open_store(url)
    raise CommandError(f"{found.folder}/verify: a thousand verifications began in this second; try again")


def _device_of(origin: Mapping[str, object]) -> str:
    """Return the device that the trials were trained on if this machine has it, else `auto`."""
    was = origin.get("device")
    return str(was) if was == "cpu" or (was == "cuda" and gpu_count()) else "auto"


def _announcement(
    found: Found, words: argparse.Namespace, chosen: Sequence[str], members: Sequence[int], store: Store
) -> list[str]:
    drawn = len(chosen) - len(set(words.trial))
    how = f"{len(chosen)} trial{'s' if len(chosen) != 1 else ''}" + (
        f", {drawn} drawn with seed {words.seed}" if drawn else ""
    )
    if words.alone:
        what = f"each is trained alone, so bits may differ, but all numbers must lie within the band of {PAGE}"
    else:
        packs = f"{len(members)} pack{'s' if len(members) != 1 else ''}"
        what = f"whole packs are trained again ({packs}, {sum(members)} trials), and all their trials are compared"
    return [f"verify study {found.name}: {how}; {what}", f"rows of the new run are stored in {store.url}"]


def _store_summary(store: Store, words: argparse.Namespace, chosen: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    facts = {
        "study": words.name,
        "seed": words.seed,
        "sample": words.sample,
        "alone": words.alone,
        "chosen": list(chosen),
        "trials": [verdict.facts() for verdict in verdicts],
    }
    store.create(SUMMARY, json.dumps(facts, indent=1).encode())


def _table(verdicts: Sequence[Verdict], plan: Plan) -> list[str]:
    lines = []
    for verdict in verdicts:
        settings = plan.trials[verdict.trial_id].settings
        cell = (
            f"{settings.decoder} k={settings.k} batch_norm={settings.batch_norm} warmup={settings.warmup} "
            f"n_z={settings.n_z} seed={settings.seed}"
        )
        lines.append(f"{verdict.trial_id}  {verdict.name:<15}  {cell}")
        lines += [f"    {line}" for line in verdict.reasons()]
    return lines


def _ending(verdicts: Sequence[Verdict], store: Store) -> list[str]:
    counts = {name: sum(verdict.name == name for verdict in verdicts) for name in dict.fromkeys(v.name for v in verdicts)}
    lines = [", ".join(f"{count} {name}" for name, count in counts.items()) + f"; {store.url}/{SUMMARY}"]
    if any(verdict.name == WITHIN and verdict.expects_bits for verdict in verdicts):
        lines.append(
            "the same pack gives the same bits on the same device with the same versions: either a stored file was changed, "
            f"or something differs that the provenance does not record; see {PAGE}"
        )
    return lines


def _expanded(path: str | None) -> str | None:
    return None if path is None else expanded(path)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; write a whole number from 1")
    return int(text)
