"""An application for tests: it adds a prompt and its run in one transaction, ten times a second."""

import sqlite3
import sys
import time

connection = sqlite3.connect(sys.argv[1], timeout=60)
connection.execute("PRAGMA journal_mode = WAL")
connection.executescript(
    "CREATE TABLE IF NOT EXISTS prompts (id INTEGER PRIMARY KEY, body TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, prompt_id INTEGER REFERENCES prompts (id));"
)
while True:
    with connection:
        added = connection.execute("INSERT INTO prompts (body) VALUES (?)", ["prompt " * 100])
        connection.execute("INSERT INTO runs (prompt_id) VALUES (?)", [added.lastrowid])
    time.sleep(0.1)
