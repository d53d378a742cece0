"""Makes the report's descriptive sections: study, completeness, figures, cells and cost."""

import numpy as np
import pandas as pd

from analysis.averages.cell_table import MEASURES
from analysis.averages.lengths import planned_epochs
from analysis.averages.one_factor import usual_base
from analysis.figures.catalogue import Entry, catalogue
from analysis.loading.study import Study
from analysis.report.completeness import missing_by_cell
from analysis.report.computed import Computed
from analysis.report.section import NONE, Section, Table, text_of

_OPEN_ROWS = 12
"""Tables with more rows start folded."""


def study_section(computed: Computed) -> Section:
    """Describe the design and where the numbers come from."""
    study = computed.study
    cells = len(study.trials[list(study.cell_factors)].drop_duplicates())
    goals = planned_epochs(study.trials)
    length = f"{goals[0]} to {goals[-1]}" if len(goals) > 1 else f"{goals[0]}"
    factors = pd.DataFrame(
        {
            "factor": [study.labels.title_of(name) for name in study.factors],
            "levels": [", ".join(map(str, levels)) for levels in study.factors.values()],
        }
    )
    provenance = pd.DataFrame([(name, ", ".join(values)) for name, values in study.provenance.items()])
    provenance.columns = pd.Index(["what", "value"][: provenance.shape[1]])
    words = (
        f"{len(study.trials)} trials in {cells} cells, planned for {length} epochs. A unit counts as active if its activity "
        f"is above {study.threshold:g}."
    )
    if "true" in study.provenance.get("dirty", ()):
        words += "\n\nSome trials were trained from a working tree with uncommitted changes."
    tables = [Table("factors", "Factors and their levels", factors)]
    if len(provenance):
        note = "Every distinct value recorded in the study's files."
        tables.append(Table("provenance", "Provenance", provenance, words=note, is_folded=len(provenance) > _OPEN_ROWS))
    return Section("Study and provenance", words, (), tables)


def completeness_section(computed: Computed) -> Section:
    """Count the trials by status and list every trial that is missing from means."""
    study = computed.study
    names = [name for name in study.cell_factors if len(study.factors[name]) > 1]
    counts = study.trials.groupby("status", sort=False).size()
    words = f"Of {len(study.trials)} trials: " + ", ".join(f"{count} {status}" for status, count in counts.items()) + "."
    missing = missing_by_cell(study)
    if missing.empty:
        return Section("Completeness", f"{words} Nothing is missing from any mean.")
    words += f" {len(study.missing)} trials are missing from means; every figure and table that lacks one names its seed."
    words += f" Cells differ in: {', '.join(study.labels.title_of(name) for name in names)}." if names else ""
    table = Table("missing", "Trials missing from the means", study.missing, missing, is_folded=len(missing) > _OPEN_ROWS)
    return Section("Completeness", words, (), [table])


def paper_section(computed: Computed) -> Section | None:
    """Show the paper's figures under their numbers."""
    study = computed.study
    entries = [one for one in catalogue(study) if one.of_paper and not one.is_part]
    words = (
        "Each figure varies one factor at a time from a base cell; decoders are never pooled. The usual base cell is "
        f"{study.labels.in_words(usual_base(study))}; each caption states the one it uses."
    )
    return _figures("Figures of the paper", words, study, entries)


def further_section(computed: Computed) -> Section | None:
    """Show the figures that the paper does not have."""
    study = computed.study
    entries = [one for one in catalogue(study) if not one.of_paper and not one.is_part]
    return _figures(
        "Further figures", "These figures are not in the paper. They come from the same stored results.", study, entries
    )


def _figures(title: str, words: str, study: Study, entries: list[Entry]) -> Section | None:
    if study.epochs.empty:
        return None
    pictures = [made for made in (entry.make() for entry in entries) if made is not None]
    return Section(title, words, pictures) if pictures else None


def cells_section(computed: Computed) -> Section:
    """Tabulate the final means of every cell, one table per decoder."""
    study = computed.study
    words = (
        "Each value is a mean over seeds \u00b1 the half-width of its 95% t interval, at the last planned epoch. The "
        "interval is over seeds alone, on the same test images, binarised once (docs/statistics.md). Bound and "
        "nll are in nats per example on the test images; a higher bound and a lower nll are better. The test bound is L_K "
        "at beta 1. As it is a lower bound, a cell whose bound beats the independent-pixel baseline also beats it in "
        "log-likelihood. Open means that the interval contains the baseline. Where seeds agree on a count of units, the "
        "interval is that of rounding to whole units."
    )
    if len(planned_epochs(study.trials)) > 1:
        words += " Cells differ in length: the column epoch names the end of each. Compare only rows of one epoch."
    tables = []
    for decoder, frame in computed.cells.items():
        unknown = " The baseline is unknown until the first trial has ended." if frame["baseline"].isna().all() else ""
        title = f"Every cell of the {study.labels.label_of('decoder', decoder)} decoder"
        tables.append(Table(f"cells-{decoder}", title, frame, _shown(study, frame), unknown.strip()))
    return Section("Cells", words, (), tables)


def _shown(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    names = list(frame.columns[: frame.columns.get_loc(MEASURES[0])])
    differ = len(planned_epochs(study.trials)) > 1
    mark = {"beats": "\u2714 ", "below": "\u2718 ", "open": "? "}
    rows = []
    for row in frame.to_dict("records"):
        verdict = str(row["verdict"])
        levels = {study.labels.title_of(name): study.labels.label_of(name, row[str(name)]) for name in map(str, names)}
        rows.append(
            {
                **levels,
                "test bound": _with_half(row, "test_bound", 2),
                "independent-pixel baseline": NONE
                if np.isnan(row["baseline"])
                else f"{row['baseline']:.2f}".replace("-", "\u2212"),
                "beats it?": mark.get(verdict.split(" ")[0], "") + verdict if verdict else NONE,
                "nll": _with_half(row, "nll", 2),
                "active units": _with_half(row, "active_units", 1),
                "n": f"{row['test_bound_n']} of {row['n_planned']}",
                **({"epoch": str(row["epoch"])} if differ else {}),
                "missing": row["missing"],
            }
        )
    return pd.DataFrame(rows)


def _with_half(row: dict[object, object], value: str, digits: int) -> str:
    mean, half = float(str(row[value])), float(str(row[f"{value}_half_width"]))
    if np.isnan(mean):
        return NONE
    spread = "" if np.isnan(half) else f" \u00b1 {half:.{digits}f}"
    # The row's n is that of the bound: name the n of another measure where it differs.
    own = f" (n = {row[f'{value}_n']})" if row[f"{value}_n"] != row["test_bound_n"] else ""
    return f"{mean:.{digits}f}".replace("-", "\u2212") + spread + own


def cost_section(computed: Computed) -> Section | None:
    """Sum the wall time that each trial was charged for, by what a step costs."""
    study = computed.study
    if study.epochs.empty:
        return None
    rows = study.epochs[["trial_id", "decoder", "k", "batch_norm", "seconds"]]
    groups = rows.groupby(["decoder", "k", "batch_norm"], sort=False)
    frame = groups.agg(trials=("trial_id", "nunique"), epochs=("seconds", "count"), seconds=("seconds", "sum")).reset_index()
    frame["seconds_an_epoch"] = frame["seconds"] / frame["epochs"]
    label_of = study.labels.label_of
    shown = pd.DataFrame(
        {
            **{study.labels.title_of(n): [label_of(n, one) for one in frame[n]] for n in ("decoder", "k", "batch_norm")},
            "trials": [text_of(int(one)) for one in frame["trials"]],
            "epochs stored": [text_of(int(one)) for one in frame["epochs"]],
            "hours": [f"{one / 3600:.2f}" for one in frame["seconds"]],
            "seconds per epoch": [text_of(float(one), 3) for one in frame["seconds_an_epoch"]],
        }
    )
    devices = sorted({str(one) for one in study.trials["device"].dropna()})
    ends = float(study.trials["seconds"].sum())
    words = (
        f"Training and measuring took {rows['seconds'].sum() / 3600:.2f} hours"
        + (f" on {', '.join(devices)}" if devices else "")
        + f"; each trial counts with its share of its pack's wall time. The trials that have ended report {ends / 3600:.2f} "
        "hours in total."
    )
    return Section("Cost", words, (), [Table("cost", "Time by decoder, K and batch normalisation", frame, shown)])
