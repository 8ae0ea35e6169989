"""Numbers with units, as people write and read them: sizes, durations, times, names."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from .errors import UsageError

SIZE_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
DURATION_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}

ID_TIME = "%Y%m%d_%H%M%S"


def parse_size(text: str | int) -> int:
    """Bytes of ``50M``, ``1.5G``, ``4096`` (powers of 1024; ``MiB`` and ``MB`` are accepted)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?", str(text).strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"{text!r} is not a size", "write bytes, or a number with K, M, G or T, such as 50M")
    return int(float(match[1]) * SIZE_UNITS[match[2].upper()])


def parse_duration(text: str | int) -> int:
    """Seconds of ``90s``, ``30m``, ``4h``, ``30d``, ``2w``, ``1y``, ``1h30m``; a bare number is seconds."""
    written = str(text).strip().lower()
    if re.fullmatch(r"\d+", written):
        return int(written)
    if not re.fullmatch(r"(\d+[smhdwy])+", written):
        raise UsageError(f"{text!r} is not a duration", "write a number with s, m, h, d, w or y, such as 30d or 1h30m")
    return sum(int(n) * DURATION_UNITS[unit] for n, unit in re.findall(r"(\d+)([smhdwy])", written))


def parse_free(text: str | int) -> tuple[int, float]:
    """``(bytes, share)`` of a ``min_free`` such as ``10%`` → ``(0, 0.1)`` or ``2G`` → ``(2**31, 0.0)``."""
    written = str(text).strip()
    if written.endswith("%"):
        try:
            share = float(written[:-1])
        except ValueError:
            share = -1.0
        if not 0 <= share < 100:
            raise UsageError(f"{text!r} is not a share of the disk", "write 0% to 99%, or a size such as 2G")
        return 0, share / 100
    return parse_size(written), 0.0


def show_size(size: float) -> str:
    """``size`` bytes for people: ``512 B``, ``1.4 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(size) < 1024 or unit == "TiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError("unreachable")


def show_duration(seconds: float) -> str:
    """``seconds`` for people: ``0.4 s``, ``3 min 20 s``, ``2 h 5 min``, ``12 d``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d"


def utc_now() -> datetime:
    """The present in UTC with microseconds."""
    return datetime.now(timezone.utc)


def to_text(moment: datetime) -> str:
    """``2025-08-23T10:30:00Z``, with microseconds where there are any; always UTC."""
    plain = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return plain.isoformat() + "Z"
