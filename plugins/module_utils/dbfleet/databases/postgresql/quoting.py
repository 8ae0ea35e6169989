"""Names and values in SQL, and names as people and proofs spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def quoted(*parts: str) -> str:
    """``parts`` as one SQL identifier, such as ``"public"."items"`` (manual, 4.1.1)."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def literal(value: str) -> str:
    """``value`` as an SQL string, whatever ``standard_conforming_strings`` says (manual, 4.1.2)."""
    escaped = value.replace("'", "''")
    if "\\" in value:
        return " E'" + escaped.replace("\\", "\\\\") + "'"
    return f"'{escaped}'"


def literals(values: Iterable[str]) -> str:
    """``'a', 'b'``."""
    return ", ".join(literal(value) for value in values)


def spelled(*parts: str) -> str:
    """``public.items``; a part that is not plain is quoted. The same on every version, unlike ``quote_ident``."""
    return ".".join(part if _PLAIN.fullmatch(part) else quoted(part) for part in parts)


def split_list(value: str) -> list[str]:
    """The names in the value of a list parameter such as ``search_path``: ``"$user", public``."""
    names: list[str] = []
    for match in re.finditer(r'\s*(?:"((?:[^"]|"")*)"|([^,"\s]+))\s*(?:,|$)', value):
        names.append(match[1].replace('""', '"') if match[1] is not None else match[2])
    return names
