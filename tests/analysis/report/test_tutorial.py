"""The notebook of docs/ runs as it stands, on a study of the quick start's design, without torch and Ray."""

import ast
import json
import subprocess
import sys

import pytest

from analysis import load
from analysis.figures.catalogue import chosen
from tests import ROOT
from tests.analysis.planted import plausible_bound, write
from tests.analysis.quick_start import FACTORS, write_quick_start

NOTEBOOK = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text())

RUNNER = """
import ast, json, sys
scope = {}
for number, text in enumerate(json.load(sys.stdin)):
    body = ast.parse(text).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), f"cell {number}", "exec"), scope)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), scope)
        assert value is not None
        if hasattr(value, "_repr_png_"):
            assert value._repr_png_()[:4] == bytes([137]) + b"PNG"
print([name for name in ("torch", "ray", "study.run") if name in sys.modules], sorted(scope["study"].factors))
"""


def cells(kind):
    return ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("folder", ["docs", "."], ids=["where it lies", "from the top"])
def test_every_cell_runs(tmp_path, folder):
    write_quick_start(tmp_path / "results" / "quickstart-smoke", 1, bound=plausible_bound)
    (tmp_path / folder).mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUNNER],
        input=json.dumps(cells("code")),
        capture_output=True,
        text=True,
        cwd=tmp_path / folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"[] {sorted([*FACTORS, 'objective.kl', 'seed'])}"


def test_own_axes_show_what_the_report_shows(tmp_path):
    write(tmp_path / "s")
    study = load(tmp_path / "s")
    scope = {"study": study, "chosen": chosen}
    (cell,) = [text for text in cells("code") if "add_subplot" in text]
    exec(cell, scope)
    (expected,) = chosen(study, ["3.1a"])[0].make().draw(None).axes

    def curves_on(axes):
        return [(str(line.get_color()), line._unscaled_dash_pattern, list(line.get_ydata())) for line in axes.lines]

    assert not scope["axes"].collections, "three seeds have no band"
    assert len([line for line in scope["axes"].lines if line.get_gid() == "seed"]) == 6
    drawn = curves_on(scope["axes"])
    assert drawn == curves_on(expected)[: len(drawn)]


def test_it_is_a_notebook_with_the_outputs_of_its_cells():
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in NOTEBOOK["cells"]}) == len(NOTEBOOK["cells"])
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(cell["outputs"] for cell in code if isinstance(ast.parse("".join(cell["source"])).body[-1], ast.Expr))
    assert (ROOT / "docs" / "tutorial.ipynb").stat().st_size < 200_000


@pytest.mark.parametrize("words", ["--smoke", "python -m analysis.report results/quickstart-smoke"])
def test_it_says_how_to_come_by_its_study(words):
    assert words in "\n".join(cells("markdown"))
