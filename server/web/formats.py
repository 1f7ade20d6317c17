"""How numbers are written on the pages: three significant digits, intervals always beside their value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone

from layerprune.api.comparison import DeviceComparison, Duel
from layerprune.api.leaderboard import Accuracy
from layerprune.api.wire import Proportion, Ratio
from layerprune.flags import doubts

FAMILY_NAMES = {
    "base": "base",
    "layer": "layers",
    "filter": "filters",
    "filter_aligned": "aligned filters",
    "hybrid": "hybrid",
    "handcrafted": "handcrafted",
}


def ms(nanoseconds: int | None) -> str:
    """Write a latency in milliseconds without the unit, `–` where the sample is too small for it."""
    if nanoseconds is None:
        return "–"
    value = nanoseconds / 1e6
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def percent(fraction: float, digits: int = 1) -> str:
    """Write a fraction as a percentage, with a real minus sign."""
    return f"{fraction * 100:.{digits}f} %".replace("-", "−")


def points(fraction: float) -> str:
    """Write a difference of accuracies in points, with its sign."""
    return f"{fraction * 100:+.1f}".replace("-", "−")


def interval(accuracy: Accuracy) -> str:
    """Write an accuracy's 95 % interval in per cent."""
    return f"{accuracy.ci_low * 100:.1f}–{accuracy.ci_high * 100:.1f}"


def proportion(value: Proportion) -> str:
    """Write counts with their percentage: `527/540 = 97.6 %`."""
    return f"{value.correct}/{value.n} = {percent(value.correct / value.n)}"


def ratio(value: Ratio | None) -> str:
    """Write a latency ratio with its 95 % interval."""
    if value is None:
        return "1 (base)"
    return f"{value.value:.3f} ({value.ci_low:.3f}–{value.ci_high:.3f})"


def count(number: int) -> str:
    """Write a large count with a metric suffix: 272 474 becomes `272 k`."""
    size = float(number)
    for suffix in ("", " k", " M", " G", " T"):
        if size < 999.5:
            break
        if suffix != " T":
            size /= 1000
    digits = 0 if size >= 99.95 or not suffix else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f}{suffix}"


def size(number: int) -> str:
    """Write a number of bytes in MiB, or in GiB from one on."""
    return f"{number / 2**20:.1f} MiB" if number < 2**30 else f"{number / 2**30:.1f} GiB"


def told_pairs(device: DeviceComparison) -> list[tuple[str, Duel]]:
    """Return the pairs of families of which something can be said, with their target."""
    return [(target.target, duel) for target in device.targets for duel in target.duels if not _is_open(duel)]


def open_pairs(device: DeviceComparison) -> dict[str, list[str]]:
    """Return the sentences of the pairs that could not be compared, by the reason in words."""
    found: dict[str, list[str]] = {}
    for target in device.targets:
        for duel in filter(_is_open, target.duels):
            doubts = f"because of {', '.join(duel.doubts)}" if duel.doubts else ""
            why = doubts or "without plans on both sides of the other's latency"
            found.setdefault(why, []).append(f"{target.target}: {duel.sentence}")
    return found


def _is_open(duel: Duel) -> bool:
    return duel.verdict == "not_comparable" and duel.at_equal_latency is None


def when(microseconds: int | None) -> str:
    """Write a time as UTC, to the minute."""
    if microseconds is None:
        return "–"
    return datetime.fromtimestamp(microseconds / 1e6, tz=timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def iso(microseconds: int) -> str:
    """Write a time for a `datetime` attribute."""
    return datetime.fromtimestamp(microseconds / 1e6, tz=timezone.utc).isoformat(timespec="seconds")


def duration(seconds: float | None) -> str:
    """Write a duration the way people say it: `48 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short(digest: str) -> str:
    """Shorten a digest for the eye; the whole one stands in the tooltip."""
    return digest[:8]


def family(name: str) -> str:
    """Name a family in words."""
    return FAMILY_NAMES.get(name, name)


def file_name(label: str) -> str:
    """Turn a label into the name of a file that every system takes."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", label).strip("-.") or "variant"


def words(name: str) -> str:
    """Write an identifier as words."""
    return name.replace("_", " ")


def fact(value: object, name: str) -> str:
    """Write a fact about a device as found: sizes in GiB, nested facts in a row."""
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key))} {fact(item, str(key))}" for key, item in value.items())
    if isinstance(value, int) and name.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    return str(value)


FILTERS = {
    function.__name__: function
    for function in (
        doubts,
        ms,
        percent,
        points,
        interval,
        proportion,
        ratio,
        count,
        size,
        told_pairs,
        open_pairs,
        when,
        iso,
        duration,
        short,
        family,
        file_name,
        words,
        fact,
    )
}
"""Every function here, as a template filter of the same name, and what of a row's flags is more than a note."""
