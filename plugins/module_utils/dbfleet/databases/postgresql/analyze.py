"""Statistics of a database that was built: the planner needs them, and a dump does not carry them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from .address import Address
from .connection import connect
from .quoting import quoted

# A partitioned table brings its partitions (manual, ANALYZE). Catalogs that databases share are not this one's.
TABLES = """
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND NOT c.relisshared AND n.nspname <> 'pg_toast'
ORDER BY c.relkind = 'p' DESC, pg_catalog.pg_relation_size(c.oid) DESC
"""


def analyze(address: Address, jobs: int) -> None:
    """``ANALYZE`` of every table of the database at ``address``, the largest first, ``jobs`` at a time.

    Raises ``SourceError`` as a connection does.
    """
    with connect(address) as connection:
        waiting = deque(connection.rows(TABLES))

    def work() -> None:
        with connect(address) as connection:
            while True:
                try:
                    schema, name = waiting.popleft()
                except IndexError:  # none is left
                    return
                connection.run(f"ANALYZE {quoted(schema)}.{quoted(name)}")

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        for worker in [pool.submit(work) for _number in range(jobs)]:
            worker.result()
