"""Make a sample PromptPilot database: an SQLite file with a bit of everything that a backup has to keep.

Usage: python3 sample_database.py PATH [--rows N]

The same PATH and N give the same contents every time. An existing file is left as it is.
Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

APPLICATION_ID = 0x50504C54  # "PPLT"
USER_VERSION = 7
DEFAULT_ROWS = 2000
FIRST_DAY = datetime(2025, 1, 6, 8, 0, 0)

SCHEMA = """
CREATE TABLE prompts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    slug        TEXT    NOT NULL UNIQUE,
    title       TEXT    NOT NULL,
    body        TEXT    NOT NULL,
    model       TEXT    NOT NULL DEFAULT 'small',
    temperature REAL    CHECK (temperature BETWEEN 0 AND 2),
    is_archived INTEGER NOT NULL DEFAULT 0 CHECK (is_archived IN (0, 1)),
    created_at  TEXT    NOT NULL,
    updated_at  TEXT    NOT NULL
);
CREATE INDEX prompts_model ON prompts (model, created_at);
CREATE INDEX prompts_active ON prompts (updated_at) WHERE is_archived = 0;
CREATE INDEX prompts_title ON prompts (lower(title));

CREATE TABLE pipelines (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    settings    TEXT    NOT NULL DEFAULT '{}',
    created_at  TEXT    NOT NULL
);

CREATE TABLE pipeline_steps (
    pipeline_id INTEGER NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL CHECK (position > 0),
    prompt_id   INTEGER NOT NULL REFERENCES prompts (id) ON DELETE RESTRICT,
    PRIMARY KEY (pipeline_id, position)
) WITHOUT ROWID;
CREATE INDEX pipeline_steps_prompt ON pipeline_steps (prompt_id);

CREATE TABLE executions (
    id            INTEGER PRIMARY KEY,
    pipeline_id   INTEGER REFERENCES pipelines (id) ON DELETE SET NULL,
    prompt_id     INTEGER NOT NULL REFERENCES prompts (id),
    status        TEXT    NOT NULL CHECK (status IN ('queued', 'running', 'done', 'failed')),
    input         TEXT,
    output        TEXT,
    cost          NUMERIC,
    tokens        INTEGER,
    started_at    TEXT    NOT NULL,
    duration_ms   INTEGER
);
CREATE INDEX executions_started ON executions (started_at);
CREATE INDEX executions_failed ON executions (prompt_id) WHERE status = 'failed';

CREATE TABLE attachments (
    id           INTEGER PRIMARY KEY,
    execution_id INTEGER NOT NULL REFERENCES executions (id) ON DELETE CASCADE,
    file_name    TEXT    NOT NULL,
    media_type   TEXT    NOT NULL,
    sha256       TEXT    NOT NULL,
    content      BLOB    NOT NULL,
    UNIQUE (execution_id, file_name)
);

CREATE TABLE prompt_history (
    prompt_id  INTEGER NOT NULL REFERENCES prompts (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (prompt_id, version)
);

CREATE VIRTUAL TABLE prompts_fts USING fts5 (title, body, content='prompts', content_rowid='id');

CREATE TRIGGER prompts_fts_insert AFTER INSERT ON prompts BEGIN
    INSERT INTO prompts_fts (rowid, title, body) VALUES (new.id, new.title, new.body);
END;
CREATE TRIGGER prompts_fts_delete AFTER DELETE ON prompts BEGIN
    INSERT INTO prompts_fts (prompts_fts, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
END;
CREATE TRIGGER prompts_fts_update AFTER UPDATE ON prompts BEGIN
    INSERT INTO prompts_fts (prompts_fts, rowid, title, body) VALUES ('delete', old.id, old.title, old.body);
    INSERT INTO prompts_fts (rowid, title, body) VALUES (new.id, new.title, new.body);
END;
CREATE TRIGGER prompts_keep_history AFTER UPDATE OF body ON prompts WHEN old.body <> new.body BEGIN
    INSERT INTO prompt_history (prompt_id, version, body)
    SELECT old.id, 1 + count(*), old.body FROM prompt_history WHERE prompt_id = old.id;
END;

CREATE VIEW prompt_usage AS
    SELECT p.id, p.slug, count(e.id) AS runs, sum(e.status = 'failed') AS failures,
        max(e.started_at) AS last_run
    FROM prompts AS p LEFT JOIN executions AS e ON e.prompt_id = p.id
    GROUP BY p.id;
CREATE VIEW failed_executions AS
    SELECT e.*, p.slug FROM executions AS e JOIN prompts AS p ON p.id = e.prompt_id WHERE e.status = 'failed';
"""

WORDS = (
    "summarize translate classify extract rewrite review plan compare explain draft invoice ticket contract "
    "customer release incident report table calendar question answer naïve café Größe 東京 Привет 🚀"
).split()
# Values that break careless quoting.
AWKWARD = (
    'it\'s "quoted"',
    "semi; colon -- comment",
    "two\nlines",
    "tab\tand \\backslash",
    "",
    "NULL",
    "%s {{ x }}",
)


def stamp(minutes: float) -> str:
    """Return the time so many minutes after the first day, in UTC, as text."""
    return (FIRST_DAY + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def sentence(rng: random.Random, words: int) -> str:
    """Return so many random words."""
    return " ".join(rng.choices(WORDS, k=words))


def prompts(rng: random.Random, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the table prompts."""
    for number in range(1, count + 1):
        body = rng.choice(AWKWARD) if number % 17 == 0 else sentence(rng, rng.randint(8, 60))
        temperature = None if number % 11 == 0 else round(rng.random() * 2, 2)
        created = number * 37.0
        yield (
            f"prompt-{number:05d}",
            sentence(rng, 3),
            body,
            rng.choice(("small", "medium", "large")),
            temperature,
            int(number % 9 == 0),
            stamp(created),
            stamp(created + rng.randint(0, 5000)),
        )


def executions(rng: random.Random, count: int, prompt_ids: list[int], pipelines: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the table executions."""
    for number in range(1, count + 1):
        status = rng.choices(("queued", "running", "done", "failed"), (1, 1, 90, 8))[0]
        finished = status in ("done", "failed")
        yield (
            number,
            rng.randint(1, pipelines) if number % 3 else None,
            rng.choice(prompt_ids),
            status,
            json.dumps({"text": sentence(rng, 6), "n": number}, ensure_ascii=False),
            sentence(rng, rng.randint(5, 40)) if finished else None,
            round(rng.random() / 7, 6) if finished else None,
            rng.randint(10, 2**40) if finished else None,
            stamp(number * 13.5),
            rng.randint(50, 90_000) if finished else None,
        )


def attachments(rng: random.Random, count: int, executions_count: int) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the table attachments; some blobs are empty and one is large."""
    for number in range(1, count + 1):
        size = 300_000 if number == 1 else 0 if number % 23 == 0 else rng.randint(1, 4000)
        content = rng.getrandbits(8 * size).to_bytes(size, "big") if size else b""
        yield (
            1 + (number * 7) % executions_count,
            f"file {number}.bin",
            "application/octet-stream",
            hashlib.sha256(content).hexdigest(),
            content,
        )


def fill(connection: sqlite3.Connection, rows: int) -> None:
    """Create the schema and its rows: `rows` executions, and fewer of everything else."""
    rng = random.Random(20250823)
    connection.executescript(SCHEMA)
    connection.execute("PRAGMA foreign_keys = ON")
    prompts_count, pipelines_count = max(rows // 4, 20), max(rows // 100, 5)
    connection.executemany(
        "INSERT INTO prompts (slug, title, body, model, temperature, is_archived, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        prompts(rng, prompts_count),
    )
    # Deleted rows leave gaps, and AUTOINCREMENT remembers the highest id ever used.
    connection.execute("DELETE FROM prompts WHERE id % 50 = 0 OR id = ?", (prompts_count,))
    connection.execute("UPDATE prompts SET body = body || ' (revised)' WHERE id % 20 = 3")
    prompt_ids = [row[0] for row in connection.execute("SELECT id FROM prompts ORDER BY id")]
    connection.executemany(
        "INSERT INTO pipelines (name, settings, created_at) VALUES (?, ?, ?)",
        (
            (
                f"pipeline {number}",
                json.dumps({"retries": number % 4, "tags": [sentence(rng, 1)]}),
                stamp(number * 97.0),
            )
            for number in range(1, pipelines_count + 1)
        ),
    )
    connection.executemany(
        "INSERT INTO pipeline_steps (pipeline_id, position, prompt_id) VALUES (?, ?, ?)",
        (
            (pipeline, position, rng.choice(prompt_ids))
            for pipeline in range(1, pipelines_count + 1)
            for position in range(1, 2 + pipeline % 5)
        ),
    )
    connection.executemany(
        "INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        executions(rng, rows, prompt_ids, pipelines_count),
    )
    connection.executemany(
        "INSERT INTO attachments (execution_id, file_name, media_type, sha256, content) VALUES (?, ?, ?, ?, ?)",
        attachments(rng, max(rows // 10, 10), rows),
    )
    connection.execute(f"PRAGMA user_version = {USER_VERSION}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.commit()


def make(path: Path, rows: int = DEFAULT_ROWS) -> bool:
    """Make the database at `path`; return False, and change nothing, when the file exists already."""
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    # Built beside and renamed: an interrupted run leaves no half-made sample.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        connection = sqlite3.connect(str(unfinished))
        try:
            fill(connection, rows)
        finally:
            connection.close()
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="the file to make; left as it is when it exists")
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="rows of the largest table")
    options = parser.parse_args(arguments)
    if options.rows < 1:
        parser.error("--rows must be at least 1")
    if make(options.path, options.rows):
        print(f"==> made the sample database {options.path} ({options.path.stat().st_size} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
