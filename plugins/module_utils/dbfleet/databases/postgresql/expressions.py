"""Expressions as the server writes them, reduced to what a dump and a restore do not change.

The server writes an expression from its parsed form, and parses it again after a restore: casts
move, parentheses come and go (``x IN ('a')`` on a ``varchar`` is the usual case). What is left
here has neither, nor qualifiers of columns or white space: two texts with the same rest mean the
same for all that a proof needs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Lexical structure: manual, 4.1. A cast's type may be of several words, with a modifier and array bounds.
_TOKEN = re.compile(
    r"""
    (?P<text>[eEbBxXnN]?'(?:[^']|'')*')
  | (?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
  | (?P<name>"(?:[^"]|"")*"|[^\W\d][\w$]*)
  | (?P<number>\d[\w.]*)
  | (?P<cast>::)
  | (?P<space>\s+)
  | (?P<parenthesis>[()])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TYPE = re.compile(
    r"""
    \s*(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)(?:\.(?:"(?:[^"]|"")*"|[^\W\d][\w$]*))*
    (?:(?<=double)\s+precision|(?<=character)\s+varying|(?<=bit)\s+varying
      |(?<=interval)(?:\s+(?:year|month|day|hour|minute|second|to)\b)+)?
    (?:\s*\(\s*\d[\d,\s]*\))?
    (?:\s+(?:with|without)\s+time\s+zone)?
    (?:\s*\[\d*\])*
    """,
    re.VERBOSE,
)


def reduced(expression: str) -> str:
    """``expression`` without casts, parentheses, qualifiers of columns and white space."""
    return " ".join(_without_qualifiers(list(_tokens(expression))))


def _tokens(expression: str) -> Iterator[str]:
    position = 0
    while position < len(expression):
        match = _TOKEN.match(expression, position)
        if match is None:  # not reached: the last alternative takes any character
            break
        position = match.end()
        if match.lastgroup == "cast":
            kind = _TYPE.match(expression, position)
            position = kind.end() if kind else position
        elif match.lastgroup not in ("space", "parenthesis"):
            yield match[0]


def _without_qualifiers(tokens: list[str]) -> Iterator[str]:
    for place, word in enumerate(tokens):
        following = tokens[place + 1] if place + 1 < len(tokens) else ""
        before = tokens[place - 1] if place else ""
        if following == "." or (word == "." and (before[:1].isalpha() or before[:1] in ('"', "_"))):
            continue
        yield word
