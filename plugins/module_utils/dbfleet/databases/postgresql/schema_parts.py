"""What the queries of a schema's description are made of: names instead of numbers, privileges written out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

USER = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"


def own(catalog: str, alias: str) -> str:
    """Not a member of an extension."""
    return (
        f"NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.{catalog}'::regclass "
        f"AND e.objid = {alias}.oid AND e.deptype = 'e')"
    )


def privileges(entries: str, letter: str, owner: str) -> str:
    """Privileges as sorted text, what is granted by default written out as well.

    Only that the owner may maintain is left out: 17 was the first version to name it.
    """
    return (
        "ARRAY(SELECT coalesce(g.rolname, 'PUBLIC') || '=' || x.privilege_type || "
        "CASE WHEN x.is_grantable THEN '*' ELSE '' END "
        f"FROM aclexplode(coalesce({entries}, acldefault({letter}, {owner}))) x "
        "LEFT JOIN pg_catalog.pg_roles g ON g.oid = x.grantee "
        f"WHERE NOT (x.privilege_type = 'MAINTAIN' AND x.grantee = {owner}) ORDER BY 1)"
    )


def role(column: str) -> str:
    return f"pg_get_userbyid({column})"


def ordered(array: str) -> str:
    return f"(SELECT array_agg(o ORDER BY o) FROM unnest({array}) o)"


@dataclass(frozen=True)
class Part:
    """One kind of object: a query for its lines, and which columns are expressions.

    ``relation`` names the column that holds the table's number where the object belongs to one.
    """

    kind: str
    sql: str
    expressions: tuple[int, ...] = ()
    relation: Optional[str] = None
    since: int = 0
