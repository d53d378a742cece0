"""Writes what a verdict says beside its numbers: how it was refuted, what would decide it, what else to know."""

from collections.abc import Sequence

import numpy as np

from analysis.claims.claim import LONGEST, Claim
from analysis.claims.comparisons import Comparison
from analysis.claims.samples import LATENT, Reading, listed
from analysis.claims.values import VALUES, early_epoch
from analysis.claims.verdict import with_interval
from analysis.effects.seeds_needed import MOST
from analysis.loading.study import Study
from analysis.stats.curves import EARLY
from workers.contract.errors import RecordError
from workers.store.open import open_store
from workers.store.plan_log import read_plan


def how_refuted(test: Comparison, tests: int, level: float) -> str:
    """Return what the telling test of a refuted claim shows, at the level that the smallest of all p had to meet.

    Args:
        test: the test with the smallest p against the claim.
        tests: the number of tests of the claim.
        level: of p against it, times their number.
    """
    return "the opposite is shown" if tests * test.p_opposite <= level else test.how


def decision_text(power: float, seeds: int | None) -> list[str]:
    """Return the power of the equivalence tests of an undecided claim, and the seeds that would decide it."""
    words = [] if np.isnan(power) else [f"power {power:.2f} at no difference"]
    amount = f"more than {MOST:,} seeds per cell are needed to" if seeds is None else f"about {seeds:,} seeds per cell would"
    return [*words, f"{amount} decide it if the effect and the spread are as estimated"]


def note_on(
    claim: Claim,
    readings: Sequence[Reading],
    tests: tuple[Sequence[Comparison], Sequence[Comparison]],
    telling: Comparison,
    added: str,
) -> str:
    """Return what a reader has to know.

    Args:
        claim: the claim.
        readings: those of all its parts.
        tests: those that decide, and those that are only shown.
        telling: the test whose numbers the verdict gives.
        added: a warning about seeds that were added later.
    """
    judged = [one for one in readings if one.part.decides and one.is_testable]
    deciding, others = tests
    words = _lengths(claim, judged)
    if any(one.part.value in ("lost", "half_life", "largest_drop", "kept") for one in judged):
        words.append(f"the early peak is the largest number of active units in epochs {EARLY[0]} to {EARLY[1]}")
    words += [f"{one.name}: {one.also}" for one in deciding if one.also and (len(deciding) < 3 or one is telling)]
    words += [shown(one) for one in others]
    words += [_not_shown(one) for one in readings if not one.is_testable and not one.part.decides]
    if any(VALUES[one.part.value].needs_latent for one in judged):
        words.append(f"the values come from the table written by {LATENT}")
    return "; ".join([*words, *([added] if added else [])])


def _lengths(claim: Claim, judged: Sequence[Reading]) -> list[str]:
    """Tell how the lengths of the study differ from those that the claim's text speaks of."""
    words = []
    warmup, paper = max(one.warmup for one in judged), claim.paper.get("warmup", 0)
    if paper and any(levels.get("warmup") == LONGEST for levels in claim.cells.values()) and warmup not in (0, paper):
        early = f", epoch {early_epoch(paper)} as epoch {early_epoch(warmup)}" if claim.warmup > 1 else ""
        words.append(
            f"the warm-up takes {warmup} epochs here, {paper} in the paper: the paper's epoch {paper} is read as epoch "
            f"{warmup}{early}"
        )
    epochs = claim.paper.get("epochs", 0)
    if epochs and judged[0].goal != epochs:
        words.append(f"training ends at epoch {judged[0].goal}, in the paper at epoch {epochs}")
    return words


def _not_shown(reading: Reading) -> str:
    needs = [f"it needs {listed(reading.lacks)}"] if reading.lacks else []
    return f"not shown: {reading.part.name} ({listed([*needs, *reading.undefined])})"


def shown(test: Comparison) -> str:
    """Render a test that does not decide."""
    found = test.estimate
    also = f", {test.also}" if test.also else ""
    return f"for comparison: {test.name}: {with_interval(found.estimate, found.low, found.high, test.unit)}{also}"


def seeds_added(study: Study) -> str:
    """Return a warning if later entries of the plan added seeds; empty if none did."""
    try:
        footers = read_plan(open_store(study.url)).footers
    except RecordError:
        # The study was loaded without this file, and its report says so.
        return ""
    first = set(footers[0]["factors"].get("seed", ())) if footers else set()
    later = [seed for footer in footers for seed in footer["factors"].get("seed", ()) if seed not in first]
    if not later:
        return ""
    return f"{len(set(later))} seeds were added to the plan later; if a result was the reason, p means nothing"
