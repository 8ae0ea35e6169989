"""The benchmark's database: a PromptPilot of any size, the same bytes for the same size.

Usage: database.py PATH GIB [wal|delete]

Prompts are templates filled in, executions carry the prompt they ran and an answer, some have a
binary attachment: text that repeats itself as such applications' text does, numbers, and bytes
that do not compress.
"""

import os
import random
import sqlite3
import sys

SCHEMA = """
CREATE TABLE prompts (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, model TEXT NOT NULL,
    temperature REAL, author INTEGER NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE executions (
    id INTEGER PRIMARY KEY, prompt_id INTEGER NOT NULL REFERENCES prompts (id), input TEXT NOT NULL,
    output TEXT NOT NULL, tokens INTEGER NOT NULL, cost REAL NOT NULL, error TEXT, started_at TEXT NOT NULL);
CREATE TABLE attachments (
    id INTEGER PRIMARY KEY, execution_id INTEGER NOT NULL REFERENCES executions (id), name TEXT, data BLOB NOT NULL);
CREATE INDEX executions_prompt ON executions (prompt_id);
CREATE INDEX executions_started ON executions (started_at);
CREATE INDEX prompts_title ON prompts (title);
CREATE VIEW usage AS SELECT prompt_id, count(*) AS runs, sum(cost) AS cost FROM executions GROUP BY prompt_id;
CREATE TRIGGER prompts_gone AFTER DELETE ON prompts BEGIN DELETE FROM executions WHERE prompt_id = old.id; END;
"""
BATCH = 2000  # prompts a transaction


def words(rng: random.Random) -> list[str]:
    """A vocabulary in which a few words are frequent and most are rare."""
    letters = "etaoinshrdlucmfwygpbvk"
    vocabulary = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _word in range(8000)]
    weights = [1 / (rank + 8) for rank in range(len(vocabulary))]
    return rng.choices(vocabulary, weights=weights, k=400_000)


def sentences(rng: random.Random, pool: list[str], count: int) -> list[str]:
    """``count`` sentences, one in eight with an apostrophe."""
    made = []
    for number in range(count):
        start = rng.randrange(len(pool) - 20)
        text = " ".join(pool[start : start + rng.randint(6, 18)]).capitalize()
        made.append(f"{text}, isn't it? " if number % 8 == 0 else f"{text}. ")
    return made


def fill(path: str, size: int, journal_mode: str) -> None:
    """Create the database at ``path`` and fill it until it has ``size`` bytes."""
    rng = random.Random(20250823)
    pool = words(rng)
    said = sentences(rng, pool, 60_000)
    templates = ["".join(rng.choices(said, k=rng.randint(4, 9))) for _template in range(300)]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA page_size = 4096;" + SCHEMA)
    prompt = execution = 0
    while os.path.getsize(path) < size:
        prompts, executions, attachments = [], [], []
        for _prompt in range(BATCH):
            prompt += 1
            body = rng.choice(templates) + "".join(rng.choices(said, k=3))
            day = f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"
            title = " ".join(rng.choices(pool, k=4))
            prompts.append((prompt, title, body, rng.choice(("large", "small")), 0.7, rng.randrange(200), day))
            for _execution in range(3):
                execution += 1
                answer = "".join(rng.choices(said, k=rng.randint(3, 14)))
                moment = f"{day} {rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}"
                cost = round(rng.random() / 10, 5)
                error = "timeout" if rng.random() < 0.02 else None
                executions.append((execution, prompt, body, answer, rng.randrange(4000), cost, error, moment))
            if prompt % 40 == 0:
                attachments.append((None, execution, f"{title}.png", rng.randbytes(rng.randint(500, 12_000))))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO prompts VALUES (?, ?, ?, ?, ?, ?, ?)", prompts)
        connection.executemany("INSERT INTO executions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", executions)
        connection.executemany("INSERT INTO attachments VALUES (?, ?, ?, ?)", attachments)
        connection.execute("COMMIT")
    connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    connection.close()


if __name__ == "__main__":
    fill(sys.argv[1], int(float(sys.argv[2]) * 2**30), sys.argv[3] if len(sys.argv) > 3 else "wal")
