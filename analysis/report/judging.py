"""Makes the report's section on claims."""

from collections import Counter

import numpy as np
import pandas as pd

from analysis.claims.judge import judge, stored_latent, to_frame
from analysis.loading.study import Study
from analysis.report.section import NONE, Section, Table, interval_text, p_text, text_of


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
            "95% interval": interval_text(one.low, one.high),
            "p (Holm)": p_text(one.p_holm if one.primary else one.p),
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
