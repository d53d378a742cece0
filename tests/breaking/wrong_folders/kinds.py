"""What is done to a folder: every kind leaves files whose checksums are right. Values that were measured are never changed."""

import json
import random
import shutil
from pathlib import Path

from tests.breaking.wrong_folders.studies import edit, edit_model, files, write

Studies = dict[str, Path]

ROWS = ("epochs", "trials")

NAMES = ("../outside/secret", "../../outside/secret", "/etc/passwd", "e" * 16, "", "E" * 16, "0" * 17, None)
"""What an id or the name of a checkpoint may be turned into."""

SETTINGS = ("k", "n_z", "seed", "batch_norm", "warmup", "fingerprint", "objective.beta", "training.learning_rate")


def two(draw: random.Random, root: Path, *folders: str) -> list[Path]:
    return draw.sample(files(root, draw.choice(folders)), 2)


def swapped(draw: random.Random, root: Path, studies: Studies) -> None:
    """Two files of one folder trade places."""
    one, other = two(draw, root, "plan", *ROWS, "weights", "checkpoints")
    raws = one.read_bytes(), other.read_bytes()
    write(one, raws[1])
    write(other, raws[0])


def copied(draw: random.Random, root: Path, studies: Studies) -> None:
    """A file is also under a name of another."""
    one, other = two(draw, root, "plan", *ROWS, "weights", "checkpoints")
    write(other, one.read_bytes())


def transplanted(draw: random.Random, root: Path, studies: Studies) -> None:
    """A file of another study, under its own name or that of one of ours."""
    theirs = studies[draw.choice([name for name in studies if name != "victim"])]
    file = draw.choice(files(theirs, draw.choice(("plan", *ROWS, "weights", "checkpoints"))))
    target = root / file.parent.name / file.name
    if draw.random() < 0.4:
        target = draw.choice(files(root, file.parent.name))
    write(target, file.read_bytes())


def folder_of_another(draw: random.Random, root: Path, studies: Studies) -> None:
    """A whole folder of another study in the place of ours, or beside what is there."""
    theirs = studies[draw.choice([name for name in studies if name != "victim"])]
    folder = draw.choice((*ROWS, "plan", "weights"))
    if draw.random() < 0.5:
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    for file in files(theirs, folder):
        write(root / folder / file.name, file.read_bytes())


def adopted(draw: random.Random, root: Path, studies: Studies) -> None:
    """A file of another study that was given the names, packs, trials and settings of one of ours.

    Not one that differs in a setting that rows do not repeat, such as the classes of its data: nothing in it would tell.
    """
    theirs = studies[draw.choice(("other seeds", "other images", "other samples", "other threshold"))]
    file = draw.choice(files(theirs, draw.choice(ROWS)))
    numbers = file.stem.partition("-")[2]
    ours = [one for one in files(root, file.parent.name) if one.stem.partition("-")[2] == numbers]
    if not ours:
        return
    target = draw.choice(ours)
    identity = [row["trial_id"] for row in _rows(target)]
    names = dict(zip(dict.fromkeys(row["trial_id"] for row in _rows(file)), dict.fromkeys(identity), strict=False))
    pack_id = target.stem[:16]

    def rows(there: list[dict]) -> list[dict]:
        for row in there:
            row["trial_id"] = names.get(row["trial_id"], row["trial_id"])
            if "pack_id" in row:
                row["pack_id"] = pack_id
        return there

    brought = target.with_name(".brought")
    write(brought, file.read_bytes())
    edit(brought, rows, lambda footer: {**footer, "pack_id": pack_id}, to=target)


def _rows(file: Path) -> list[dict]:
    found: list[dict] = []
    raw = file.read_bytes()
    edit(file, lambda rows: found.extend(rows) or rows)
    write(file, raw)
    return found


def renamed(draw: random.Random, root: Path, studies: Studies) -> None:
    """Another pack, trial or epoch in the name of a file."""
    file = draw.choice(files(root, draw.choice(("plan", *ROWS, "weights", "checkpoints"))))
    parts = file.stem.split("-")
    place = draw.randrange(len(parts))
    ids = [one.stem[:16] for one in files(root, file.parent.name)]
    parts[place] = draw.choice([*ids, "e" * 16]) if len(parts[place]) == 16 else f"{draw.randrange(6):06d}"
    target = file.with_name("-".join(parts) + file.suffix)
    raw = file.read_bytes()
    if draw.random() < 0.7:
        file.unlink()
    write(target, raw)


def renumbered(draw: random.Random, root: Path, studies: Studies) -> None:
    """Rows that claim another pack or other epochs, in their name, their columns and their footer alike."""
    file = draw.choice(files(root, draw.choice(ROWS)))
    parts, by = file.stem.split("-"), draw.choice((-1, 1, 2))
    pack_id = draw.choice([parts[0], parts[0], *(one.stem[:16] for one in files(root, "epochs")), "e" * 16])

    def rows(there: list[dict]) -> list[dict]:
        for row in there:
            for name in ("epoch", "epochs", "last_epoch"):
                if row.get(name) is not None:
                    row[name] += by
            if "pack_id" in row:
                row["pack_id"] = pack_id
        return there

    numbers = [f"{max(0, int(part) + by):06d}" for part in parts[1:]]
    target = file.with_name("-".join([pack_id, *numbers]) + ".parquet")
    edit(file, rows, lambda footer: {**footer, "pack_id": pack_id}, to=target)


def other_footer(draw: random.Random, root: Path, studies: Studies) -> None:
    """One entry of a footer is another, or is gone."""
    folder = draw.choice(("plan", *ROWS))
    file = draw.choice(files(root, folder))
    ids = [one.stem[:16] for one in files(root, "epochs")]
    checkpoints = [f"checkpoints/{one.name}" for one in files(root, "checkpoints")]
    others = {
        "pack_id": draw.choice([*ids, *NAMES]),
        "kind": draw.choice(("plan", "epochs", "trials", "x", 3)),
        "threshold": draw.choice((0.0, 0.5, -1, "x", None, 1e300)),
        "closed": draw.choice((True, False, "yes")),
        "measure": draw.choice(({}, None, [], {"images": 40}, {"nll_samples": 3}, {"threshold": 0.02}, {"images": "x"})),
        "provenance": draw.choice(
            ({}, None, {"fingerprint": "a" * 64}, {"precision": []}, {"fingerprint": [1]}, {"a": {"b": 1}})
        ),
        "checkpoint": draw.choice([*checkpoints, *NAMES]),
        "checkpoint_sha256": draw.choice(("a" * 64, None, "")),
        "study": draw.choice(("another", "", None, "../outside")),
        "factors": draw.choice(({}, {"k": [7]}, {"k": []}, {"k": [[1]]}, {"none": [1]}, None, {"seed": ["x", {}]})),
        "grid": draw.choice(("", "study: another", "{", None)),
        "reason": draw.choice(("because", None)),
        "created": draw.choice(("never", 3)),
    }
    own = {
        "plan": ("kind", "study", "factors", "grid", "created", "provenance"),
        "epochs": ("pack_id", "kind", "threshold", "closed", "measure", "provenance", "checkpoint", "checkpoint_sha256"),
        "trials": ("pack_id", "kind", "closed", "measure", "provenance", "reason"),
    }[folder]
    name = draw.choice(own)

    def footer(facts: dict) -> dict:
        if draw.random() < 0.2:
            # A measurement that is not named is that of an earlier version.
            facts.pop(name, None)
            return facts
        return {**facts, name: others[name]}

    edit(file, footer=footer)


def other_ids(draw: random.Random, root: Path, studies: Studies) -> None:
    """Trials or packs trade their ids, or have ids that are none."""
    file = draw.choice(files(root, draw.choice(("plan", *ROWS))))
    column = draw.choice([name for name in ("trial_id", "pack_id", "parent_pack") if name in _rows(file)[0]])
    known = sorted({row[column] for other in files(root, file.parent.name) for row in _rows(other) if row[column]})
    how = draw.randrange(3)
    here = list(dict.fromkeys(row[column] for row in _rows(file)))
    new = dict(zip(here, here[1:] + here[:1], strict=True)) if how == 0 else {}
    if how == 1:
        new = {draw.choice(here): draw.choice(known or here)}
    if how == 2:
        new = {draw.choice(here): draw.choice(NAMES)}
    edit(file, lambda rows: [{**row, column: new.get(row[column], row[column])} for row in rows])


def other_rows(draw: random.Random, root: Path, studies: Studies) -> None:
    """Rows are dropped, doubled, or in another order."""
    file = draw.choice(files(root, draw.choice(("plan", *ROWS))))
    how = draw.choice(("drop", "double", "shuffle", "none", "first"))

    def rows(there: list[dict]) -> list[dict]:
        place = draw.randrange(len(there))
        if how == "drop":
            return there[:place] + there[place + 1 :]
        if how == "double":
            return [*there, dict(there[place])]
        if how == "shuffle":
            return draw.sample(there, len(there))
        return [] if how == "none" else there[:1]

    edit(file, rows)


def other_plan(draw: random.Random, root: Path, studies: Studies) -> None:
    """Settings, borders or starts of the plan are those of another trial, or of none."""
    file = draw.choice(files(root, "plan"))
    name = draw.choice((*SETTINGS, "borders", "from_epoch", "parent_pack", "training.epochs", "measure.images"))
    other = {
        "borders": draw.choice(([1, 2, 9], [2], [1], [3, 2, 1], [])),
        "from_epoch": draw.choice((0, 1, 7, -1)),
        "parent_pack": draw.choice([one.stem[:16] for one in files(root, "epochs")] + ["e" * 16]),
        "training.epochs": draw.choice((1, 9)),
        "measure.images": 40,
        "fingerprint": draw.choice(("a" * 64, "x")),
        "batch_norm": True,
    }
    every, value = draw.random() < 0.5, other.get(name, draw.choice((0, 1, 5, 77)))

    def rows(there: list[dict]) -> list[dict]:
        chosen = range(len(there)) if every else [draw.randrange(len(there))]
        for place in chosen:
            there[place][name] = value if type(value) is not int or type(there[place][name]) is not float else float(value)
        return there

    edit(file, rows)


def traded_settings(draw: random.Random, root: Path, studies: Studies) -> None:
    """Two trials of an entry trade one, several or all of their settings."""
    file = draw.choice(files(root, "plan"))

    def rows(there: list[dict]) -> list[dict]:
        one, other = draw.sample(there, 2)
        names = [name for name in one if one[name] != other[name] and name not in ("trial_id", "pack_id")]
        for name in draw.sample(names, draw.randint(1, len(names))):
            one[name], other[name] = other[name], one[name]
        return there

    edit(file, rows)


def entries(draw: random.Random, root: Path, studies: Studies) -> None:
    """Entries of the plan are lost, doubled, or in another order."""
    first, last = files(root, "plan")
    how = draw.choice(("lost first", "lost last", "again", "before"))
    if how == "lost first":
        first.unlink()
    elif how == "lost last":
        last.unlink()
    elif how == "again":
        write(root / "plan" / "000003.parquet", draw.choice((first, last)).read_bytes())
    else:
        write(first, last.read_bytes())
        last.unlink()


def lost(draw: random.Random, root: Path, studies: Studies) -> None:
    """A file, or several, are gone."""
    for file in draw.sample(files(root, *ROWS, "weights", "checkpoints"), draw.randint(1, 3)):
        file.unlink()


def other_model(draw: random.Random, root: Path, studies: Studies) -> None:
    """The header of a trained model says something else."""
    file = draw.choice(files(root, "weights"))

    def change(facts: dict) -> None:
        how = draw.randrange(6)
        if how == 0:
            facts["settings"][draw.choice(("seed", "k", "n_z"))] = 7
        elif how == 1:
            facts["settings"]["measure"]["images"] = 7
        elif how == 2:
            facts["epoch"] = draw.choice((0, 1, 3, "2", None))
        elif how == 3:
            facts["trial_id"] = draw.choice(NAMES)
        elif how == 4:
            facts["settings"] = draw.choice((None, {}, [], {"k": "x"}))
        else:
            facts.clear()

    edit_model(file, change)


def other_checkpoints(draw: random.Random, root: Path, studies: Studies) -> None:
    """The rows of a border name the checkpoint of another, with its hash."""
    one, other = draw.sample(files(root, "epochs"), 2)
    named: dict = {}
    raw = other.read_bytes()
    edit(other, footer=lambda facts: named.update(facts) or facts)
    write(other, raw)
    names = ("checkpoint", "checkpoint_sha256")
    chosen = names if draw.random() < 0.7 else names[:1]
    edit(one, footer=lambda facts: {**facts, **{name: named[name] for name in chosen}})


def marks(draw: random.Random, root: Path, studies: Studies) -> None:
    """Marks of closed packs, requests to stop, heartbeats and fences that nobody of this study wrote."""
    ids = [one.stem[:16] for one in files(root, "epochs")]
    pack_id = draw.choice([*ids, "e" * 16])
    how = draw.randrange(4)
    if how == 0:
        mark = draw.choice(({"kind": "oom", "reason": "x"}, {"reason": 3}, [], {}))
        write(root / "checkpoints" / f"closed-{pack_id}", json.dumps(mark).encode())
    elif how == 1:
        write(root / "checkpoints" / f"stop-ab-{pack_id}", b"")
    elif how == 2:
        (root / "lease").mkdir(exist_ok=True)
        beat = draw.choice(({"run_id": "ab"}, {"run_id": "cd", "host": "../outside"}, [], {"run_id": ["ab"]}, 3))
        write(root / "lease" / "000001-ab.json", json.dumps(beat).encode())
    else:
        fence = draw.choice(files(root, *ROWS))
        edit(fence, lambda rows: [], lambda facts: {"kind": facts["kind"], "pack_id": facts["pack_id"], "closed": True})


KINDS = (
    swapped,
    copied,
    transplanted,
    folder_of_another,
    adopted,
    renamed,
    renumbered,
    other_footer,
    other_ids,
    other_rows,
    other_plan,
    traded_settings,
    entries,
    lost,
    other_model,
    other_checkpoints,
    marks,
)
