"""Format times and sizes for people to read."""

import time


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in the two largest units that it fills, like `3 min 20 s`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hour, minutes = divmod(round(seconds / 60), 60)
    if hour < 48:
        return f"{hour} h {minutes} min"
    days, hour = divmod(round(seconds / 3600), 24)
    return f"{days} days {hour} h"


def hours(seconds: float) -> str:
    """Return a time in hours, with about two digits."""
    value = seconds / 3600
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def in_bytes(count: float) -> str:
    """Return a size in the largest unit that it fills, from bytes to TB."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def moment(seconds: float) -> str:
    """Return the local date and time of a moment in seconds since 1970; a file can hold one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "an impossible time"
