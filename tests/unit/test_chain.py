"""Promise: a backup is restored with all that it needs or not at all, and no chain goes on from a bad link."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.samples import job, make_manifest, moment

from dbfleet import chain
from dbfleet.errors import DamagedError, NotFoundError
from dbfleet.model import Limits, SourceIdentity


def links(count: int, **changed) -> dict:
    made = {}
    parent = None
    for day in range(count):
        manifest = make_manifest(moment(day), parent=parent, **changed)
        made[manifest.id] = manifest
        parent = manifest.id
    return made


def test_a_chain_begins_with_its_full_backup():
    made = links(4)
    ids = list(made)
    assert [link.id for link in chain.resolve(made, ids[2])] == ids[:3]


def test_a_missing_link_is_named():
    made = links(4)
    ids = list(made)
    del made[ids[1]]
    with pytest.raises(DamagedError, match=ids[1]):
        chain.resolve(made, ids[3])
    with pytest.raises(NotFoundError):
        chain.resolve(made, ids[1])


def test_a_circle_ends():
    made = links(3)
    ids = list(made)
    made[ids[0]] = replace(made[ids[0]], parent=ids[2])
    with pytest.raises(DamagedError, match="circle"):
        chain.resolve(made, ids[1])


IDENTITY = SourceIdentity("host", "/srv/app.db", "3.40.1", "identity")


def decide(made, *, type="auto", identity=IDENTITY, bad=(), state=None, engine="sqlite", limit=30, method="logical"):
    asked = replace(job(), type=type, method=method, limits=Limits(chain_length=limit))
    parent, reason = chain.decide_type(
        asked, made, engine=engine, identity=identity, known_bad=bad, state_missing=state
    )
    return parent and parent.id, reason


def test_the_next_backup_starts_from_the_newest():
    made = links(3)
    assert decide(made)[0] == list(made)[-1]
    assert decide(made, type="incremental")[0] == list(made)[-1]
    assert decide(made, type="full") == (None, "")
    renamed = replace(IDENTITY, host="renamed", server_version="3.50")
    assert decide(made, identity=renamed)[0] == list(made)[-1]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"bad": "last"}, "known to be bad"),
        ({"bad": "first"}, "known to be bad"),
        ({"identity": replace(IDENTITY, server_identity="other")}, "another database"),
        ({"identity": replace(IDENTITY, database="/other.db")}, "another database"),
        ({"identity": replace(IDENTITY, server_identity=None, host="other")}, "another database"),
        ({"engine": "mysql"}, "another database"),
        ({"method": "physical"}, "physical"),
        ({"limit": 3}, "chain_length"),
        ({"state": "the state file is gone"}, "the state file is gone"),
    ],
)
def test_a_full_backup_is_taken_where_the_chain_cannot_go_on(asked, why):
    made = links(3)
    ids = list(made)
    bad = {"last": [ids[-1]], "first": [ids[0]]}.get(asked.pop("bad", ""), [])
    parent, reason = decide(made, bad=bad, **asked)
    assert parent is None
    assert why in reason


def test_a_full_backup_is_taken_when_there_is_none_or_a_link_is_gone():
    assert decide({})[0] is None
    made = links(3)
    del made[list(made)[0]]
    parent, reason = decide(made)
    assert parent is None
    assert "missing" in reason
