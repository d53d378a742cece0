"""Measures how often verdicts on claims are wrong, and whether power and intervals are what they are quoted as.

    OMP_NUM_THREADS=1 python -m benchmarks.verdict_rates [--draws 500] [--out FILE]

Draws normal values for the cells of the paper's claims and judges them as a study is judged: samples, comparisons, Holm's
adjustment over the primary claims, decision. It takes some minutes on one core.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from analysis.claims.claim import Claim, Part
from analysis.claims.judge import ALPHA, Case, decide, odds_of
from analysis.claims.notes import how_refuted
from analysis.claims.power import power_at_no_difference, seeds_to_decide
from analysis.claims.reader import paper_claims
from analysis.claims.samples import Reading, Sample
from analysis.stats.estimate import contrast, mean_interval
from benchmarks.table import page, parser, publish

SEEDS = (2, 3, 5, 20)
MEMBERS = 22
"""Size of the family whose level is used for power: the primary claims that a whole study can test without pictures."""
TRUE = 30.0
"""An effect, in units of what counts, that leaves no doubt."""


def main() -> None:
    words = parser(__doc__ or "")
    words.add_argument("--draws", type=int, default=500, help="simulated studies per number")
    given = words.parse_args()
    rates, verdicts, power, coverage = (
        false_confirmations(given.draws),
        verdict_table(4 * given.draws),
        power_table(4 * given.draws),
        coverage_table(20 * given.draws),
    )
    error = 100 * (0.025 * 0.975 / given.draws) ** 0.5
    notes = [
        "False confirmations: the first deciding part of a claim is at its edge (no difference, at the limit, or for an "
        "equality a difference of the margin), and all others are true. The seed sd is one margin, for equalities 0.3.",
        "A claim judged by itself may be wrong in 2.5%, a claim of equality in 5%. The last row takes all claims together: "
        "any primary claim that is confirmed after Holm's adjustment, at most 5%.",
        "C4 is a check of every trial and not simulated. C26 needs ten seeds for any verdict. In C28 all cells are equal.",
        f"{given.draws} simulated studies, so that a rate of 2.5% has a standard error of {error:.1f} points; four times as "
        "many draws in the second and third table, twenty times as many in the last.",
    ]
    text = page(
        "Verdicts",
        "How often is a verdict on a claim wrong? False confirmations in percent, by seeds per cell:",
        ["claim", *(f"{seeds} seeds" for seeds in SEEDS)],
        rates,
        notes,
    )
    for title, header, rows in (verdicts, power, coverage):
        text += f"\n## {title}\n\n" + "\n".join(
            f"| {' | '.join(map(str, row))} |" for row in [header, ["---"] * len(header), *rows]
        )
        text += "\n"
    publish(text, given.out)


# --- simulated cells ----------------------------------------------------------------------------------------------------


def sample(cell: str, values: np.ndarray) -> Sample:
    """Return a cell without missing seeds; values are [seed] or [seed, number]."""
    values = np.asarray(values, float)
    values = values[:, None] if values.ndim == 1 else values
    none = np.zeros(len(values), bool)
    return Sample(cell, tuple(range(len(values))), values, none, planned=len(values), words=("",) * len(values))


def size_of(part: Part) -> float:
    """Return the difference that counts, in the unit of the value."""
    if part.test in ("greater", "less", "equal"):
        return part.margin
    return (part.range[1] - part.range[0]) / 2 if part.test == "within" else 1.0


def draw(rng: np.random.Generator, part: Part, effect: float, sd: float, seeds: int) -> dict[str, Sample]:
    """Draw cells where a part is at the edge of being true (effect 0) or true (above 0); sd is in units of `size_of`."""
    size, sign = size_of(part), 1 if part.test in ("greater", "above") else -1
    shape = (seeds, {"over_epochs": 5, "by_class": 10, "pair": 2}.get(part.value, 1))
    noises = {name: rng.normal(0, sd * size, shape) for name in part.cells}
    match part.test:
        case "greater" | "less":
            noises[part.cells[0]] += sign * (part.by + effect * size)
        case "above" | "below":
            noises = {name: one + part.limit + sign * effect * size for name, one in noises.items()}
        case "within":
            noises = {name: one + part.range[1] - effect * size for name, one in noises.items()}
        case "equal":
            noises[part.cells[0]] += (1 - effect) * size
        case "always":
            noises = {name: np.full(shape, part.limit + size) for name in noises}
        case "uncorrelated":
            # The rank correlation of normal values is a little smaller than their product-moment correlation.
            rho = 2 * np.sin(np.pi / 6 * part.margin) * (effect == 0)
            for one in noises.values():
                one[:, 1] = rho * one[:, 0] + np.sqrt(1 - rho**2) * one[:, 1]
    return {name: sample(name, one) for name, one in noises.items()}


def case_of(claim: Claim, effects: Sequence[float], sd: Mapping[str, float], seeds: int, rng: np.random.Generator) -> Case:
    """Return a claim with simulated samples; `effects` gives one for every part that decides, `sd` one per kind of test."""
    deciding = [part for part in claim.parts if part.decides]
    drawn = [draw(rng, part, effects[place], sd[kind_of(part)], seeds) for place, part in enumerate(deciding)]
    return Case.of(claim, [Reading(part, one) for part, one in zip(deciding, drawn, strict=True)])


def kind_of(part: Part) -> str:
    return "equality" if part.test in ("equal", "within", "uncorrelated") else "difference"


# --- what is measured ---------------------------------------------------------------------------------------------------


def nearly_false(claim: Claim) -> list[float]:
    """Return effects with which the first part of a claim is at the edge of being true, and all others are true."""
    deciding = [part for part in claim.parts if part.decides]
    return [0.0 if place == 0 else 1.0 if kind_of(part) == "equality" else TRUE for place, part in enumerate(deciding)]


def false_confirmations(draws: int, counts: Sequence[int] = SEEDS) -> list[list[str]]:
    """Return a row per claim with the percentage of false confirmations, and one for all primary claims after Holm."""
    claims = [claim for claim in paper_claims() if claim.id != "C4"]
    found: dict[str, list[str]] = {claim.id: [] for claim in claims}
    family = []
    for seeds in counts:
        rng, alone, together = np.random.default_rng([seeds, 1]), Counter[str](), 0
        for _ in range(draws):
            cases = [
                case_of(claim, nearly_false(claim), {"difference": 1.0, "equality": 0.3}, seeds, rng) for claim in claims
            ]
            alone.update(one.claim.id for one in cases if decide(one, one.p, one.p_against)[0] == "confirmed")
            pairs = zip(cases, odds_of(cases), strict=True)
            words = [decide(one, odds.p_for, odds.p_against)[0] for one, odds in pairs if one.claim.primary]
            together += "confirmed" in words
        for name, row in found.items():
            row.append(f"{100 * alone[name] / draws:.1f}")
        family.append(f"{100 * together / draws:.1f}")
    kinds = {claim.id: kind_of(next(part for part in claim.parts if part.decides)) for claim in claims}
    rows = [[f"{name} ({kinds[name]})", *row] for name, row in found.items()]
    return [*rows, ["any primary claim, after Holm", *family]]


def verdict_table(draws: int, counts: Sequence[int] = (5, 20)) -> tuple[str, list[str], list[list[str]]]:
    """Return the shares of verdicts on a difference and on an equality at several true effects."""
    claims = {claim.id: claim for claim in paper_claims()}
    rows = []
    for name, words in (("C5", "difference, paired"), ("C3", "difference, Welch"), ("C7", "equality, paired")):
        (part, *_) = (one for one in claims[name].parts if one.decides)
        for seeds in counts:
            for effect in (0.0, 0.5, 1.0, 2.0):
                rng, found = np.random.default_rng([seeds, round(10 * effect), 2]), Counter[str]()
                # draw counts the effect on an equality from its margin inwards.
                drawn = 1 - effect if kind_of(part) == "equality" else effect
                for _ in range(draws):
                    case = case_of(claims[name], [drawn], {"difference": 0.4, "equality": 0.4}, seeds, rng)
                    word = decide(case, case.p, case.p_against)[0]
                    if word == "refuted":
                        how = how_refuted(case.tests[0], len(case.tests), ALPHA)
                        word = "opposite" if "opposite" in how else "beyond"
                    found[word] += 1
                shares = [f"{100 * found[word] / draws:.1f}" for word in ("confirmed", "opposite", "beyond", "undecided")]
                rows.append([f"{name} ({words})", str(seeds), f"{effect:g}", *shares])
    title = "Verdicts in percent by the true difference in margins (judged alone, seed sd 0.4 margins)"
    head = ["claim", "seeds", "true difference", "confirmed", "refuted: the opposite"]
    return title, [*head, "refuted: too small, or unequal", "undecided"], rows


def power_table(draws: int) -> tuple[str, list[str], list[list[str]]]:
    """Compare the quoted power of equivalence tests, and the seeds needed, with the rates in simulations."""
    claims = {claim.id: claim for claim in paper_claims()}
    rows = []
    for level in (ALPHA, ALPHA / MEMBERS):
        for seeds, sd in ((5, 0.33), (10, 0.5), (20, 0.7)):
            rng = np.random.default_rng([seeds, 3])
            exact = sample_case(claims["C7"], 0.0, sd, seeds)
            cases = [case_of(claims["C7"], [1.0], {"equality": sd}, seeds, rng) for _ in range(draws)]
            seen = float(np.mean([case.p <= level for case in cases]))
            quoted = power_at_no_difference(exact.tests, level)
            rows.append([f"C7, {seeds} seeds, sd {sd:g} margins", f"{level:.4f}", f"{quoted:.3f}", f"{seen:.3f}"])
    for name, effect, sd in (("C5", 1.5, 0.6), ("C5", 0.4, 0.6), ("C3", 1.5, 0.6), ("C7", 0.4, 0.5), ("C7", 2.0, 0.8)):
        claim, level = claims[name], ALPHA / MEMBERS
        seeds = seeds_to_decide(sample_case(claim, effect, sd, 6).tests, level, level)
        if seeds is None:
            raise ValueError(f"{name} at {effect} margins needs more seeds than are considered")
        rng = np.random.default_rng([seeds, 4])
        drawn, kind = (1 - effect, "equality") if name == "C7" else (effect, "difference")
        cases = [case_of(claim, [drawn], {kind: sd}, seeds, rng) for _ in range(draws)]
        # The level of one member of the family, whose adjusted p is its own p times the number of members.
        words = [decide(case, MEMBERS * case.p, MEMBERS * case.p_against)[0] for case in cases]
        rows.append(
            [
                f"{name}, {effect:g} margins, sd {sd:g}: {seeds} seeds are said to decide",
                f"{level:.4f}",
                "0.800 or more",
                f"{1 - words.count('undecided') / draws:.3f}",
            ]
        )
    return "Power as quoted and as seen", ["case", "level", "quoted", "seen"], rows


def sample_case(claim: Claim, effect: float, sd: float, seeds: int) -> Case:
    """Return a claim of two cells whose difference has exactly a mean (in margins) and the sd of independent cells."""
    (part, *_) = (one for one in claim.parts if one.decides)
    base = np.arange(seeds) - (seeds - 1) / 2
    other = base**2 - np.mean(base**2)
    sign = -1 if part.test == "less" else 1
    # Two uncorrelated patterns of variance sd^2, so that the paired difference has that of independent cells.
    first, second = (sd * part.margin * one / one.std(ddof=1) for one in (base, other))
    samples = {part.cells[0]: first + sign * effect * part.margin, part.cells[1]: second}
    return Case.of(claim, [Reading(part, {name: sample(name, one) for name, one in samples.items()})])


def coverage_table(draws: int, counts: Sequence[int] = SEEDS) -> tuple[str, list[str], list[list[str]]]:
    """Return how many of the 95% intervals contain the true value, in percent; outside 93 to 97 in bold."""
    rows = []
    for words, paired, sds in (
        ("mean", None, (1,)),
        ("paired", True, (1, 1)),
        ("Welch", False, (1, 1)),
        ("Welch", False, (1, 3)),
    ):
        row = [f"{words}, sd {' and '.join(map(str, sds))}"]
        for seeds in counts:
            rng = np.random.default_rng([seeds, 5])
            held = 0
            for _ in range(draws):
                cells = [rng.normal(0, sd, seeds) for sd in sds]
                found = mean_interval(cells[0]) if paired is None else contrast(*cells, paired=paired)
                held += found.low <= 0 <= found.high
            percent = 100 * held / draws
            row.append(f"{percent:.1f}" if 93 <= percent <= 97 else f"**{percent:.1f}**")
        rows.append(row)
    return "Coverage of the 95% intervals in percent", ["interval", *(f"{seeds} seeds" for seeds in counts)], rows


if __name__ == "__main__":
    main()
