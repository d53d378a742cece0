"""Makes the report's section on claims: the verdicts, and the claims that the study cannot test."""

from collections import Counter

import numpy as np
import pandas as pd

from analysis.claims.verdict import Verdict, to_frame
from analysis.report.computed import Computed
from analysis.report.section import NONE, Section, Table, interval_text, p_text, text_of


def claims_section(computed: Computed) -> Section | None:
    """Tabulate the paper's claims with their verdicts, and then those that this study cannot test."""
    if not computed.has_ends:
        return None
    verdicts = computed.verdicts
    rows = [_row(one) for one in verdicts if one.verdict != "not testable"]
    others = pd.DataFrame(
        [{"claim": one.claim, "says": one.text, "why not": one.reason} for one in verdicts if one.verdict == "not testable"]
    )
    counts = Counter(one.verdict for one in verdicts)
    words = (
        f"Of {len(verdicts)} claims: {', '.join(f'{count} {word}' for word, count in counts.items())}. A claim about a "
        "difference is confirmed if the difference is shown and the estimate is at least the margin; it is refuted if the "
        "difference is shown to be smaller than the margin or to have the opposite sign. A claim of equality needs two "
        "one-sided tests. Each row has one p, that of the test whose estimate is shown, with its side and how it is "
        "adjusted: by Holm's method over the primary claims that could be tested. The CSV file has all p values. Interim "
        "means that some trials in the claim's cells have not ended."
    )
    tables = []
    if rows:
        tables.append(Table("claims", "Claims that this study can test", to_frame(verdicts), pd.DataFrame(rows)))
    if len(others):
        shown = others.rename(columns={"says": "statement"})
        tables.append(Table("claims-untested", "Claims that this study cannot test", others, shown, is_folded=True))
    return Section("Claims of the paper", words, (), tables)


def _row(one: Verdict) -> dict[str, str]:
    outside = f"outside evidence: {one.expected}" if one.expected else ""
    return {
        "claim": one.claim,
        "statement": one.text,
        "verdict": f"{one.verdict} ({one.stage})",
        "quantity": one.what,
        "estimate": NONE if np.isnan(one.estimate) else f"{text_of(one.estimate, 3)} {one.unit}".strip(),
        "95% interval": interval_text(one.low, one.high),
        "margin or limit": NONE if np.isnan(one.margin) else text_of(one.margin, 3),
        "p": p_text(one.p),
        "which p": f"{one.side}, {_short(one.family)}" if one.side else NONE,
        "n": f"{one.n} of {one.n_planned}",
        "remarks": "; ".join(part for part in (one.how, one.reason, one.missing, one.note, outside) if part),
    }


def _short(family: str) -> str:
    """Return a family without the words that its table has in common."""
    return family.partition(" primary")[0].partition(":")[0]
