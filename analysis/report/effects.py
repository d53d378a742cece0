"""Makes the report's section on the effects of factors."""

from collections.abc import Callable, Mapping

import pandas as pd

from analysis.averages.average import AverageError, select
from analysis.averages.crossed import crossed_in_words, crossed_part, varied_factors
from analysis.averages.lengths import lengths_in_words, planned_epochs
from analysis.averages.one_factor import usual_base
from analysis.effects.factorial import interactions, main_effects
from analysis.effects.tables import seed_icc
from analysis.effects.variance_shares import variance_shares
from analysis.loading.study import Study
from analysis.report.computed import Computed
from analysis.report.section import NONE, Section, Table, interval_text, p_text, text_of
from workers.contract.columns import unit_of_column

_TITLES = {"main": "Main effects", "interaction-effects": "Interactions of two factors", "shares": "Shares of the variance"}
"""Names of tables and their titles. No name begins as that of a figure does, as both are files of one folder."""

_WORDS = (
    "The tables show differences between cells with 95% intervals. A simple effect compares two levels of one factor at "
    "the usual base cell. Main effects and interactions average over all crossed cells with equal weight and are secondary. "
    "p values are adjusted by Holm's method over the rows of the table that they stand in, and the column names how many. "
    "The column test says whether seeds are paired, which depends on the factor alone (docs/statistics.md). Trials that "
    "diverged have no value. A row of an interaction is a difference of two differences.\n\n"
    "Intervals and p values are over seeds alone: all models are measured on the same test images, binarised once. They "
    "say what other seeds would give, not what other images would (docs/statistics.md)."
)


def effects_section(computed: Computed) -> Section | None:
    """Tabulate simple effects at the usual base cell, then effects over the crossed cells, and the seed's correlation."""
    if not computed.has_ends:
        return None
    study = computed.study
    tables: list[Table] = []
    simple_refused: list[str] = []
    refused: list[str] = []
    for simple in computed.effects:
        value, decoder = simple.value, simple.decoder
        label = study.labels.label_of("decoder", decoder)
        stem = f"{value.replace('_', '-')}-{decoder}"
        simple_refused += [f"{label} decoder: {reason}." for reason in simple.refused]
        if len(simple.frame):
            title = f"Simple effects on {value} ({unit_of_column(value)}), {label} decoder"
            base = f"Base cell: {study.labels.in_words(usual_base(study, decoder=decoder))}. {_family(simple.frame)}"
            tables.append(Table(f"effects-{stem}", title, simple.frame, _shown(study, simple.frame), base))
        made, reason = _secondary(study, value, decoder, stem)
        tables += made
        refused += [f"{label} decoder: {reason}."] if reason else []
    correlation = seed_icc(study)
    if correlation["icc"].notna().any():
        tables.append(_icc_table(study, correlation))
    words = _WORDS
    if len(planned_epochs(study.trials)) > 1:
        words += (
            f"\n\nCells are planned to different lengths: {lengths_in_words(study, study.trials)}. Each row compares its "
            "cells at the last epoch that all of them reach, which the column epoch names; what is measured only at the end "
            "is not compared between lengths."
        )
    for what, reasons in (("simple", simple_refused), ("main", refused)):
        if reasons:
            words += f"\n\nSome {what} effects are not shown. {' '.join(dict.fromkeys(reasons))}"
    return Section("Effects", words, (), tables) if tables or simple_refused else None


def _family(frame: pd.DataFrame) -> str:
    """Say which tests Holm's adjustment is over."""
    rows = int(frame["p"].notna().sum())
    return f"p: Holm over the {rows} rows of this table." if rows > 1 else ""


def _secondary(study: Study, value: str, decoder: str, stem: str) -> tuple[list[Table], str]:
    """Make the tables over the crossed cells of one decoder, or say why there are none."""
    at = crossed_part(study, decoder)
    try:
        factors = varied_factors(study, select(study, at))
        makers: dict[str, Callable[[], pd.DataFrame]] = {"main": lambda: main_effects(study, value, at=at)}
        if len(factors) > 1:
            makers["interaction-effects"] = lambda: interactions(study, value, at=at)
        makers["shares"] = lambda: variance_shares(study, value, at=at)
        frames = {kind: make() for kind, make in makers.items()} if factors else {}
    except AverageError as error:
        return [], str(error)
    where = crossed_in_words(study, at)
    what = f"{value}, {study.labels.label_of('decoder', decoder)} decoder" + (f", {where}" if where else "")
    return [_secondary_table(study, kind, stem, what, where, frame) for kind, frame in frames.items()], ""


def _secondary_table(study: Study, kind: str, stem: str, what: str, where: str, frame: pd.DataFrame) -> Table:
    cells = f"Over the crossed cells {where}: cells that the grid lists one by one are left out. " if where else ""
    marks = _marks(frame)
    notes = " ".join(f"{mark} {text}." for text, mark in marks.items())
    title = f"{_TITLES[kind]} {'of' if kind == 'shares' else 'on'} {what}"
    if kind == "shares":
        shown = {
            "term": [_factors_in_words(study, str(term)) for term in frame["term"]],
            "degrees of freedom": [text_of(int(df)) for df in frame["df"]],
            "share of the variance": [NONE if pd.isna(share) else f"{share:.3f}" for share in frame["share"]],
            **_epochs(study, frame),
            "remarks": [marks.get(str(one), str(one)) for one in frame["remark"]],
        }
        note = f"{cells}Exact shares (eta^2) for the levels of this study; with few seeds they are biased upwards. {notes}"
        return Table(f"shares-{stem}", title, frame, pd.DataFrame(shown), note.strip(), is_folded=True)
    note = f"{cells}{_family(frame)} {notes}"
    return Table(f"{kind}-{stem}", title, frame, _shown(study, frame, marks), note.strip(), is_folded=True)


def _marks(frame: pd.DataFrame) -> dict[str, str]:
    """Return a mark for each remark that stands in several rows, so that it is written out only once, above the table."""
    counts = frame["remark"].value_counts()
    repeated = [str(text) for text in dict.fromkeys(frame["remark"]) if text and counts[text] > 1]
    return {text: "\u2020" * number for number, text in enumerate(repeated, 1)}


def _shown(study: Study, frame: pd.DataFrame, marks: Mapping[str, str] = {}) -> pd.DataFrame:
    tests = int(frame["p"].notna().sum())
    holm = f"p (Holm, {tests} rows)" if tests > 1 else "p"
    epochs = _epochs(study, frame)
    rows: list[dict[str, object]] = []
    for row in frame.to_dict("records"):
        notes = [str(row[name]) for name in ("missing", "diverged") if row[name]]
        if row.get("moved"):
            notes.append(f"at {row['moved']}, as the study has no such cells at {row['usual']}")
        if not row["survives"]:
            notes.append("not robust: sign or significance changes if diverged trials get the worst rank")
        factor = str(row["factor"])
        rows.append(
            {
                "factor": row.get("title") or _factors_in_words(study, factor),
                "level": _level(study, factor, row["level"]),
                "against": _level(study, factor, row["reference"]),
                "effect": text_of(float(row["estimate"]), 3),
                "95% interval": interval_text(float(row["low"]), float(row["high"])),
                holm: p_text(float(row["p_holm"])),
                "test": str(row["kind"]).removesuffix(" over seeds"),
                "n": f"{row['n']} of {row['n_planned']}",
                **{name: entries[len(rows)] for name, entries in epochs.items()},
                "remarks": "; ".join(part for part in (*notes, marks.get(row["remark"], row["remark"])) if part),
            }
        )
    return pd.DataFrame(rows)


def _epochs(study: Study, frame: pd.DataFrame) -> dict[str, list[str]]:
    """Return a column with the epoch of every row, if it matters."""
    if len(planned_epochs(study.trials)) == 1:
        return {}
    return {"epoch": [str(epoch) for epoch in frame["epoch"]]}


def _factors_in_words(study: Study, factors: str) -> str:
    return " \u00d7 ".join(study.labels.title_of(one) for one in factors.split(" x "))


def _level(study: Study, factor: str, level: object) -> str:
    """Label a level; those of an interaction are joined by ' x ', in the order of its factors."""
    if factor in study.factors:
        return study.labels.label_of(factor, level)
    parts = zip(factor.split(" x "), str(level).split(" x "), strict=True)
    found = []
    for name, text in parts:
        of_text = {str(one): one for one in study.factors[name]}
        found.append(study.labels.label_of(name, of_text[text]))
    return " \u00d7 ".join(found)


def _icc_table(study: Study, frame: pd.DataFrame) -> Table:
    shown = pd.DataFrame(
        {
            "decoder": [study.labels.label_of("decoder", decoder) for decoder in frame["decoder"]],
            "measure": frame["value"],
            "ICC of the seed": [NONE if pd.isna(one) else f"{one:.2f}".replace("-", "\u2212") for one in frame["icc"]],
            "cells": [str(count) for count in frame["cells"]],
            "n": [f"{n} of {planned}" for n, planned in zip(frame["n"], frame["n_planned"], strict=True)],
            **_epochs(study, frame),
        }
    )
    words = (
        "The intraclass correlation of the seed over the crossed cells, ICC(C,1), says what pairing by seed gains: the sd "
        "of a paired difference is about the root of 1 \u2212 ICC times that of an unpaired one. Near 0, pairing gains "
        "nothing and costs degrees of freedom."
    )
    return Table("icc", "What seeds have in common", frame, shown, words)
