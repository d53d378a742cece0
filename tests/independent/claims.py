"""Recomputes verdicts, p-values, levels and seeds of the claims in analysis/claims/paper.yaml, which is data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.independent.claim_tests import TESTS, Test, chance_of_decision, seeds_to_decide
from tests.independent.claim_values import DAGGER, Part, latent, values_of
from tests.independent.comparing import Comparison, NotRecomputed
from tests.independent.stored import Stored
from tests.independent.tables import closed_form
from tests.independent.textbook import chance_equal, holm, holm_level

PAPER = Path(__file__).parents[2] / "analysis" / "claims" / "paper.yaml"
LEVEL = 0.05
NAN = float("nan")
LEAST = {"lost": 6, "half_life": 6, "largest_drop": 6}
"""Epochs without which a value has no meaning: the early peak lies in epochs 1 to 5."""
CLOSE = 2e-3
"""The program integrates powers over 500 points of equal probability."""


@dataclass
class Judged:
    """A claim with its tests, and the verdict on it."""

    claim: Mapping[str, Any]
    tests: list[Test]
    gaps: bool
    """Whether a part that decides cannot be judged."""
    planned: int
    is_final: bool
    adjusted_for: float = NAN
    adjusted_against: float = NAN
    level_for: float = LEVEL
    level_against: float = LEVEL
    members: tuple[int, int] = (0, 0)
    verdict: str = ""

    @property
    def p_for(self) -> float:
        """All tests have to pass."""
        return NAN if self.gaps or not self.tests else float(np.max([one.p_for for one in self.tests]))

    @property
    def p_against(self) -> float:
        """One test is enough (Bonferroni)."""
        known = [one.p_against for one in self.tests if not np.isnan(one.p_against)]
        return min(1.0, len(self.tests) * min(known)) if known else NAN

    @property
    def side(self) -> str:
        """The side of the p-value that is shown."""
        if self.verdict in ("confirmed", "refuted"):
            return "for" if self.verdict == "confirmed" else "against"
        known = [(p, s) for p, s in ((self.adjusted_for, "for"), (self.adjusted_against, "against")) if not np.isnan(p)]
        return min(known, key=lambda one: one[0])[1] if known else ""

    def seeds(self) -> int | None:
        """The seeds that would decide a claim that more seeds of the same kind can decide."""
        would_be_decided = self.adjusted_for <= LEVEL and all(one.is_enough for one in self.tests)
        if self.verdict != "undecided" or would_be_decided or self.adjusted_against <= LEVEL or np.isnan(self.p_for):
            return None
        return seeds_to_decide(self.tests, self.level_for, self.level_against)


def cell_of(study: Stored, base: Mapping[str, Any], cell: Mapping[str, Any]) -> pd.DataFrame:
    """The trials of a claim's cell, without rows where the study lacks it; a factor named nowhere is at its first level."""
    key = repr((base, cell))
    if key not in study.cache:
        study.cache[key] = find(study, base, cell)
    return study.cache[key]


def find(study: Stored, base: Mapping[str, Any], cell: Mapping[str, Any]) -> pd.DataFrame:
    """Look a cell up."""
    levels = {name: values[0] for name, values in study.factors.items() if name != "seed"} | dict(base) | dict(cell)
    if levels["warmup"] == "longest":
        levels["warmup"] = max(level for level in (*study.factors["warmup"], -1) if level)
    if any(name not in study.trials for name in levels):
        return study.trials.iloc[:0]
    kind = levels.pop("objective.kl", "auto")
    found = study.at(levels)
    exact = found[found["objective.kl"] == kind]
    if len(exact) or kind == "auto" or found.empty:
        return exact
    # All trials of a cell take the KL alike.
    return found if closed_form(found) == (kind == "analytic") else found.iloc[:0]


def judge_part(
    study: Stored, claim: Mapping[str, Any], base: Mapping[str, Any], part: Part
) -> tuple[list[Test], pd.DataFrame]:
    """The tests of one part and its trials; no tests where the study cannot judge it."""
    every = {name: cell_of(study, base, cell) for name, cell in claim["cells"].items()}
    cells = {name: every[name] for name in part["cells"]}
    trials = pd.concat(cells.values())
    if any(one.empty for one in cells.values()):
        return [], trials
    needs = claim.get("needs", {})
    warmup = int(max(one["warmup"].max() for one in every.values() if len(one)))
    least = {**LEAST, "slope": part.get("last", 0), "over_epochs": part.get("stretches", 0), "slope_in_warmup": warmup}
    least |= {"kept": max(5, round(warmup / 10)), "change_after_warmup": warmup + 2}
    lengths = set(trials["epochs_planned"])
    # Tests of every trial, and within each cell, compare no cells.
    differ = len(lengths) > 1 and part["test"] not in ("always", "uncorrelated")
    if differ or min(lengths) < max(needs.get("epochs", 1), least.get(part["value"], 1)):
        return [], trials
    if warmup < needs.get("warmup", 0) or any(
        set(trials[name]) - set(allowed) for name, allowed in needs.get("settings", {}).items()
    ):
        return [], trials
    if part["value"] == "latent" and part["column"] not in latent(study):
        return [], trials
    values = {name: values_of(study, one, part, warmup, name in part.get("zero_in", ())) for name, one in cells.items()}
    for one in values.values():
        if one.numbers.empty or (one.undefined and part["value"] in DAGGER) or one.numbers.isna().all(axis=None):
            return [], trials
    return list(TESTS[part["test"]](part, values)), trials


def judge(study: Stored) -> list[Judged]:
    """Every claim with its verdict, made once."""
    if "claims" in study.cache:
        return study.cache["claims"]
    if (study.trials["status"] == "diverged").any():
        raise NotRecomputed("verdicts with diverged trials at the worst rank")
    text = yaml.safe_load(PAPER.read_text())
    found = []
    for claim in text["claims"]:
        parts = [part for part in claim["parts"] if part.get("decides", True)]
        made = [judge_part(study, claim, text["base"], part) for part in parts]
        judged = [(tests, trials) for tests, trials in made if tests]
        seeds = [
            len(group)
            for (tests, _), part in zip(made, parts, strict=True)
            for group in (cell_of(study, text["base"], claim["cells"][name]) for name in part["cells"])
            if tests
        ]
        is_final = bool(judged) and all(trials["status"].notna().all() for _, trials in judged)
        tests = [one for tests, _ in judged for one in tests]
        found.append(Judged(claim, tests, len(judged) < len(parts), min(seeds, default=0), is_final))
    adjust(found)
    for one in found:
        one.verdict = verdict_on(one)
    study.cache["claims"] = found
    return found


def adjust(found: list[Judged]) -> None:
    """Holm over the primary claims that can be tested, for them and against them apart."""
    for one in found:
        one.adjusted_for, one.adjusted_against = one.p_for, one.p_against
    sides = (
        [one for one in found if one.claim["primary"] and one.tests and not one.gaps],
        [one for one in found if one.claim["primary"] and one.tests],
    )
    for side, family in enumerate(sides):
        p = [(one.p_for, one.p_against)[side] for one in family]
        for place, (one, adjusted) in enumerate(zip(family, holm(p), strict=True)):
            level = holm_level(p, place, LEVEL)
            if side:
                one.adjusted_against, one.level_against = adjusted, level
            else:
                one.adjusted_for, one.level_for = adjusted, level
            one.members = (one.members[0], len(family)) if side else (len(family), one.members[1])


def verdict_on(one: Judged) -> str:
    """The verdict that docs/formats.md defines."""
    if one.adjusted_against <= LEVEL:
        return "refuted"
    if one.gaps:
        return "not testable"
    return "confirmed" if one.adjusted_for <= LEVEL and all(test.is_enough for test in one.tests) else "undecided"


def how_refuted(one: Judged, test: Test) -> str:
    """How the words on a refutation begin: the opposite, or what the test says."""
    return "the opposite is shown" if len(one.tests) * test.p_opposite <= one.level_against else test.says


def claims(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Every claim: verdict, how it was refuted, the quantity shown with its interval, every p, level, power and seeds."""
    seen, found = Comparison(path.name), judge(study)
    seen.text("claims", " ".join(table["claim"]), " ".join(one.claim["id"] for one in found))
    rows = {row["claim"]: row for row in table.to_dict("records")}
    for one in found:
        if one.claim["id"] in rows:
            compare(seen, rows[one.claim["id"]], one)
    return seen


def compare(seen: Comparison, row: Mapping[str, Any], one: Judged) -> None:
    """Compare one row."""
    name = one.claim["id"]
    seen.text(f"{name}, verdict", row["verdict"], one.verdict)
    seen.text(f"{name}, stage", row["stage"], "final" if one.is_final else "interim")
    if "not testable" in (one.verdict, row["verdict"]):
        return
    side, is_inferred = one.side, any(test.toward for test in one.tests)
    p_of = {test.name: test.p_against if side == "against" else test.p_for for test in one.tests}
    extreme = (np.nanmin if side == "against" else np.max)([*p_of.values()])
    telling = [test for test in one.tests if p_of[test.name] == extreme or np.isnan(extreme)]
    # Of tests whose p-values are equal, any may be shown.
    names = [test.name for test in telling]
    seen.number(f"{name}, what ({row['what']}) is one of {names}", row["what"] in names, True)
    test = telling[names.index(row["what"])] if row["what"] in names else telling[0]
    low, high = test.shown.interval()
    has_p = test.toward is not None and side != ""
    chosen = 1 if side == "against" else 0
    wanted = {
        "estimate": test.shown.value, "low": low, "high": high, "n": min(other.shown.n for other in one.tests),
        "n_planned": one.planned, "margin": test.margin,
        "p": (one.adjusted_for, one.adjusted_against)[chosen] if has_p else NAN,
        "level": (one.level_for, one.level_against)[chosen] if has_p else NAN,
        "p_for": one.p_for if is_inferred else NAN, "p_against": one.p_against if is_inferred else NAN,
        "p_for_adjusted": one.adjusted_for if is_inferred else NAN,
        "p_against_adjusted": one.adjusted_against if is_inferred else NAN,
    }  # fmt: skip
    seen.row(name, row, wanted)
    seen.text(f"{name}, side", row.get("side", "absent"), side if has_p else "")
    members = one.members[chosen]
    family = f"Holm over {members} primary claim{'s' * (members > 1)}"
    family = family if one.claim["primary"] else "not adjusted: not a primary claim"
    seen.text(f"{name}, family", row.get("family", "absent"), family if has_p else "")
    how = how_refuted(one, test) if one.verdict == "refuted" else ""
    shown = "" if pd.isna(row.get("how")) else str(row["how"])
    seen.text(f"{name}, how", shown[: len(how)] if how else shown, how)
    ranges = [other for other in one.tests if other.is_range and not np.isnan(other.toward.se)]
    power = [chance_equal(0.0, r.toward.se, r.toward.df, r.least, one.level_for) for r in ranges]
    seen.number(f"{name}, power", row.get("power", NAN) + 1, min(power, default=NAN) + 1, CLOSE)
    seeds_agree(seen, name, row.get("seeds_needed"), one)


def seeds_agree(seen: Comparison, name: str, printed: Any, one: Judged) -> None:
    """Compare the seeds needed; near the power of 0.8 the program's approximation may differ by a seed."""
    wanted = one.seeds()
    if wanted is not None and not pd.isna(printed) and int(printed) != wanted:
        around = [chance_of_decision(one.tests, int(printed) + step, one.level_for, one.level_against) for step in (-1, 0)]
        if around[0] < 0.8 + CLOSE and around[1] > 0.8 - CLOSE:
            wanted = int(printed)
    seen.number(f"{name}, seeds_needed", printed, NAN if wanted is None else wanted)


def untested(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Which claims the study cannot test."""
    seen = Comparison(path.name)
    names = [one.claim["id"] for one in judge(study) if one.verdict == "not testable"]
    seen.text("claims", " ".join(table["claim"]), " ".join(names))
    return seen
