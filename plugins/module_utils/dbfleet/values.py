"""One value of one key: from what people wrote to what the job holds, or a clear refusal.

The kinds are those of ``keys.Key``; sizes become bytes, durations seconds, modes integers.
"""

from __future__ import annotations

from typing import Any, Optional

from .errors import UsageError
from .keys import Key
from .units import parse_duration, parse_free, parse_size

# What a key's kind and minimum cannot say: the smallest and largest value that makes sense.
RANGES: dict[str, tuple[int, Optional[int]]] = {
    "compression.level": (-7, 19),
    "limits.bandwidth": (1, None),
    "limits.nice": (0, 19),
    "limits.timeout": (1, None),
}


def value_of(key: Key, raw: Any, *, called: str) -> Any:
    """What the job holds for ``raw``. ``called`` is how its writer knows the key (``--limits-nice``).

    Raises ``UsageError`` that starts with ``called`` for a value of the wrong type, outside its
    range, or not among the key's choices. Text is accepted for every kind, because options and
    the environment have nothing else.
    """
    try:
        value = _KINDS[key.kind](raw)
    except UsageError as error:
        raise UsageError(f"{called}: {error.message}", error.remedy) from None
    if key.choices and value not in key.choices:
        raise UsageError(f"{called}: {raw!r} is not one of its values", f"choose {' or '.join(key.choices)}")
    low, high = RANGES.get(key.path, (key.minimum, None))
    if isinstance(value, int) and (value < low or (high is not None and value > high)):
        span = f"{low} or more" if high is None else f"{low} to {high}"
        raise UsageError(f"{called}: {raw!r} is out of its range", f"write {span}")
    return value


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise UsageError(f"{raw!r} is not text", "write it in quotes")
    if not raw.strip():
        raise UsageError("it is empty", "give it a value, or leave the key out")
    if "\0" in raw:
        raise UsageError("it holds a zero byte", "names and paths cannot hold one")
    return raw


def _url(raw: Any) -> str:
    if not isinstance(raw, str):  # the value is not shown: a URL may carry a password
        raise UsageError("it is not text", "write the URL in quotes")
    return _text(raw)


def _int(raw: Any) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    written = raw.strip() if isinstance(raw, str) else ""
    digits = written[1:] if written[:1] in ("-", "+") else written
    if not (digits.isascii() and digits.isdigit()):
        raise UsageError(f"{raw!r} is not a whole number", "write digits, such as 7")
    return int(written)


def _number_or_text(raw: Any) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, (int, str)):
        raise UsageError(f"{raw!r} is neither a number nor text", "write it in quotes")
    return raw


def _free(raw: Any) -> str:
    parse_free(_number_or_text(raw))
    return str(raw).strip()


def _mode(raw: Any) -> int:
    remedy = 'write an octal mode in quotes, such as "0600" or "0750"'
    if not isinstance(raw, str) or not raw.strip().isascii() or not raw.strip().isdigit():
        # A number is refused: JSON's 600 and YAML's 0600 are other modes than their writers mean.
        raise UsageError(f"{raw!r} is not a mode", remedy)
    try:
        mode = int(raw.strip(), 8)
    except ValueError:
        raise UsageError(f"{raw!r} is not an octal mode", remedy) from None
    owner, group, other = mode >> 6, mode >> 3 & 7, mode & 7
    if mode > 0o777 or not owner & 4 or group & ~owner or other & ~group:
        raise UsageError(f"{raw!r} gives the owner less than others, or nothing to read", remedy)
    return mode


def _list(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return (_text(raw),)
    if not isinstance(raw, (list, tuple)):
        raise UsageError(f"{raw!r} is not a list", "write a list of texts")
    return tuple(_text(item) for item in raw)


_KINDS = {
    "str": _text,
    "path": _text,
    "url": _url,
    "int": _int,
    "size": lambda raw: parse_size(_number_or_text(raw)),
    "duration": lambda raw: parse_duration(_number_or_text(raw)),
    "free": _free,
    "mode": _mode,
    "list": _list,
}
