"""Makes the report's sections on effects, claims and the latent space."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.averages.average import AverageError
from analysis.averages.one_factor import usual_base
from analysis.claims.judge import judge, stored_latent, to_frame
from analysis.effects.factorial import interactions, main_effects
from analysis.effects.simple import simple_effects
from analysis.effects.variance_shares import variance_shares
from analysis.figures.picture import Picture
from analysis.loading.figure_files import read_figure_file, read_figure_table
from analysis.loading.study import Study
from analysis.report.section import NONE, Section, Table, text_of
from workers.contract.columns import unit_of_column
from workers.store.keys import LATENT_CAPTIONS

MEASURES = ("nll", "active_units")


def effects_section(study: Study) -> Section | None:
    """Tabulate simple effects at the usual base cell, then effects over the whole factorial where it is balanced."""
    if not (study.trials["status"] == "completed").any():
        return None
    tables, refused = [], []
    for decoder in study.factors["decoder"]:
        at = {"decoder": decoder}
        for value in MEASURES:
            name, words = f"{value.replace('_', '-')}-{decoder}", study.labels.label_of("decoder", decoder)
            simple = _simple(study, value, decoder)
            if len(simple):
                title = f"Simple effects on {value} ({unit_of_column(value)}), {words} decoder"
                tables.append(Table(f"effects-{name}", title, simple, _shown(study, simple)))
            secondary: dict[str, Callable[[], pd.DataFrame]] = {
                "main": lambda value=value, at=at: main_effects(study, value, at=at),  # type: ignore[misc]
                "interactions": lambda value=value, at=at: interactions(study, value, at=at),  # type: ignore[misc]
                "shares": lambda value=value, at=at: variance_shares(study, value, at=at),  # type: ignore[misc]
            }
            for kind, make in secondary.items():
                try:
                    frame = make()
                except AverageError as error:
                    refused.append(f"{words} decoder: {error}.")
                    break
                tables.append(_secondary(study, kind, name, f"{value}, {words} decoder", frame))
    words = (
        "The tables show differences between cells, one contrast per seed, with 95% intervals; p values are adjusted by "
        "Holm's method within each table. A simple effect compares levels of one factor at the usual base cell. Main "
        "effects and interactions average over all cells of the factorial with equal weight and are secondary. Whether "
        "seeds are paired depends on the factor alone (docs/statistics.md). Estimates are conditional on convergence."
    )
    if refused:
        words += f"\n\nSome main effects are not shown. {' '.join(dict.fromkeys(refused))}"
    return Section("Effects", words, (), tables) if tables else None


def _simple(study: Study, value: str, decoder: str) -> pd.DataFrame:
    frames = []
    for factor in study.cell_factors:
        if factor == "decoder" or len(study.factors[factor]) < 2:
            continue
        try:
            base = usual_base(study, factor, decoder)
            frames.append(simple_effects(study, value, factor, at=base))
        except AverageError:
            # The study has no such cells at this base cell.
            continue
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _secondary(study: Study, kind: str, name: str, what: str, frame: pd.DataFrame) -> Table:
    if kind == "shares":
        shown = pd.DataFrame(
            {
                "term": frame["term"],
                "degrees of freedom": [text_of(int(df)) for df in frame["df"]],
                "share of the variance": [f"{share:.3f}" for share in frame["share"]],
            }
        )
        note = "Exact shares (eta^2) for the levels of this study; with few seeds they are biased upwards."
        return Table(f"shares-{name}", f"Shares of the variance of {what}", frame, shown, note, is_folded=True)
    title = f"{'Main effects' if kind == 'main' else 'Interactions of two factors'} on {what}"
    return Table(f"{kind}-{name}", title, frame, _shown(study, frame), is_folded=True)


def _shown(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in frame.to_dict("records"):
        notes = [str(row[name]) for name in ("missing", "diverged") if row[name]]
        if not row["survives"]:
            notes.append("not robust: sign or significance changes if diverged trials get the worst rank")
        rows.append(
            {
                "factor": " \u00d7 ".join(study.labels.title_of(one) for one in str(row["factor"]).split(" x ")),
                "level": _level(study, str(row["factor"]), row["level"]),
                "against": _level(study, str(row["factor"]), row["reference"]),
                "effect": text_of(float(row["estimate"]), 3),
                "95% interval": _interval(float(row["low"]), float(row["high"])),
                "p (Holm)": _p(float(row["p_holm"])),
                "n": f"{row['n']} of {row['n_planned']}",
                "remarks": "; ".join(notes),
            }
        )
    return pd.DataFrame(rows)


def _level(study: Study, factor: str, level: object) -> str:
    # The levels of an interaction have been joined before.
    return study.labels.label_of(factor, level) if factor in study.factors else str(level)


def claims_section(study: Study) -> Section | None:
    """Tabulate the paper's claims with their verdicts, and then those that this study cannot test."""
    if not (study.trials["status"] == "completed").any():
        return None
    verdicts = judge(study, latent=stored_latent(study))
    frame = to_frame(verdicts)
    judged = [one for one in verdicts if one.verdict != "not testable"]
    rows = [
        {
            "claim": one.claim,
            "statement": one.text,
            "verdict": f"{one.verdict} ({one.stage})",
            "quantity": one.what,
            "estimate": NONE if np.isnan(one.estimate) else f"{text_of(one.estimate, 3)} {one.unit}".strip(),
            "95% interval": _interval(one.low, one.high),
            "p (Holm)": _p(one.p_holm if one.primary else one.p),
            "n": f"{one.n} of {one.n_planned}",
            "remarks": "; ".join(
                part
                for part in (one.reason, one.missing, one.note, f"outside evidence: {one.expected}" if one.expected else "")
                if part
            ),
        }
        for one in judged
    ]
    others = pd.DataFrame(
        [{"claim": one.claim, "says": one.text, "why not": one.reason} for one in verdicts if one.verdict == "not testable"]
    )
    counts = Counter(one.verdict for one in verdicts)
    words = (
        f"Of {len(verdicts)} claims: {', '.join(f'{count} {word}' for word, count in counts.items())}. Confirmed means that "
        "the interval lies on the side of the claim; refuted, that the effect is shown to fall short of the margin. A claim "
        "of equality needs two one-sided tests with a power of 0.8. p values are adjusted by Holm's method over the primary "
        "claims that could be tested. Interim means that some trials in the claim's cells have not ended."
    )
    tables = []
    if rows:
        tables.append(Table("claims", "Claims that this study can test", frame, pd.DataFrame(rows)))
    if len(others):
        shown = others.rename(columns={"says": "statement"})
        tables.append(Table("claims-untested", "Claims that this study cannot test", others, shown, is_folded=True))
    return Section("Claims of the paper", words, (), tables)


def latent_section(study: Study) -> Section | None:
    """Show the pictures that `python -m analysis.latent` wrote; None if it has not run."""
    captions = read_figure_table(study, LATENT_CAPTIONS, ("name", "title", "caption", "number"), as_text=True)
    if captions is None:
        return None
    pictures = [stored for row in captions.to_dict("records") if (stored := _stored(study, row)) is not None]
    words = "Made from the stored weights by python -m analysis.latent. The code of an image is its posterior mean."
    return Section("Pictures of the latent space", words, pictures) if pictures else None


def _stored(study: Study, row: Mapping[Any, Any]) -> Picture | None:
    files = {kind: raw for kind in ("png", "pdf") if (raw := read_figure_file(study, f"{row['name']}.{kind}")) is not None}
    table = read_figure_table(study, f"{row['name']}.csv")
    if len(files) < 2 or table is None:
        return None
    return Picture(row["name"], row["title"], row["caption"], table, files, is_wide=True, number=row["number"])


def _interval(low: float, high: float) -> str:
    return NONE if np.isnan(low) or np.isnan(high) else f"{text_of(low, 3)} to {text_of(high, 3)}"


def _p(p: float) -> str:
    return NONE if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
