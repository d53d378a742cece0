"""The report of a small planted study is recomputed from its files, and a number that is changed is found."""

import ast
import re
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from analysis import load
from analysis.claims.judge import judge
from analysis.claims.verdict import to_frame
from analysis.figures.picture import Picture
from analysis.report.write import write_report
from tests import ROOT
from tests.analysis import planted
from tests.analysis.claims.planted_claims import PLANTS
from tests.analysis.planted import plausible_bound
from tests.independent import recompute_report
from tests.independent.findings import findings
from tests.independent.stored import stored
from workers.store.plan_log import append_entry

FACTORS = {
    "decoder": ["bernoulli", "gaussian"],
    "k": [1, 5],
    "batch_norm": [False, True],
    "warmup": [0],
    "n_z": [10, 50],
    "seed": [0, 1, 2],
    "objective.kl": ["auto", "sampled"],
}
BRIDGE = {"decoder": "bernoulli", "k": 1, "batch_norm": False, "n_z": 50, "objective.kl": "sampled"}
OPEN: list[str] = []
"""Tables and lines in which the report differs from docs/statistics.md, as regular expressions; every one must occur."""
SKIPPED = ["C4", "C12", "C13", "C14", "C16", "C17", "C18", "C26", "C29"]
"""Claims about values of their own, each with a study in which it is true and one in which it is false."""


def activity(settings, epoch):
    """The seeds of a cell without batch norm have equal counts, so that the floor of their variance matters."""
    seed = settings["seed"] if settings["batch_norm"] else 0
    draw = np.random.default_rng([seed, settings["k"], settings["batch_norm"], settings["n_z"], epoch])
    return 10 ** draw.uniform(-4, 0, settings["n_z"])


def append_bridge(store, entry, packs, footer):
    """The grid lists the bridge by itself: its levels are not crossed."""
    crossed = {name: levels for name, levels in footer["factors"].items() if name != "objective.kl"}
    return append_entry(store, entry, packs, {**footer, "factors": crossed})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("independent") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "append_entry", append_bridge)
        planted.write(
            root,
            FACTORS,
            epochs=6,
            excluded=lambda s: s["objective.kl"] == "sampled" and any(s[name] != level for name, level in BRIDGE.items()),
            bound=plausible_bound,
            activity=activity,
        )
        patch.setattr(Picture, "render", lambda self, kinds, width_mm=None: {"png": b""})
        write_report(load(root), ["png"])
    return root


def test_nothing_of_the_program_is_imported():
    for path in (ROOT / "tests" / "independent").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        names += [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
        rooms = {name.partition(".")[0] for name in names} & {"analysis", "study", "workers"}
        assert rooms == ({"analysis", "workers"} if path.name.startswith("test_") else set()), path.name
        within = [name for name in names if name.startswith("tests.") and not path.name.startswith("test_")]
        assert all(name.startswith("tests.independent") for name in within), path.name


def test_every_table_is_recomputed_and_agrees(study):
    found, left = recompute_report.compare(study)
    assert left == []
    assert all(one.numbers for one in found)
    names = {one.table for one in found}
    written = {path.name for path in (study / "figures").glob("*.csv")}
    assert written - names == {"factors.csv", "missing.csv", "provenance.csv"}
    assert names - written == {"report.md, What was found"}
    kinds = {f"{kind}-{column}-bernoulli.csv" for kind in KINDS for column in ("nll", "active-units")}
    assert names >= kinds | {"icc.csv", "late-change.csv", "claims.csv", "figure-3.3.csv", "interactions-nll-gaussian.csv"}
    wrong = [f"{one.table} {line}" for one in found for line in one.wrong]
    assert [line for line in wrong if not any(re.fullmatch(one, line) for one in OPEN)] == []
    assert [one for one in OPEN if not any(re.fullmatch(one, line) for line in wrong)] == [], "what agrees must leave OPEN"


KINDS = ("effects", "main", "interaction-effects", "shares")


@pytest.mark.parametrize("is_true", [True, False])
@pytest.mark.parametrize("name", SKIPPED)
def test_claims_are_judged_alike(tmp_path, name, is_true):
    planted_study = PLANTS[name][not is_true].write(tmp_path / "s")
    (tmp_path / "s" / "figures").mkdir()
    table = to_frame(judge(planted_study))
    table.to_csv(tmp_path / "s" / "figures" / "claims.csv", index=False)
    assert table.set_index("claim")["verdict"][name] == ("confirmed" if is_true else "refuted")
    (one,), left = recompute_report.compare(tmp_path / "s", "claims")
    assert (one.wrong, left) == ([], [])


@contextmanager
def restored(path):
    """Put the content of a file back at the end."""
    before = path.read_text()
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("cells-bernoulli", "nll"),
        ("effects-nll-bernoulli", "low"),
        ("effects-nll-bernoulli", "p_holm"),
        ("main-nll-gaussian", "p_holm"),
        ("interaction-effects-nll-bernoulli", "high"),
        ("interactions-nll-gaussian", "mean"),
        ("shares-nll-gaussian", "share"),
        ("figure-2.2", "mean"),
        ("spectrum", "seed_1"),
        ("icc", "icc"),
        ("late-change", "change"),
        ("cost", "seconds"),
        ("claims", "estimate"),
        ("claims", "p_for_adjusted"),
        ("claims", "level"),
    ],
)
def test_a_changed_number_is_found(study, table, column, capsys):
    path = study / "figures" / f"{table}.csv"
    frame = pd.read_csv(path)
    row = frame[column].notna().to_numpy().nonzero()[0][0]
    frame[column] = frame[column].astype(float)
    frame.loc[row, column] += 1e-4 * max(1.0, abs(frame.loc[row, column]))
    with restored(path):
        frame.to_csv(path, index=False)
        assert recompute_report.main([str(study), "--only", table, "--show", "99"]) == 1
        said = capsys.readouterr().out
        assert len(re.findall(rf"    DIFFERS .*, {column}: printed", said)) == 1


def test_a_changed_entry_of_a_map_is_found(study):
    path = study / "figures" / "kl-map.csv"
    frame = pd.read_csv(path)
    frame.loc[7, "kl"] += 1e-3
    with restored(path):
        frame.to_csv(path, index=False)
        (found,), _ = recompute_report.compare(study, "kl-map")
        assert len(found.wrong) == 1
        assert "kl row " in found.wrong[0]


def test_a_table_without_its_columns_is_a_difference(study):
    path = study / "figures" / "interactions-nll.csv"
    with restored(path):
        pd.read_csv(path).drop(columns="panel").to_csv(path, index=False)
        (found,), _ = recompute_report.compare(study, "interactions-nll")
        assert found.wrong == ["has no column 'panel'; make the report again in an empty folder of figures"]


def test_a_changed_verdict_and_a_lost_column_are_found(study):
    path = study / "figures" / "claims.csv"
    frame = pd.read_csv(path)
    with restored(path):
        place = frame.index[frame["verdict"] == "confirmed"][0]
        frame.assign(verdict=frame["verdict"].mask(frame.index == place, "undecided")).to_csv(path, index=False)
        (found,), _ = recompute_report.compare(study, "claims")
        assert [line for line in found.wrong if "verdict: printed 'undecided', recomputed 'confirmed'" in line]
        frame.drop(columns="level").to_csv(path, index=False)
        (found,), _ = recompute_report.compare(study, "claims")
        assert found.wrong
        assert all(", level: absent" in line for line in found.wrong)


def test_every_changed_digit_of_what_was_found_is_noticed(study):
    path = study / "report.md"
    head, _, rest = path.read_text().partition("## What was found")
    section, mark, rest = rest.partition("\n##")
    first = section.index("\n- ")
    digits = [place for place in range(first, len(section)) if section[place].isdigit()]
    # "95% interval" is the only number that is a word, and "K = 1 takes the KL in closed form" is said of any study.
    fixed = [found.span() for found in re.finditer(r"95% interval|K = 1 takes", section)]
    fixed += [found.span() for found in re.finditer(r"\nDo not[^\d\n]*$", section)]
    assert len(digits) > 60
    files = stored(study)
    with restored(path):
        for place in digits[:: 1 + len(digits) // 40]:
            if any(low <= place < high for low, high in fixed):
                continue
            changed = section[:place] + str((int(section[place]) + 5) % 10) + section[place + 1 :]
            path.write_text(head + "## What was found" + changed + mark + rest)
            assert findings(files, path).wrong, section[max(0, place - 60) : place + 20]
