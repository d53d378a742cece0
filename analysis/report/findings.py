"""Opens the report with what was found, what is open and what does not follow, in sentences made from its tables."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.averages.average import AverageError
from analysis.averages.crossed import crossed_part
from analysis.averages.late_change import late_change
from analysis.averages.one_factor import usual_base
from analysis.claims.verdict import Verdict
from analysis.effects.factorial import main_effects
from analysis.effects.simple import ALPHA
from analysis.effects.tables import BOTH_SAMPLED, BaseEffects
from analysis.loading.labels import measure_in_words
from analysis.loading.study import Study
from analysis.report.computed import Computed
from analysis.report.section import Section, Table, text_of
from workers.contract.columns import COLUMNS

MOST_EFFECTS = 3
"""The number of effects that are named per measure and decoder."""

FEW_SEEDS = 5
"""With fewer seeds the width of an interval is explained."""

STILL = 0.05
"""Nats per example: a smaller change of the bound over these epochs is not worth a warning."""


def findings_section(computed: Computed) -> Section | None:
    """Name the largest effects with their intervals, the verdicts, what is missing, and what must not be concluded."""
    if not computed.has_ends:
        return None
    study, effects = computed.study, [one for one in computed.effects if len(one.frame)]
    late = late_change(study)
    points = [
        _missing_in_words(study),
        *_still_changing(study, late),
        *(words for decoder, table in computed.cells.items() for words in _without_learning(study, decoder, table)),
        *(words for one in effects for words in _effects_in_words(study, one)),
        *_claims_in_words(computed.verdicts),
        *_cautions(study, effects),
    ]
    data = ", ".join(map(str, dict.fromkeys(study.trials["data.name"])))
    words = (
        f"Data: {data}. These sentences are made from the tables below and are no more certain than they are. An effect "
        f"compares two levels of one factor at the base cell ({study.labels.in_words(usual_base(study))}; the decoder as "
        "named). It is shown if its p, adjusted by Holm's method over its table, is at most "
        f"{ALPHA:g}, also if diverged trials take the worst rank."
    )
    title = "Change of the test bound over the last tenth of the epochs"
    tables = [Table("late-change", title, late, is_folded=True)] if len(late) else []
    return Section("What was found", words, (), tables, points)


def _missing_in_words(study: Study) -> str:
    """Count the trials that no mean contains."""
    total, missing = len(study.trials), study.missing
    if missing.empty:
        return f"Nothing is missing: all {total} planned trials completed."
    counts = ", ".join(f"{count} {status}" for status, count in missing["status"].value_counts(sort=False).items())
    return f"{len(missing)} of {total} planned trials are missing from the means: {counts}. Completeness names them below."


def _effects_in_words(study: Study, effects: BaseEffects) -> Iterable[str]:
    """Name the largest effects of one table that are shown, and those that are not."""
    decoder, value, frame = effects.decoder, effects.value, effects.frame
    better = {"higher": "higher is better", "lower": "lower is better"}.get(COLUMNS[value].better, "")
    about = measure_in_words(value).removesuffix(")") + f"; {better})" if better else measure_in_words(value)
    head = f"On {about}, {study.labels.label_of('decoder', decoder)} decoder"
    if not frame["low"].notna().any():
        if seen := [_difference(study, row) for row in _largest(frame)[:MOST_EFFECTS]]:
            yield f"{head}: with one seed per cell no difference can be told from luck. The largest seen: {'; '.join(seen)}."
        return
    frame = frame[frame["low"].notna()]
    is_shown = (frame["p_holm"] <= ALPHA) & frame["survives"]
    shown, others = _largest(frame[is_shown]), _largest(frame[~is_shown])
    count = min(int(n) for n in frame["n"])
    words = f"{head}, n = {count} seeds per cell: "
    if shown:
        many = f"{len(shown)} effects are" if len(shown) > 1 else "1 effect is"
        which = ", the largest three" if len(shown) > MOST_EFFECTS else ""
        words += f"{many} shown{which}: {'; '.join(_difference(study, row) for row in shown[:MOST_EFFECTS])}."
    else:
        words += "no effect is shown."
    if others:
        names = [_cells(study, row) + (" (only before Holm's adjustment)" if row["p"] <= ALPHA else "") for row in others]
        words += f" Not shown, which does not mean absent: {'; '.join(names)}."
    if averaged := _shown_on_average(study, decoder, value, {str(row["factor"]) for row in shown}):
        words += f" Shown only on average over all crossed cells (main effects): {', '.join(averaged)}."
    yield words


def _shown_on_average(study: Study, decoder: str, value: str, known: Collection[str]) -> list[str]:
    """Name the factors whose main effect is shown, but none of whose simple effects is."""
    try:
        frame = main_effects(study, value, at=crossed_part(study, decoder))
    except AverageError:
        return []
    shown = frame[(frame["p_holm"] <= ALPHA) & frame["survives"] & ~frame["factor"].isin(list(known))]
    return [study.labels.title_of(str(name)) for name in dict.fromkeys(shown["factor"])]


def _largest(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """Return rows in descending order of their effects."""
    order = frame["estimate"].abs().sort_values(ascending=False, kind="stable").index
    return frame.loc[order].to_dict("records")


def _difference(study: Study, row: dict[Any, Any]) -> str:
    """Describe one effect: 'K = 5 instead of K = 1: lower by 1.23 (95% interval 0.9 to 1.56)'."""
    estimate, low, high = float(row["estimate"]), float(row["low"]), float(row["high"])
    sign = 1 if estimate >= 0 else -1
    low, high = sorted((sign * low, sign * high))
    size = f"{'higher' if sign > 0 else 'lower'} by {text_of(abs(estimate), 3)}" if estimate else "no difference"
    interval = f" (95% interval {text_of(low, 3)} to {text_of(high, 3)})" if not np.isnan(low) else ""
    alone = ", not of K alone" if row["factor"] == "k" and row["remark"] else ""
    return f"{_cells(study, row)}: {size}{interval}{alone}"


def _cells(study: Study, row: dict[Any, Any]) -> str:
    """Name the compared cells of one effect: 'K = 5 instead of K = 1 (both sampled)'."""
    words = " instead of ".join(study.labels.in_words({row["factor"]: row[name]}) for name in ("level", "reference"))
    special = BOTH_SAMPLED if row["title"].endswith(BOTH_SAMPLED) else ""
    where = f" at {row['moved']}" if row["moved"] else ""
    return f"{words}{special}{where}"


def _claims_in_words(verdicts: Sequence[Verdict]) -> Iterable[str]:
    """Count the verdicts, name the claims that were decided, and how many seeds would decide the others."""
    judged = [one for one in verdicts if one.verdict != "not testable"]
    if not judged:
        return
    confirmed = [f"{one.claim}{_alone(one)}" for one in judged if one.verdict == "confirmed"]
    refuted = [f"{one.claim}{_alone(one)} ({one.how})" for one in judged if one.verdict == "refuted"]
    undecided = [one for one in judged if one.verdict == "undecided"]
    is_interim = any(one.stage == "interim" for one in judged)
    interim = " All of this is interim, since trials of their cells have not ended." if is_interim else ""
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


def _alone(verdict: Verdict) -> str:
    return " [not adjusted]" if verdict.family.startswith("not adjusted") else ""


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _still_changing(study: Study, late: pd.DataFrame) -> Iterable[str]:
    """Warn where training ended before the bound did, one number per decoder, as decoders are never pooled."""
    if late.empty or not late["change"].abs().max() > STILL:
        return
    decoder = late["decoder"] if "decoder" in late else pd.Series(study.factors["decoder"][0], index=late.index)
    medians = [
        f"{text_of(float(np.median(some)), 2)} ({study.labels.label_of('decoder', name)} decoder)"
        for name in study.factors["decoder"]
        if len(some := late["change"][decoder == name])
    ]
    changes = late["change"].to_numpy(float)
    first, last = late["from"].min(), late["to"].max()
    yield (
        "The bound had not settled when training ended, so effects may change with longer training: from epoch "
        f"{first} to {last} the test bound changed by {' and '.join(medians)} nats per example in the median cell, and by "
        f"{text_of(float(changes[int(np.abs(changes).argmax())]), 2)} in the cell of the largest change."
    )


def _without_learning(study: Study, decoder: str, table: pd.DataFrame) -> Iterable[str]:
    """Name the cells that do not beat independent pixels; a comparison with them is one with models that learned nothing."""
    poor = table[table["verdict"].str.startswith(("below", "open"))]
    if poor.empty:
        return
    names = [name for name in study.cell_factors if name in table.columns]
    cells = [study.labels.in_words({name: row[name] for name in names}) for row in poor.to_dict("records")]
    verb = "is" if len(cells) == 1 else "are"
    more = f"; and {len(cells) - MOST_EFFECTS} more" if len(cells) > MOST_EFFECTS else ""
    yield (
        f"Of {len(table)} {study.labels.label_of('decoder', decoder)} cells, {len(cells)} {verb} not shown to beat "
        "independent pixels, so that a comparison with one is a comparison with models that learned next to nothing: "
        f"{'; '.join(cells[:MOST_EFFECTS])}{more}."
    )


def _cautions(study: Study, effects: Sequence[BaseEffects]) -> Iterable[str]:
    """Name the conclusions that the tables do not allow."""
    if any((one.frame["factor"].eq("k") & one.frame["remark"].ne("")).any() for one in effects):
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
    counts = [int(n) for one in effects for n in one.frame["n"] if n > 1]
    if counts and min(counts) < FEW_SEEDS:
        few = min(counts)
        yield (
            f"Do not take 'not shown' for 'no effect': with {few} seeds an interval reaches up to "
            f"{stdtrit(few - 1, 0.975):.1f} standard errors to each side, so only large effects can be shown."
        )
