"""What people read fits 80 columns, shortens no id, and cannot be forged by a name."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from dbfleet.command import render
from dbfleet.command.help import overview, verb_help
from dbfleet.command.listing import told
from dbfleet.command.style import Style, style_of, table
from dbfleet.command.verbs import VERBS
from dbfleet.model import Artifact, Finding, Manifest, Proof, QueryProof, SourceIdentity, TableProof
from dbfleet.operations.lookup import Listed

PLAIN = Style()
NOW = datetime(2025, 8, 25, 12, 0, 0, tzinfo=timezone.utc)


def manifest(name: str = "promptpilot", **changes: Any) -> Manifest:
    moment = datetime(2025, 8, 23, 10, 30, 0, tzinfo=timezone.utc)
    identity = f"{name}_backup_20250823_103000"
    facts: dict[str, Any] = {
        "id": identity,
        "name": name,
        "engine": "sqlite",
        "method": "logical",
        "type": "incremental",
        "source": SourceIdentity("db1", "promptpilot.db", "3.40.1"),
        "started_at": moment,
        "consistent_at": moment,
        "finished_at": moment + timedelta(seconds=2),
        "artifacts": (Artifact(f"{identity}.sql.zst", "sql", 2048, "0" * 64, 10240, "1" * 64, "zstd"),),
        "proof": Proof("rows", {"prompts": TableProof(2000), "users": TableProof(1)}, None, (QueryProof("q", 1, ""),)),
        "tools": {"dbfleet": "0.1.0", "zstd": "1.5.4"},
        "restore_with": ("zstd -dc a | sqlite3 b",),
    }
    return Manifest(**{**facts, **changes})


def row(backup: Manifest, state: str = "good") -> SimpleNamespace:
    return SimpleNamespace(id=backup.id, outline=backup, state=state, file=None, size_bytes=backup.size_bytes)


def test_a_listing_says_what_matters_in_80_columns() -> None:
    old = "promptpilot_backup_20240101_000000"
    legacy = Listed(old, "foreign", 0, file=f"{old}.sql")
    lines = told([row(manifest()), legacy], "/backups", PLAIN, NOW)
    assert lines == [
        "BACKUP                                  TYPE         STATE       SIZE  AGE",
        "promptpilot_backup_20250823_103000      incremental  good     2.0 KiB  2 d",
        "promptpilot_backup_20240101_000000.sql               foreign      0 B",
        "",
        "2 backups, 2.0 KiB in /backups",
    ]


def test_columns_go_before_an_id_is_shortened() -> None:
    backup = manifest("n" * 70)
    lines = told([row(backup, "unproven")], "/b", PLAIN, NOW)
    assert lines[0].split() == ["BACKUP", "STATE", "SIZE"]
    assert backup.id in lines[1]


def test_an_empty_repository_says_so() -> None:
    assert told([], "/b", PLAIN, NOW) == ["no backups in /b"]


def test_names_cannot_forge_lines_or_colours() -> None:
    forged = "x\nok  \x1b[32mgood"
    for lines in (
        table(("A",), [[forged]], PLAIN),
        render.document({"file": forged, "notes": [forged]}),
        render.show(manifest(notes=(forged,), source=SourceIdentity("h", forged, "1")), "good", "", PLAIN),
        render.verified(
            [SimpleNamespace(ok=False, backup="b", level="restore", findings=(Finding(forged, forged, forged),))],
            PLAIN,
        ),
    ):
        assert not any("\n" in line or "\x1b" in line for line in lines)


def test_show_tells_the_proof_and_the_way_back() -> None:
    text = "\n".join(render.show(manifest(parent="older"), "good", "", PLAIN))
    for part in (
        "rows: 2 tables, 2,001 rows, 1 query",
        "2.0 KiB (raw 10.0 KiB)",
        "zstd -dc a | sqlite3 b",
        "older",
        "dbfleet 0.1.0, zstd 1.5.4",
    ):
        assert part in text


def test_an_unproven_restore_says_so() -> None:
    facts = {
        "backup": "old.sql",
        "to": "sqlite:///a.db",
        "tables": ["a"],
        "rows": 5,
        "proven": False,
        "kept": "/a.db.1",
        "notes": ["unproven: no manifest describes old.sql"],
        "size_bytes": 5,
        "duration_seconds": 0.5,
    }
    text = "\n".join(render.restored(facts))
    assert "unproven: no manifest describes old.sql" in text
    assert "the database that was replaced: /a.db.1" in text
    assert "a, 5 rows" in text
    assert "equal" in "\n".join(render.restored({**facts, "proven": True, "notes": []}))


def test_a_check_shows_every_finding_with_its_remedy() -> None:
    results = [
        SimpleNamespace(ok=True, backup="a", level="checksum", findings=()),
        SimpleNamespace(
            ok=False,
            backup="b",
            level="checksum",
            findings=(Finding("b.sql", "3 bytes are missing", "copy it"),),
        ),
    ]
    assert render.verified(results, PLAIN) == [
        "ok   a  checksum",
        "bad  b  checksum",
        "     b.sql: 3 bytes are missing",
        "       remedy: copy it",
        "",
        "2 backups checked, 1 bad",
    ]


def test_a_dry_run_of_prune_cannot_be_taken_for_a_prune() -> None:
    facts = {
        "kept": [{"id": "c", "reasons": ["daily", "newest good"]}],
        "archived": [],
        "removed": [{"id": "a", "reason": "no rule keeps it"}],
        "swept": ["x.partial"],
    }
    planned = render.pruned(facts, True, PLAIN)
    assert planned[0].split() == ["PLAN", "BACKUP", "WHY"]
    assert planned[1].startswith("remove ")
    assert "nothing is changed; would be: 1 removed, 0 archived, 1 kept" in " ".join(planned)
    done = render.pruned(facts, False, PLAIN)
    assert done[1].startswith("removed ")
    assert done[-1] == "1 removed, 0 archived, 1 kept; 1 leftover of interrupted runs swept"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(stream: io.StringIO, environ: dict[str, str], colour: bool) -> None:
    assert style_of(stream, environ).colour is colour


def test_colours_do_not_shift_columns() -> None:
    plain = told([row(manifest(), "bad")], "/b", PLAIN, NOW)
    coloured = told([row(manifest(), "bad")], "/b", Style(colour=True), NOW)
    assert "\x1b[31mbad\x1b[0m" in coloured[1]
    for code in ("\x1b[31m", "\x1b[1m", "\x1b[0m"):
        coloured = [line.replace(code, "") for line in coloured]
    assert coloured == plain


def test_help_fits_80_columns_and_has_examples_for_every_verb() -> None:
    for text in (overview(), *(verb_help(verb) for verb in VERBS)):
        assert max(map(len, text.splitlines())) <= 80
    for verb in VERBS:
        assert f"  dbfleet {verb.name}" in verb_help(verb)


def test_long_reasons_and_notes_are_wrapped_at_spaces() -> None:
    reasons = [f"keep_daily {number} of 7" for number in range(9)]
    facts = {"kept": [{"id": "promptpilot_backup_20250823_103000", "reasons": reasons}], "archived": [], "removed": []}
    for lines in (render.pruned(facts, False, PLAIN), render.document({"note": ", ".join(reasons)})):
        assert max(map(len, lines)) <= 80
        assert " ".join(" ".join(lines).split()).count("keep_daily") == 9


def test_a_plan_says_nothing_of_what_there_is_not() -> None:
    recovery = {"target": "the end of the log", "timeline": None, "log_files": 1, "log_bytes": 2048}
    text = "\n".join(render.plan({"backup": "app_backup_20260101_000000", "replaces": False, "recovery": recovery}))
    assert "target the end of the log, log files 1, log 2.0 KiB" in text
    assert "timeline" not in text and "replaces  no" in text
