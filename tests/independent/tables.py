"""Recomputes the tables of the report: cells, simple effects, main effects, interactions, shares of the variance, cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from tests.independent.comparing import Comparison, NotRecomputed
from tests.independent.stored import Stored
from tests.independent.textbook import ROUNDING, Estimate, anova, holm, icc, mean, paired, welch

CORNERS = {(1, 1): 1, (0, 1): -1, (1, 0): -1, (0, 0): 1}
"""The four means of an interaction of two factors, as places of their levels, and their signs."""
UNPAIRED = ("k", "n_z", "training.batch_size", "model.hidden", "model.layers_above")


def floor_of(column: str) -> float:
    """The floor of the variance of one value of this column."""
    return ROUNDING if column == "active_units" else 0.0


def is_paired(factor: str) -> bool:
    """Whether the docs compare levels of this factor seed by seed."""
    return factor not in UNPAIRED and not factor.startswith("data.")


def words_of(path: Path) -> tuple[str, str]:
    """Read column and decoder from a name such as main-active-units-gaussian."""
    parts = path.stem.removeprefix("interaction-").split("-")
    return "_".join(parts[1:-1]), parts[-1]


def expected(found: Estimate, planned: int, epoch: int) -> dict[str, float]:
    """The columns of an effect without its adjusted p-value."""
    low, high = found.interval()
    seeds = {"n": found.n, "n_planned": planned, "epoch": epoch, "sd": found.sd}
    return {"estimate": found.value, "low": low, "high": high, "p": found.p_two_sided(), **seeds}


def end_of(trials: pd.DataFrame) -> int:
    """The epoch at which trials of one length end."""
    lengths = set(trials["epochs_planned"])
    if len(lengths) > 1:
        raise NotRecomputed(f"cells of different lengths, {sorted(lengths)}")
    return int(lengths.pop())


def cells(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Means with half widths of their t intervals, how many seeds have them, and the independent-pixel baseline."""
    seen = Comparison(path.name)
    decoder = path.stem.partition("-")[2]
    names = [name for name in study.cell_factors if name in table]
    for printed in table.to_dict("records"):
        levels = {name: study.level(name, printed[name]) for name in names}
        trials = study.at({**({"decoder": decoder} if "decoder" in study.cell_factors else {}), **levels})
        wanted = {"n_planned": len(trials), "baseline": study.baseline(trials)}
        wanted["epoch"] = end_of(trials)
        for column in ("test_bound", "nll", "active_units"):
            values = study.by_seed(trials, column).to_numpy()
            found = mean(values, floor_of(column))
            half = (found.interval()[1] - found.value) if len(values) > 1 else float("nan")
            wanted |= {column: found.value, f"{column}_half_width": half, f"{column}_n": len(values)}
        seen.row(str(levels), printed, wanted)
    return seen


@dataclass(frozen=True)
class Simple:
    """A simple effect: two cells that differ in one factor."""

    factor: str
    level: Any
    reference: Any
    both_sampled: bool
    moved: Mapping[str, Any]
    """Factors of the base cell that are not at their usual level, and their level."""
    is_of_k_alone: bool
    """Whether both cells take the KL alike, or the factor is how it is taken."""
    found: Estimate
    planned: int
    epoch: int

    def __str__(self) -> str:
        """Name it as the tables do."""
        return f"{self.factor}{' (both sampled)' if self.both_sampled else ''} {self.level} against {self.reference}"


def closed_form(cell: pd.DataFrame) -> bool:
    """Whether the trials of a cell take the KL in closed form (docs/settings.md)."""
    one = cell.iloc[0]
    is_auto = one["objective.kl"] == "auto" and one["k"] == 1 and one["objective.gradient"] == "standard"
    return bool(is_auto or one["objective.kl"] == "analytic")


def bases(study: Stored, factor: str, here: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The base cells of a factor: the usual one, and those that differ from it in one factor."""
    usual = {name: level for name, level in {**study.base, **here}.items() if name != factor}
    free = [name for name in usual if name not in here]
    return [usual, *({**usual, name: level} for name in free for level in study.factors[name] if level != usual[name])]


def simple_effects(study: Stored, column: str, decoder: str) -> list[Simple]:
    """The simple effects on one column, made once."""
    key = ("simple effects", column, decoder)
    if key not in study.cache:
        study.cache[key] = make_simple_effects(study, column, decoder)
    return study.cache[key]


def make_simple_effects(study: Stored, column: str, decoder: str) -> list[Simple]:
    """Every level of every factor against the first one, at the usual base cell or at the nearest that has two levels.

    Where the two levels of K take the KL differently, a second effect takes the lower one from the cell with a sampled KL.
    """
    here = {"decoder": decoder} if "decoder" in study.cell_factors else {}
    made = []
    for factor in study.cell_factors:
        if factor == "decoder":
            continue
        usual = bases(study, factor, here)[0]
        for base in bases(study, factor, here):
            levels = [level for level in study.factors[factor] if len(study.at({**base, factor: level}))]
            if len(levels) > 1:
                break
        else:
            continue
        moved = {name: level for name, level in base.items() if level != usual[name]}
        for level in levels[1:]:
            one, other = (study.at({**base, factor: side}) for side in (level, levels[0]))
            alike = factor == "objective.kl" or closed_form(one) == closed_form(other)
            pairs = [(other, False)]
            if factor == "k" and not alike and "sampled" in study.factors.get("objective.kl", ()):
                pairs.append((study.at({**base, factor: levels[0], "objective.kl": "sampled"}), True))
            for lower, sampled in pairs:
                if len(lower):
                    x, y = study.by_seed(one, column), study.by_seed(lower, column)
                    floor = floor_of(column)
                    found = paired(x, y, floor) if is_paired(factor) else welch(x.to_numpy(), y.to_numpy(), floor)
                    seeds, epoch = len({*one["seed"], *lower["seed"]}), end_of(pd.concat([one, lower]))
                    made.append(Simple(factor, level, levels[0], sampled, moved, alike or sampled, found, seeds, epoch))
    return made


def simple(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Two levels of one factor with all others at the base cell; Holm over all rows of the table."""
    seen = Comparison(path.name)
    wanted = {str(one): one for one in simple_effects(study, *words_of(path))}
    adjusted = dict(zip(wanted, holm([one.found.p_two_sided() for one in wanted.values()]), strict=True))
    rows = {}
    for row in table.to_dict("records"):
        factor, special = str(row["factor"]), " (both sampled)" * ("(both sampled)" in str(row["title"]))
        level, reference = (study.level(factor, row[side]) for side in ("level", "reference"))
        rows[f"{factor}{special} {level} against {reference}"] = row
    seen.text("rows", "; ".join(rows), "; ".join(wanted))
    for name, row in rows.items():
        if name in wanted:
            one = wanted[name]
            seen.row(name, row, {**expected(one.found, one.planned, one.epoch), "p_holm": adjusted[name]})
            seen.number(
                f"{name}, says that it is not of K alone", "not of K alone" in str(row["remark"]), not one.is_of_k_alone
            )
            seen.text(f"{name}, test", row["kind"], "paired t over seeds" if is_paired(one.factor) else "Welch t")
    return seen


def with_holm(seen: Comparison, found: list[tuple[Mapping[str, Any], dict[str, float]]]) -> Comparison:
    """Compare rows of effects; p is adjusted over all of them."""
    adjusted = holm([wanted["p"] for _, wanted in found])
    for (printed, wanted), p in zip(found, adjusted, strict=True):
        name = f"{printed['factor']} {printed['level']} against {printed['reference']}"
        seen.row(name, printed, {**wanted, "p_holm": p})
    return seen


def pooled(study: Stored, trials: pd.DataFrame, column: str, at: Mapping[str, Any]) -> tuple[pd.Series, int]:
    """One mean per seed over all cells at these levels, of the seeds that have all of them, and how many cells there are."""
    factors = [name for name in study.cell_factors if name != "decoder"]
    for name, level in at.items():
        trials = trials[trials[name] == level]
    cells = [study.by_seed(group, column) for _, group in trials.groupby(factors)]
    return pd.concat(cells, axis=1).dropna().mean(axis=1), len(cells)


def main(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The difference of the means over all cells at either level, with equal weight."""
    seen = Comparison(path.name)
    column, decoder = words_of(path)
    found = []
    for printed in table.to_dict("records"):
        factor = str(printed["factor"])
        test = main_effect(study, column, decoder, factor, printed["level"], printed["reference"])
        seen.text(f"{factor}, test", printed["kind"], "paired t over seeds" if is_paired(factor) else "Welch t")
        found.append((printed, expected(test, *seeds_and_end(study, decoder))))
    wanted = {(f, level) for f in crossed_factors(study, decoder) for level in levels_of(study, decoder, f)[1:]}
    rows = {(str(row["factor"]), study.level(str(row["factor"]), row["level"])) for row in table.to_dict("records")}
    seen.text("rows", sorted(map(str, rows)), str(sorted(map(str, wanted))))
    return with_holm(seen, found)


def main_effect(study: Stored, column: str, decoder: str, factor: str, level: Any, reference: Any) -> Estimate:
    """One level against another, averaged over all crossed cells with equal weight."""
    sides = [
        pooled(study, study.crossed(decoder), column, {factor: study.level(factor, side)}) for side in (level, reference)
    ]
    (one, cells), (other, _) = sides
    floor = floor_of(column) / cells
    return paired(one, other, floor) if is_paired(factor) else welch(one.to_numpy(), other.to_numpy(), floor)


def crossed_factors(study: Stored, decoder: str) -> list[str]:
    """The factors that vary over the crossed cells of a decoder."""
    crossed = study.crossed(decoder)
    return [name for name in study.cell_factors if name != "decoder" and crossed[name].nunique() > 1]


def levels_of(study: Stored, decoder: str, factor: str) -> list[Any]:
    """The levels of a factor among the crossed cells, sorted."""
    present = set(study.crossed(decoder)[factor])
    return [level for level in study.factors[factor] if level in present]


def seeds_and_end(study: Stored, decoder: str) -> tuple[int, int]:
    """How many seeds are planned for the crossed cells, and the epoch at which they end."""
    crossed = study.crossed(decoder)
    return crossed["seed"].nunique(), end_of(crossed)


def interactions(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The difference of two differences, seed by seed; by Welch's test where the seeds of neither factor can be paired."""
    seen = Comparison(path.name)
    column, decoder = words_of(path)
    found = []
    for printed in table.to_dict("records"):
        names = str(printed["factor"]).split(" x ")
        levels = [
            [study.level(name, text) for name, text in zip(names, str(printed[side]).split(" x "), strict=True)]
            for side in ("reference", "level")
        ]
        means, cells = [], 1
        for i, j in CORNERS:
            values, cells = pooled(study, study.crossed(decoder), column, {names[0]: levels[i][0], names[1]: levels[j][1]})
            means.append(values)
        floor = floor_of(column) / cells
        if any(is_paired(name) for name in names):
            contrast = sum(sign * one for sign, one in zip(CORNERS.values(), means, strict=True)).dropna().to_numpy()
            found.append((printed, expected(mean(contrast, 4 * floor), *seeds_and_end(study, decoder))))
        else:
            # Two samples: the seeds' sums over the two means that count positively, and over the two that do not.
            above, below = ((means[one] + means[other]).dropna().to_numpy() for one, other in ((0, 3), (1, 2)))
            found.append((printed, expected(welch(above, below, 2 * floor), *seeds_and_end(study, decoder))))
    names = crossed_factors(study, decoder)
    sizes = {name: len(levels_of(study, decoder, name)) - 1 for name in names}
    seen.number("rows", len(table), sum(sizes[one] * sizes[other] for one, other in combinations(names, 2)))
    return with_holm(seen, found)


def shares(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Sums of squares of the balanced ANOVA as shares of their total (eta^2)."""
    seen = Comparison(path.name)
    column, decoder = words_of(path)
    _, end = seeds_and_end(study, decoder)
    seen.number("epoch", table["epoch"].iloc[0], end)
    factors = crossed_factors(study, decoder)
    rows = []
    for levels, group in study.crossed(decoder).groupby(factors):
        values = study.by_seed(group, column)
        rows += [{**dict(zip(factors, levels, strict=True)), "seed": seed, column: value} for seed, value in values.items()]
    found = anova(pd.DataFrame(rows), factors, column)
    seen.text("terms", "; ".join(table["term"]), "; ".join(name for name in found if name != "total"))
    for printed in table.to_dict("records"):
        df, ss = found[str(printed["term"])]
        seen.row(str(printed["term"]), printed, {"df": df, "share": ss / found["total"][1]})
        seen.row(str(printed["term"]), {"ss": printed["ss"] / found["total"][1]}, {"ss": ss / found["total"][1]})
    return seen


def common(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The intraclass correlation of the seed over the crossed cells."""
    seen = Comparison(path.name)
    decoders = study.factors["decoder"]
    rows = [(decoder, column) for decoder in decoders for column in ("nll", "active_units")]
    seen.text("rows", str([*zip(table["decoder"], table["value"], strict=True)]), str(rows))
    for printed in table.to_dict("records"):
        decoder, column = str(printed["decoder"]), str(printed["value"])
        factors = crossed_factors(study, decoder)
        cells = [study.by_seed(group, column) for _, group in study.crossed(decoder).groupby(factors)]
        whole = pd.concat(cells, axis=1).dropna()
        planned, epoch = seeds_and_end(study, decoder)
        wanted = {"icc": icc(whole.to_numpy()), "n": len(whole), "n_planned": planned, "cells": len(cells), "epoch": epoch}
        seen.row(f"{decoder} {column}", printed, wanted)
    return seen


def late_changes(study: Stored) -> dict[tuple[Any, ...], tuple[int, int, float]]:
    """The last tenth of the epochs of every cell, and by how much the mean test bound changes over it; made once."""
    if "late" in study.cache:
        return study.cache["late"]
    found = study.cache["late"] = {}
    for key, trials in study.trials.groupby(list(study.cell_factors), sort=False):
        last = end_of(trials)
        first = last - max(1, round(last / 10))
        ends = [study.by_seed(trials, "test_bound", epoch) for epoch in (first, last)]
        if first > 0 and len(ends[0]) == len(ends[1]) > 0:
            found[key] = first, last, float(ends[1].mean() - ends[0].mean())
    return found


def late(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """The change of the test bound over the last tenth of the epochs, cell by cell."""
    seen, wanted = Comparison(path.name), late_changes(study)
    seen.number("rows", len(table), len(wanted))
    for printed in table.to_dict("records"):
        key = tuple(study.level(name, printed[name]) for name in study.cell_factors)
        seen.row(str(key), printed, dict(zip(("from", "to", "change"), wanted[key], strict=True)))
    return seen


def cost(study: Stored, path: Path, table: pd.DataFrame) -> Comparison:
    """Trials, rows and seconds of the stream."""
    seen = Comparison(path.name)
    rows = study.epochs.reset_index()
    for printed in table.to_dict("records"):
        mine = rows
        for name in ("decoder", "k", "batch_norm"):
            mine = mine[mine[name] == study.level(name, printed[name])]
        wanted = {"trials": mine["trial_id"].nunique(), "epochs": len(mine), "seconds": mine["seconds"].sum()}
        seen.row(str(printed), printed, {**wanted, "seconds_an_epoch": mine["seconds"].sum() / len(mine)})
    return seen


TABLES: Mapping[str, Callable[[Stored, Path, pd.DataFrame], Comparison]] = {
    "cells": cells,
    "effects": simple,
    "main": main,
    "interaction": interactions,
    "shares": shares,
    "cost": cost,
    "icc": common,
    "late": late,
}
