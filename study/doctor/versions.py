"""Check whether the installed packages lie in the ranges that this project's metadata allow."""

import re
from importlib.metadata import PackageNotFoundError, requires, version

from workers.contract.version import PACKAGE

_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)(;.*)?$")

_BOUND = re.compile(r"^(>=|<|==|<=|>|!=)\s*([0-9][0-9.]*)")


def version_problems() -> list[str] | None:
    """Return one sentence per package that is missing or out of range; None if this project itself is not installed."""
    try:
        wanted = requires(PACKAGE) or []
    except PackageNotFoundError:
        return None
    found = []
    for requirement in wanted:
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in (match[3] or ""):
            continue
        name, allowed = match[1], match[2].strip()
        try:
            there = version(name)
        except PackageNotFoundError:
            found.append(f"{name}: not installed; allowed: {allowed}")
            continue
        if not is_within(there, allowed):
            found.append(f"{name}: got {there}; allowed: {allowed}")
    return found


def is_within(there: str, allowed: str) -> bool:
    """Return whether a version lies in a range like `>=2.11,<3`; anything after the numbers (rc1, +cpu) is ignored."""
    have = _numbers(there)
    for part in filter(None, (part.strip() for part in allowed.split(","))):
        bound = _BOUND.match(part)
        if bound is None:
            continue
        want = _numbers(bound[2])
        size = max(len(have), len(want))
        a, b = (numbers + (0,) * (size - len(numbers)) for numbers in (have, want))
        holds = {">=": a >= b, "<": a < b, "==": a == b, "<=": a <= b, ">": a > b, "!=": a != b}[bound[1]]
        if not holds:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
