"""Numbers and times as people read them: durations, ages, sizes. Pure; the browser's `times.js` says the same."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
# Below this a moment is "just now": clocks of browser and server differ by a second or two.
_NOW_SECONDS = 3


def duration(seconds: float | None) -> str:
    """A length of time in at most two units: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`, `1 h`."""
    if seconds is None:
        return ""
    if seconds < 0.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", 1, "02", "s")
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "02", "min")
    return _two(whole, _DAY, "d", _HOUR, "", "h")


def _two(whole: int, large: int, large_unit: str, small: int, width: str, small_unit: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {large_unit}" + (f" {rest:{width}} {small_unit}" if rest else "")


def ago(then: datetime, now: datetime) -> str:
    """How far a moment is away in one unit: `just now`, `12 s ago`, `in 4 min`."""
    seconds = (now - then).total_seconds()
    if abs(seconds) < _NOW_SECONDS:
        return "just now"
    far = _one_unit(abs(seconds))
    return f"{far} ago" if seconds > 0 else f"in {far}"


def _one_unit(seconds: float) -> str:
    for unit, length in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


def exact(moment: datetime) -> str:
    """The moment in UTC to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(moment: datetime) -> str:
    """The time of day in UTC to the millisecond, for lists of what happened."""
    return moment.astimezone(UTC).strftime("%H:%M:%S.%f")[:-3]


def size(count: float | None) -> str:
    """Bytes in decimal units, as disks and network traffic are counted: `500 GB`, `8.1 MB`."""
    return _scaled(count, 1000, _DECIMAL)


def memory(count: float | None) -> str:
    """Bytes in binary units, as memory is counted: `16 GiB`."""
    return _scaled(count, 1024, _BINARY)


def _scaled(count: float | None, step: int, units: tuple[str, ...]) -> str:
    if count is None:
        return ""
    value, place = float(count), 0
    # 999.95 would be shown as 1000.0 of its unit.
    while value >= step - 0.05 and place < len(units) - 1:
        value, place = value / step, place + 1
    text = f"{value:.0f}" if place == 0 or value >= 100 else f"{value:.1f}".removesuffix(".0")
    return f"{text} {units[place]}"


def count(number: int, word: str) -> str:
    """A number with its noun: `1 machine`, `2 machines`, `1,204 jobs`."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")
