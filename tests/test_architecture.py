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
    for path in re.findall(r"((?:study|workers|analysis|tests)/[\w/]+\.py)(?! \(to come\))", text):
        assert (ROOT / path).is_file(), f"pyproject.toml names {path}, which does not exist"


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


def test_links_of_the_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
