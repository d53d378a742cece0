"""Recomputes every number in the sentences of "What was found" in report.md."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tests.independent.claims import Judged, how_refuted, judge
from tests.independent.comparing import Comparison, NotRecomputed
from tests.independent.stored import Stored
from tests.independent.tables import Simple, crossed_factors, late_changes, levels_of, main_effect, simple_effects
from tests.independent.textbook import holm, mean

LEVEL = 0.05
NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
EFFECT = re.compile(
    rf"(.+?)(?: at ([^:]+?))?: (higher|lower) by {NUMBER} \(95% interval {NUMBER} to {NUMBER}\)(, not of K alone)?"
)
TITLES = {"k": "importance samples K", "batch_norm": "batch normalisation", "warmup": "warm-up", "n_z": "latent units n_z"}
MEASURES = {"nll (nats per example; lower is better)": "nll", "active units": "active_units"}
NAMED = 30


def points_of(path: Path) -> list[str]:
    """The sentences of the section, without the marks of Markdown; a minus sign is that of a keyboard."""
    text = re.sub(r"\\(?=[_<>|*`\[\]$&])", "", path.read_text()).replace("\u2212", "-")
    section = text.partition("## What was found\n")[2].partition("\n##")[0]
    return [line[2:] for line in section.splitlines() if line.startswith("- ")]


def in_words(factor: str, level: Any) -> str:
    """A level as sentences name it."""
    if factor == "batch_norm":
        return "batch norm" if level else "no batch norm"
    if factor == "warmup":
        return f"warm-up {level} epochs" if level else "no warm-up"
    return f"{ {'k': 'K'}.get(factor, factor) } = {level}"


def missing(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """How many trials are planned, and that all completed."""
    seen.number("planned trials", words[1], len(study.trials))
    seen.number("completed trials", words[1], int((study.trials["status"] == "completed").sum()))


def some_missing(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """How many trials are planned, and how many of them did not complete, by what became of them."""
    status = study.trials["status"].fillna("unfinished")
    seen.number("planned trials", words[2], len(status))
    seen.number("missing trials", words[1], int((status != "completed").sum()))
    for count, name in re.findall(r"(\d+) (\w+)", words[3]):
        seen.number(f"{name} trials", count, int((status == name).sum()))


def largest(effects: Iterable[Simple]) -> list[Simple]:
    """Effects in descending order of their size."""
    return sorted(effects, key=lambda one: -abs(one.found.value))


def cells_of(one: Simple) -> str:
    """The two cells of an effect as sentences name them."""
    levels = " instead of ".join(in_words(one.factor, level) for level in (one.level, one.reference))
    moved = ", ".join(in_words(factor, level) for factor, level in one.moved.items())
    return levels + " (both sampled)" * one.both_sampled + (f" at {moved}" if moved else "")


def on_average(study: Stored, column: str, decoder: str, known: set[str]) -> list[str]:
    """The factors whose main effect is shown, but no simple effect."""
    tests = []
    for name in crossed_factors(study, decoder):
        first, *others = levels_of(study, decoder, name)
        tests += [(name, main_effect(study, column, decoder, name, level, first)) for level in others]
    adjusted = holm([test.p_two_sided() for _, test in tests])
    found = [name for (name, _), p in zip(tests, adjusted, strict=True) if p <= LEVEL and name not in known]
    return list(dict.fromkeys(found))


def effects(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """The largest effects that are shown, and the factors of which none is."""
    if (study.trials["status"] == "diverged").any():
        raise NotRecomputed("effects with diverged trials at the worst rank")
    column, decoder = MEASURES[words[1]], words[2].lower()
    every = simple_effects(study, column, decoder)
    adjusted = holm([one.found.p_two_sided() for one in every])
    shown = [one for one, p in zip(every, adjusted, strict=True) if p <= LEVEL]
    about = f"{decoder} {column}"
    seen.number(f"{about}, seeds", words[3], min(one.found.n for one in every))
    named = largest(shown)[:3]
    printed = [part for part in re.split(r"; ", words[5] or "") if part]
    many = f"{len(shown)} effect{'s are' if len(shown) > 1 else ' is'} shown{', the largest three' * (len(shown) > 3)}:"
    seen.text(f"{about}, how many", words[4].strip(), many if shown else "no effect is shown")
    seen.number(f"{about}, effects", len(printed), len(named))
    for part, one in zip(printed, named, strict=False):
        effect(seen, study, f"{about}, {part.partition(':')[0]}", part, one)
    others = largest(one for one in every if one not in shown)
    before = " (only before Holm's adjustment)"
    seen.text(
        f"{about}, not shown",
        words[6] or "",
        "; ".join(cells_of(one) + before * (one.found.p_two_sided() <= LEVEL) for one in others),
    )
    averaged = on_average(study, column, decoder, {one.factor for one in shown})
    seen.text(f"{about}, on average", words[7] or "", ", ".join(TITLES.get(name, name) for name in averaged))


def effect(seen: Comparison, study: Stored, name: str, part: str, one: Simple) -> None:
    """One effect: its cells, direction, size and interval, each rounded to three digits."""
    found = EFFECT.fullmatch(part)
    if found is None:
        seen.wrong.append(f"{name}: cannot be read: {part}")
        return
    seen.text(f"{name}, cells", found[1] + (f" at {found[2]}" if found[2] else ""), cells_of(one))
    seen.text(f"{name}, direction", found[3], "higher" if one.found.value > 0 else "lower")
    sizes = sorted(np.sign(one.found.value) * end for end in one.found.interval())
    for what, text, number in zip(("size", "low", "high"), found.groups()[3:6], (abs(one.found.value), *sizes), strict=True):
        seen.text(f"{name}, {what}", text, f"{number:.3g}")
    seen.text(f"{name}, of K alone", found[7] or "", "" if one.is_of_k_alone else ", not of K alone")


def listed(names: Sequence[str]) -> str:
    """A list as sentences give it: at most eight, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more or "none"


def verdicts(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """How many claims there are, and which have which verdict; of a refuted one, how."""
    found = judge(study)
    of = {
        word: [one for one in found if one.verdict == word] for word in ("confirmed", "refuted", "undecided", "not testable")
    }
    seen.number("claims", words[1], len(found))
    seen.number("claims that cannot be tested", words[2], len(of["not testable"]))
    seen.text("confirmed", words[3], listed([one.claim["id"] + unadjusted(one) for one in of["confirmed"]]))
    seen.text("undecided", words[5], listed([one.claim["id"] for one in of["undecided"]]))
    printed = re.sub(r" and \d+ more$", "", words[4])
    marked = re.findall(r"(C\d+)( \[not adjusted\])? \((.*?)\)(?=, C|$)", printed)
    refuted = {name: how for name, _, how in marked}
    seen.text(
        "refuted, adjusted or not", ", ".join(mark for _, mark, _ in marked), ", ".join(map(unadjusted, of["refuted"]))
    )
    seen.text("refuted", ", ".join(refuted), ", ".join(one.claim["id"] for one in of["refuted"][:NAMED]))
    for one in of["refuted"][:NAMED]:
        test = min(one.tests, key=lambda test: test.p_against)
        seen.text(f"{one.claim['id']}, how", refuted.get(one.claim["id"], "")[: len(test.says)], how_refuted(one, test))


def unadjusted(one: Judged) -> str:
    """The mark of a claim that has a p and is no part of Holm's family."""
    has_p = any(test.kind != "always" for test in one.tests)
    return " [not adjusted]" if has_p and not one.claim.get("primary", True) else ""


def seeds(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """The seeds that would decide a claim, fewest first."""
    needed: list[tuple[Judged, int]] = [(one, n) for one in judge(study) if (n := one.seeds()) is not None]
    needed.sort(key=lambda one: one[1])
    seen.text("seeds to decide", words[1], listed([f"{one.claim['id']} about {n:,}" for one, n in needed]))


def reach(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """How many standard errors an interval reaches to each side with so few seeds."""
    decoders = study.factors["decoder"]
    n = min(
        one.found.n
        for decoder in decoders
        for name in ("nll", "active_units")
        for one in simple_effects(study, name, decoder)
    )
    seen.number("seeds", words[1], n)
    seen.text("standard errors", words[2], f"{stats.t.ppf(0.975, n - 1):.1f}")


def convergence(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """The median of every decoder and the largest change of the test bound over the last tenth of the epochs."""
    late = late_changes(study)
    seen.number("from epoch", words[1], min(first for first, _, _ in late.values()))
    seen.number("to epoch", words[2], max(last for _, last, _ in late.values()))
    place = list(study.cell_factors).index("decoder")
    of: dict[str, list[float]] = {}
    for cell, (_, _, change) in late.items():
        of.setdefault(cell[place], []).append(change)
    ordered = [name for name in study.factors["decoder"] if name in of]
    medians = [f"{np.median(of[name]):.2g} ({name.capitalize()} decoder)" for name in ordered]
    seen.text("median changes", words[3], " and ".join(medians))
    seen.text("largest change", words[4], f"{max((change for _, _, change in late.values()), key=abs):.2g}")


def without_learning(seen: Comparison, study: Stored, words: re.Match[str]) -> None:
    """The cells of a decoder whose interval is not wholly above the independent-pixel baseline."""
    of_decoder = study.trials[study.trials["decoder"] == words[2].lower()]
    groups = [trials for _, trials in of_decoder.groupby(list(study.cell_factors), sort=False)]
    found = [mean(study.by_seed(trials, "test_bound").to_numpy(), 0.0) for trials in groups]
    lows = [one.interval()[0] if one.n > 1 else one.value for one in found]
    poor = sum(not low > study.baseline(trials) for low, trials in zip(lows, groups, strict=True))
    seen.number("cells", words[1], len(groups))
    seen.number("cells without learning", words[3], poor)
    seen.number("cells named", words[4].count(";") + 1, min(poor, 4))


SENTENCES: Sequence[tuple[str, Callable[[Comparison, Stored, re.Match[str]], None]]] = (
    (r"Nothing is missing: all (\d+) planned trials completed\.", missing),
    (r"(\d+) of (\d+) planned trials are missing from the means: (.*)\. Completeness names them below\.", some_missing),
    (
        r"On (.+), (\w+) decoder, n = (\d+) seeds per cell: "
        r"(no effect is shown|\d+ effects? (?:is|are) shown(?:, the largest three)?:)"
        r"(?: (.+?\)(?:, not of K alone)?))?\.(?: Not shown, which does not mean absent: (.*?)\.)?"
        r"(?: Shown only on average over all crossed cells \(main effects\): (.*)\.)?",
        effects,
    ),
    (
        r"Of (\d+) claims, (\d+) cannot be tested with this study\. Confirmed: (.*?)\. Refuted: (.*)\. Undecided: (.*?)\."
        r"(?: All of this is interim.*)?",
        verdicts,
    ),
    (r"Seeds per cell that would decide a claim if its effect and spread are as estimated: (.*)\. Plan them .*", seeds),
    (
        r"Do not take 'not shown' for 'no effect': with (\d+) seeds an interval reaches up to ([\d.]+) standard errors .*",
        reach,
    ),
    (
        r"The bound had not settled .* from epoch (\d+) to (\d+) the test bound changed by (.*) nats per example in the median "
        rf"cell, and by {NUMBER} in the cell of the largest change\.",
        convergence,
    ),
    (r"Of (\d+) (\w+) cells, (\d+) (?:is|are) not shown to beat independent pixels, .*: (.*)\.", without_learning),
)
NO_NUMBER = re.compile(r"(?:K = 1|\D)*")
"""A sentence without a number of the study."""


def findings(study: Stored, path: Path) -> Comparison:
    """Every sentence with a number is read and recomputed; one that cannot be read is a difference."""
    seen = Comparison(f"{path.name}, What was found")
    points = points_of(path)
    for point in points:
        for pattern, check in SENTENCES:
            if words := re.fullmatch(pattern, point):
                try:
                    check(seen, study, words)
                except NotRecomputed as why:
                    seen.left.append(f"{point[:40]}...: {why}")
                break
        else:
            if not NO_NUMBER.fullmatch(point):
                seen.wrong.append(f"a sentence that cannot be read: {point}")
    tables = len(study.factors["decoder"]) * len(MEASURES)
    seen.number("sentences on effects", sum(one.startswith("On ") for one in points), tables)
    return seen
