"""Opens the report with what was found, what is open and what does not follow, in sentences made from its tables."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.averages.average import average
from analysis.claims.judge import judge, stored_latent
from analysis.claims.verdict import Verdict
from analysis.effects.simple import ALPHA
from analysis.effects.tables import effects_tables
from analysis.loading.labels import measure_in_words
from analysis.loading.study import Study
from analysis.report.section import Section, Table, text_of
from workers.contract.columns import COLUMNS

MOST_EFFECTS = 3
"""The number of effects that are named per measure and decoder."""

FEW_SEEDS = 5
"""With fewer seeds the width of an interval is explained."""

LATE_SHARE = 0.1
"""The share of the epochs, at the end of training, over which the change of the bound is reported."""

STILL = 0.05
"""Nats per example: a smaller change of the bound over these epochs is not worth a warning."""

_MOST_NAMED = 8


def findings_section(study: Study) -> Section | None:
    """Name the largest effects with their intervals, the verdicts, what is missing, and what must not be concluded."""
    if not (study.trials["status"] == "completed").any():
        return None
    effects = effects_tables(study)
    verdicts = judge(study, latent=stored_latent(study))
    late = late_change(study)
    points = [
        _missing_in_words(study),
        *(words for one in effects for words in _effects_in_words(study, *one)),
        *_claims_in_words(verdicts),
        *_cautions(study, effects, late),
    ]
    words = (
        "These sentences are made from the tables below and are no more certain than they are. An effect is shown if its p, "
        f"adjusted by Holm's method over its table, is at most {ALPHA:g}, also if diverged trials take the worst rank."
    )
    title = "Change of the test bound over the last tenth of the epochs"
    tables = [Table("late-change", title, late, is_folded=True)] if len(late) else []
    return Section("What was found", words, (), tables, points)


def late_change(study: Study) -> pd.DataFrame:
    """Compute by how much the mean test bound of every cell still changed over the last tenth of its epochs.

    Returns:
        The factors of cells that vary, from and to (epochs), change (nats per example); only cells that have both epochs.
    """
    names = [name for name in study.cell_factors if len(study.factors[name]) > 1]
    curves = average(study, "test_bound", names, epoch="every")
    curves = curves[curves["n"] > 0]
    rows = []
    for _, one in curves.groupby(names, sort=False) if names else [((), curves)]:
        last = int(one["epoch"].max())
        first = last - max(1, round(LATE_SHARE * last))
        ends = one[one["epoch"].isin([first, last])].sort_values("epoch")
        # A change of n is no change of the bound.
        if first > 0 and len(ends) == 2 and ends["n"].nunique() == 1:
            levels = {name: one[name].tolist()[0] for name in names}
            rows.append({**levels, "from": first, "to": last, "change": float(np.diff(ends["mean"].to_numpy(float))[0])})
    return pd.DataFrame(rows, columns=[*names, "from", "to", "change"])


def _missing_in_words(study: Study) -> str:
    """Count the trials that no mean contains."""
    total, missing = len(study.trials), study.missing
    if missing.empty:
        return f"Nothing is missing: all {total} planned trials completed."
    counts = ", ".join(f"{count} {status}" for status, count in missing["status"].value_counts(sort=False).items())
    return f"{len(missing)} of {total} planned trials are missing from the means: {counts}. Completeness names them below."


def _effects_in_words(study: Study, decoder: str, value: str, frame: pd.DataFrame) -> Iterable[str]:
    """Name the largest effects of one table that are shown, and the factors of which none is."""
    better = {"higher": "higher is better", "lower": "lower is better"}.get(COLUMNS[value].better, "")
    about = measure_in_words(value).removesuffix(")") + f"; {better})" if better else measure_in_words(value)
    head = f"On {about}, {study.labels.label_of('decoder', decoder)} decoder"
    if not frame["low"].notna().any():
        if seen := [_difference(study, row) for row in _largest(frame, MOST_EFFECTS)]:
            yield f"{head}: with one seed per cell no difference can be told from luck. The largest seen: {'; '.join(seen)}."
        return
    frame = frame[frame["low"].notna()]
    is_shown = (frame["p_holm"] <= ALPHA) & frame["survives"]
    largest = _largest(frame[is_shown], MOST_EFFECTS)
    count = min(int(n) for n in frame["n"])
    words = f"{head}, n = {count} seeds per cell: "
    if largest:
        many = f"the {_WORDS[len(largest)]} largest effects are" if len(largest) > 1 else "one effect is shown:"
        words += f"{many} {'; '.join(_difference(study, row) for row in largest)}."
    else:
        words += "no effect is shown."
    others = _largest(frame[~frame["factor"].isin(frame["factor"][is_shown])])
    if others:
        names = [
            study.labels.title_of(str(row["factor"])) + (" (only before Holm's adjustment)" if row["p"] <= ALPHA else "")
            for row in others
        ]
        words += f" Not shown, which does not mean absent: {', '.join(names)}."
    yield words


_WORDS = {2: "two", 3: "three"}


def _largest(frame: pd.DataFrame, most: int | None = None) -> list[dict[Any, Any]]:
    """Return one row per factor, that of its largest effect, in descending order.

    Where a factor has rows without a remark, such as K with both KLs sampled, its other rows are left to the table.
    """
    if frame.empty:
        return []
    has_plain = frame["remark"].eq("").groupby(frame["factor"]).transform("any")
    kept = frame[~has_plain | frame["remark"].eq("")]
    order = kept["estimate"].abs().sort_values(ascending=False, kind="stable").index
    ordered = kept.loc[order].drop_duplicates("factor")
    return ordered.head(len(ordered) if most is None else most).to_dict("records")


def _difference(study: Study, row: dict[Any, Any]) -> str:
    """Describe one effect: 'K = 5 instead of K = 1: lower by 1.23 (95% interval 0.9 to 1.56)'."""
    estimate, low, high = float(row["estimate"]), float(row["low"]), float(row["high"])
    sign = 1 if estimate >= 0 else -1
    low, high = sorted((sign * low, sign * high))
    size = f"{'higher' if sign > 0 else 'lower'} by {text_of(abs(estimate), 3)}" if estimate else "no difference"
    interval = f" (95% interval {text_of(low, 3)} to {text_of(high, 3)})" if not np.isnan(low) else ""
    factor, remark = str(row["factor"]), str(row["remark"])
    words = " instead of ".join(study.labels.in_words({factor: row[name]}) for name in ("level", "reference"))
    special = str(row["title"]).removeprefix(study.labels.title_of(factor)).strip()
    # The first words of a remark say where its row is not at the usual base cell.
    where = f" {remark.partition(',')[0]}" if remark.startswith("at ") else ""
    alone = ", not of K alone" if factor == "k" and "alone" in remark else ""
    return f"{words}{f' {special}' if special else ''}{where}: {size}{interval}{alone}"


def _claims_in_words(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """Count the verdicts, name the claims that were decided, and how many seeds would decide the others."""
    judged = [one for one in verdicts if one.verdict != "not testable"]
    if not judged:
        return
    confirmed = [one.claim for one in judged if one.verdict == "confirmed"]
    refuted = [f"{one.claim} ({one.how})" if one.how else one.claim for one in judged if one.verdict == "refuted"]
    undecided = [one for one in judged if one.verdict == "undecided"]
    interim = " All of this is interim, since trials of their cells have not ended." if _are_interim(judged) else ""
    yield (
        f"Of {len(verdicts)} claims, {len(verdicts) - len(judged)} cannot be tested with this study. Confirmed: "
        f"{_list(confirmed)}. Refuted: {_list(refuted)}. Undecided: {_list([one.claim for one in undecided])}.{interim}"
    )
    needed = sorted((one for one in undecided if one.seeds_needed is not None), key=lambda one: one.seeds_needed or 0)
    if needed:
        named = [f"{one.claim} about {one.seeds_needed:,}" for one in needed]
        yield (
            f"Seeds per cell that would decide a claim if its effect and spread are as estimated: {_list(named)}. Plan "
            "them as a new study: seeds that are added because of a result make its p meaningless."
        )


def _are_interim(verdicts: Iterable[Verdict]) -> bool:
    return any(one.stage == "interim" for one in verdicts)


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _cautions(study: Study, effects: Sequence[tuple[str, str, pd.DataFrame]], late: pd.DataFrame) -> Iterable[str]:
    """Name the conclusions that the tables do not allow."""
    if any((frame["factor"].eq("k") & frame["remark"].str.contains("alone")).any() for _, _, frame in effects):
        yield (
            "Do not read an effect of K as that of K alone where K = 1 takes the KL in closed form and a larger K at its "
            "samples: the row with both sampled, where the study has one, compares like with like."
        )
    if sum(len(study.factors[name]) > 1 for name in study.cell_factors if name != "decoder") > 1:
        yield "Do not carry an effect to other cells: it holds at its base cell, and factors can interact."
    if len(study.factors["decoder"]) > 1:
        yield "Do not compare the nats of different decoders: those of a density are not those of a probability."
    yield (
        "Do not expect other images to give these numbers: intervals are over seeds alone, on one fixed set of test images "
        "(docs/statistics.md)."
    )
    counts = [int(n) for _, _, frame in effects for n in frame["n"] if n > 1]
    if counts and min(counts) < FEW_SEEDS:
        few = min(counts)
        yield (
            f"Do not take 'not shown' for 'no effect': with {few} seeds an interval reaches {stdtrit(few - 1, 0.975):.1f} "
            "standard errors to each side, so only large effects can be shown."
        )
    if len(late) and late["change"].abs().max() > STILL:
        changes = late["change"].to_numpy(float)
        worst = float(changes[int(np.abs(changes).argmax())])
        yield (
            "Do not take the end of training for convergence: over the last tenth of the epochs the test bound changed "
            f"by {text_of(float(np.median(changes)), 2)} nats per example in the median cell and by {text_of(worst, 2)} in "
            "the cell of the largest change."
        )
