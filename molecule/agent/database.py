"""Make a database for tests in WAL mode, or print the digest of what it holds: database.py make|digest PATH."""

import hashlib
import sqlite3
import sys

verb, path = sys.argv[1:]
connection = sqlite3.connect(path)
if verb == "make":
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE prompts (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    connection.executemany("INSERT INTO prompts (body) VALUES (?)", [(f"prompt {n} ä " * 40,) for n in range(1000)])
    connection.commit()
else:
    rows = connection.execute("SELECT * FROM prompts ORDER BY id").fetchall()
    print(len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
