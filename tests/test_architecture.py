"""The walls of ARCHITECTURE.md, as tests."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("study", "workers", "analysis")


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_imports_go_one_way():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("workers/schedules.py", "import ray"),
        ("analysis/labels.py", "import torch"),
        ("workers/schedules.py", "import study.grid"),
        ("analysis/labels.py", "import workers.model"),
        ("analysis/labels.py", "import analysis.latent"),
        ("workers/plan.py", "import torch"),
        ("study/grid.py", "import study.run"),
    ],
    ids=lambda value: value.replace("/", "."),
)
def test_a_planted_import_is_caught(tmp_path: Path, module: str, line: str):
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(source.read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    planted = tmp_path / module
    planted.write_text(planted.read_text() + f"\n\ndef planted() -> None:\n    {line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout


def test_rooms_are_named_for_what_is_in_them():
    forbidden = {"utils.py", "common.py", "helpers.py", "misc.py", "base.py"}
    assert not [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.name in forbidden]


def test_files_stay_small():
    too_long = {
        str(path.relative_to(ROOT)): lines
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not too_long


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
    test_command = 'pip install -e ".[test]" && python -m pytest -n 2 --dist loadfile'
    assert test_command in readme
    assert test_command in ci


def test_links_of_the_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
