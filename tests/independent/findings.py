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
from tests.independent.tables import Simple, late_changes, simple_effects
from tests.independent.textbook import holm

LEVEL = 0.05
NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
EFFECT = re.compile(
    rf"(.+?)(?: at ([^:]+?))?: (higher|lower) by {NUMBER} \(95% interval {NUMBER} to {NUMBER}\)(, not of K alone)?"
)
TITLES = {"k": "importance samples K", "batch_norm": "batch normalisation", "warmup": "warm-up", "n_z": "latent units n_z"}
COUNTS = {1: "one effect is shown:", 2: "the two largest effects are", 3: "the three largest effects are"}
MEASURES = {"nll (nats per example; lower is better)": "nll", "active units": "active_units"}
NAMED = 8


def points_of(path: Path) -> list[str]:
    """The sentences of the section, without the marks of Markdown; a minus sign is that of a keyboard."""
    text = re.sub(r"\\(?=[_<>|*`])", "", path.read_text()).replace("\u2212", "-")
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
    """The largest effect of every factor in descending order; rows that are of one factor alone at the usual base cell first."""
    best: dict[str, Simple] = {}
    for one in effects:
        rank = (one.is_of_k_alone and not one.moved, abs(one.found.value))
        other = best.get(one.factor)
        if other is None or rank > (other.is_of_k_alone and not other.moved, abs(other.found.value)):
            best[one.factor] = one
    return sorted(best.values(), key=lambda one: -abs(one.found.value))


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
    seen.text(f"{about}, how many", words[4].strip(), COUNTS.get(len(named), "no effect is shown"))
    seen.number(f"{about}, effects", len(printed), len(named))
    for part, one in zip(printed, named, strict=False):
        effect(seen, study, f"{about}, {part.partition(':')[0]}", part, one)
    others = largest(one for one in every if one.factor not in {other.factor for other in shown})
    before = " (only before Holm's adjustment)"
    names = [TITLES.get(one.factor, one.factor) + before * (one.found.p_two_sided() <= LEVEL) for one in others]
    seen.text(f"{about}, not shown", words[6] or "", ", ".join(names))


def effect(seen: Comparison, study: Stored, name: str, part: str, one: Simple) -> None:
    """One effect: its cells, direction, size and interval, each rounded to three digits."""
    found = EFFECT.fullmatch(part)
    if found is None:
        seen.wrong.append(f"{name}: cannot be read: {part}")
        return
    levels = " instead of ".join(in_words(one.factor, level) for level in (one.level, one.reference))
    seen.text(f"{name}, levels", found[1], levels + " (both sampled)" * one.both_sampled)
    seen.text(f"{name}, where", found[2] or "", ", ".join(in_words(factor, level) for factor, level in one.moved.items()))
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
    seen.text("confirmed", words[3], listed([one.claim["id"] for one in of["confirmed"]]))
    seen.text("undecided", words[5], listed([one.claim["id"] for one in of["undecided"]]))
    printed = re.sub(r" and \d+ more$", "", words[4])
    refuted = dict(re.findall(r"(C\d+) \((.*?)\)(?=, C|$)", printed))
    seen.text("refuted", ", ".join(refuted), ", ".join(one.claim["id"] for one in of["refuted"][:NAMED]))
    for one in of["refuted"][:NAMED]:
        test = min(one.tests, key=lambda test: test.p_against)
        seen.text(f"{one.claim['id']}, how", refuted.get(one.claim["id"], "")[: len(test.says)], how_refuted(one, test))


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
    """The median and the largest change of the test bound over the last tenth of the epochs."""
    changes = [change for _, _, change in late_changes(study).values()]
    seen.text("median change", words[1], f"{np.median(changes):.2g}")
    seen.text("largest change", words[2], f"{max(changes, key=abs):.2g}")


SENTENCES: Sequence[tuple[str, Callable[[Comparison, Stored, re.Match[str]], None]]] = (
    (r"Nothing is missing: all (\d+) planned trials completed\.", missing),
    (r"(\d+) of (\d+) planned trials are missing from the means: (.*)\. Completeness names them below\.", some_missing),
    (
        r"On (.+), (\w+) decoder, n = (\d+) seeds per cell: (no effect is shown|the \w+ largest effects are|one effect is shown:)"
        r"(?: (.+?\)(?:, not of K alone)?))?\.(?: Not shown, which does not mean absent: (.*)\.)?",
        effects,
    ),
    (
        r"Of (\d+) claims, (\d+) cannot be tested with this study\. Confirmed: (.*?)\. Refuted: (.*)\. Undecided: (.*?)\."
        r"(?: All of this is interim.*)?",
        verdicts,
    ),
    (r"Seeds per cell that would decide a claim if its effect and spread are as estimated: (.*)\. Plan them .*", seeds),
    (r"Do not take 'not shown' for 'no effect': with (\d+) seeds an interval reaches ([\d.]+) standard errors .*", reach),
    (
        rf"Do not take the end of training for convergence: .* the test bound changed by {NUMBER} nats per example in the median "
        rf"cell and by {NUMBER} in the cell of the largest change\.",
        convergence,
    ),
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
