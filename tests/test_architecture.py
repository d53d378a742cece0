"""The walls of ARCHITECTURE.md, as tests."""

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests import ROOT

PACKAGES = ("study", "workers", "analysis")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_imports_go_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def copied(folder: Path) -> Path:
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = folder / source.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(source.read_text())
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    return folder


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("workers/contract/schedules.py", "import study.grid.grid", "study -> workers <- analysis"),
        ("study/grid/grid.py", "import study.plan.planning", "the rooms of study"),
        ("workers/model/layers.py", "import workers.measure.slices", "the rooms of workers"),
        ("analysis/averages/pruning.py", "import analysis.effects.simple", "the rooms of analysis"),
        ("workers/store/keys.py", "import workers.store.listing", "no circles"),
        ("study/grid/hints.py", "import study.grid.checks", "no circles"),
        ("workers/contract/schedules.py", "import ray", "Ray is known to"),
        ("study/plan/planning.py", "import ray", "Ray is known to"),
        ("analysis/loading/labels.py", "import torch", "need neither torch nor Ray"),
        ("workers/store/plan_log.py", "import torch", "need neither torch nor Ray"),
        ("study/plan/planning.py", "import workers.train.loop", "need neither torch nor Ray"),
        ("analysis/loading/labels.py", "import workers.replicas.units", "analysis knows of workers"),
        ("analysis/loading/labels.py", "import analysis.latent.make", "a command that nobody imports"),
        ("study/grid/grid.py", "import study.run", "nothing imports study.run"),
    ],
    ids=lambda value: value.replace("/", ".").replace(" ", "-"),
)
def test_a_planted_import_is_caught(tmp_path: Path, module: str, line: str, contract: str):
    planted = copied(tmp_path) / module
    planted.write_text(planted.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    broken = [name for name in done.stdout.splitlines() if " BROKEN" in name]
    assert any(contract in name for name in broken), broken


def test_a_new_room_must_be_given_its_place(tmp_path: Path):
    room = copied(tmp_path) / "workers/attic/__init__.py"
    room.parent.mkdir()
    room.write_text("")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "workers.attic" in done.stdout


def test_rooms_are_named_for_what_is_in_them():
    forbidden = {"utils.py", "common.py", "helpers.py", "misc.py", "base.py"}
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name in forbidden]


MOST_LINES, MOST_FILES = 400, 16


def too_long(root: Path) -> dict[str, int]:
    lines = {str(path): len(path.read_text().splitlines()) for path in root.rglob("*.py")}
    return {path: count for path, count in lines.items() if count > MOST_LINES}


def too_full(root: Path) -> dict[str, int]:
    counts = Counter(str(path.parent) for path in root.rglob("*.py"))
    return {folder: count for folder, count in counts.items() if count > MOST_FILES}


@pytest.mark.parametrize("folder", [*PACKAGES, "tests", "benchmarks"])
def test_files_stay_small(folder: str):
    assert not too_long(ROOT / folder)


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_stay_small(package: str):
    assert not too_full(ROOT / package)


def test_a_folder_of_seventeen_files_and_a_long_file_are_caught(tmp_path: Path):
    for number in range(MOST_FILES):
        (tmp_path / f"{number}.py").write_text("x\n" * MOST_LINES)
    assert not too_full(tmp_path)
    assert not too_long(tmp_path)
    (tmp_path / "more.py").write_text("x\n" * (MOST_LINES + 1))
    assert list(too_full(tmp_path).values()) == [MOST_FILES + 1]
    assert list(too_long(tmp_path)) == [str(tmp_path / "more.py")]


def test_every_dependency_names_the_file_that_needs_it():
    text = (ROOT / "pyproject.toml").read_text()
    entries = re.findall(r'^    "([A-Za-z][A-Za-z0-9_.\-\[\]]*)[<>=].*$', text, flags=re.M)
    lines = [line for line in text.splitlines() if re.match(r'^    "[A-Za-z][A-Za-z0-9_.\-\[\]]*[<>=]', line)]
    assert len(entries) > 20
    for line in lines:
        assert "# " in line or '"pytest' in line, f"say which file needs {line.strip()}"
    assert not lost_files("\n".join(lines))


def lost_files(text: str) -> list[str]:
    """Files that comments name by something other than an existing path from the root, except those `(to come)`."""
    comments = "\n".join(re.findall(r"# (.*)", text))
    named = re.findall(r"(?<![\w./])((?:[\w.-]+/)*[\w.-]+\.py|\.ci/\w+)\b(?! \(to come\))", comments)
    assert named, "no comment names a file"
    return [path for path in named if not (ROOT / path).is_file()]


@pytest.mark.parametrize("lost", ["train.py", "loop.py", "workers/train/loops.py", ".ci/checks"])
def test_a_comment_that_names_a_lost_file_is_caught(lost: str):
    text = f'    "torch>=2",  # workers/train/loop.py, {lost}: steps; study/search.py (to come)'
    assert lost_files(text) == [lost]


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pins = {line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()}
    names = {re.split(r"[<>=\[ ]", entry)[0].lower().replace("_", "-") for entry in wanted}
    assert names <= pins


def test_readme_and_ci_run_the_same_commands():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    assert "pip install -e . && python -m study.run grid.yaml" in readme
    every_test = 'pip install -e ".[test]" && python -m pytest -n 2 --dist loadfile'
    # The README prints the quick tests; CI runs the same command and leaves out no test.
    assert f'\n{every_test} -m "not slow"\n' in readme
    assert f"\n{every_test}\n" in ci


PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]


def test_links_of_the_documents_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


PATH = re.compile(r"`(?:python )?((?:study|workers|analysis|tests|benchmarks|docs|grids)/[^`\s:]*)(?:: (\w+))?[^`]*`")


def wrong_paths(text: str) -> list[str]:
    """Paths in backticks that do not exist, and names behind them (`path.py: name`) that the file does not have."""
    wrong = []
    for path, name in PATH.findall(text):
        found = list(ROOT.glob(path))
        if not found or (name and not re.search(rf"\b{name}\b", found[0].read_text())):
            wrong.append(f"{path}: {name}" if name else path)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_that_a_document_names_exist(page: Path):
    assert wrong_paths(page.read_text()) == []


def test_a_wrong_path_is_caught():
    text = "`workers/train/loop.py`, `workers/train/loops.py`, `workers/train/loop.py: train`, `workers/train/loop.py: no_such_name`"
    assert wrong_paths(text) == ["workers/train/loops.py", "workers/train/loop.py: no_such_name"]


Layers = dict[str, list[list[str]]]


def layers_of_contracts() -> Layers:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = {one["containers"][0]: one["layers"] for one in contracts if one.get("exhaustive")}
    return {package: [layer.split(" | ") for layer in layers] for package, layers in layered.items()}


def layers_of_picture(page: str) -> Layers:
    """The first block of ARCHITECTURE.md: packages at the margin, their layers indented."""
    found: Layers = {}
    for line in page.split("```")[1].splitlines():
        if line.startswith("    "):
            found[package].append(line.strip().split(" | "))
        elif line.strip():
            package = line.split()[0]
            found[package] = []
    return found


def rooms_of_listing(package: str) -> set[str]:
    paths = [path for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {path.stem for path in paths} - {"__init__"}


def rooms_of_table(page: str, package: str) -> list[str]:
    return re.findall(rf"^\| `{package}/(\w+)(?:/|\.py)` \|", page, flags=re.M)


def faults_of_picture(page: str) -> list[str]:
    """Where the picture, the table of rooms, the contracts and the listing differ."""
    contracts, picture = layers_of_contracts(), layers_of_picture(page)
    faults = [f"picture: {package}" for package in PACKAGES if picture.get(package) != contracts[package]]
    for package in PACKAGES:
        order = [room for layer in contracts[package] for room in layer]
        faults += [f"listing: {package}"] * (rooms_of_listing(package) != set(order))
        faults += [f"table: {package}"] * (rooms_of_table(page, package) != order)
    return faults


def test_the_picture_of_the_rooms_is_that_of_the_contracts_and_the_listing():
    assert faults_of_picture((ROOT / "ARCHITECTURE.md").read_text()) == []


@pytest.mark.parametrize(
    ("right", "wrong", "faults"),
    [
        ("    commands\n    pipeline\n", "    pipeline\n    commands\n", ["picture: study"]),
        ("    effects\n", "", ["picture: analysis"]),
        ("| `workers/model/` |", "| `workers/models/` |", ["table: workers"]),
    ],
    ids=["another order", "a room left out", "a room misnamed"],
)
def test_a_wrong_picture_is_caught(right: str, wrong: str, faults: list[str]):
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert right in page
    assert faults_of_picture(page.replace(right, wrong)) == faults
