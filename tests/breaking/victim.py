"""A small study that is trained for real: packs, borders, two entries of the plan, weights; what the scripts here break."""

import io
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from study.commands import run as cli

STORED = ("plan", "epochs", "trials", "weights")

GRID = """\
study: victim
data: {name: digits, classes: [0, 1], subset: classes}
factors: {k: [1, 2], seed: [0, 1]}
model: {hidden: [4]}
training: {epochs: 2, batch_size: 60}
measure: {images: 60, nll_samples: 2, secondary_samples: 2}
run: {commit_every: 1, packing: none}
"""


def run(folder: Path, *options: str, grid: str = GRID) -> tuple[int, str]:
    """Run a grid file in this process; returns the exit code and all that was said."""
    file = folder / "grid.yaml"
    file.write_text(grid)
    return said(cli.main, [str(file), "--out", str(folder), "--executor", "inline", *options])


def said(main, arguments: list[str]) -> tuple[int, str]:
    """The exit code of a command and its output, errors last."""
    code, err, out = apart(main, arguments)
    return code, out + err


def apart(main, arguments: list[str]) -> tuple[int, str, str]:
    """The exit code of a command, its errors and its other output."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as error:  # argparse ends so
            code = int(error.code or 0)
    return code, err.getvalue(), out.getvalue()


def make(folder: Path) -> Path:
    """Train the study, then make it longer: four packs of one trial, two entries, three borders, eight files of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    for epochs in (2, 3):
        code, text = run(folder, "--set", "n_z=2", "--set", f"training.epochs={epochs}")
        assert code == 0, text
    return folder / "victim"


def stored(root: Path) -> list[Path]:
    """Every file of the four public folders, sorted."""
    return sorted(path for folder in STORED for path in (root / folder).iterdir())


def copy(root: Path, target: Path) -> Path:
    """The study without checkpoints, in another place under its own name; what stood there is removed."""
    target = target / root.name
    shutil.rmtree(target, ignore_errors=True)
    for folder in STORED:
        shutil.copytree(root / folder, target / folder, copy_function=os.link)
    return target


def replace(path: Path, raw: bytes) -> None:
    """Other bytes under this name; the file that it is a link of stays as it was."""
    path.unlink()
    path.write_bytes(raw)


def facts_of(raw: bytes) -> dict:
    """What a weights file says beside its tensors, unchecked."""
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    return json.loads(header["__metadata__"]["trial"])
