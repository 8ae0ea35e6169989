"""MariaDB: logical backups and restores, beside mariadb-dump as people use it, mydumper, and the modules."""

import shlex
import shutil

from contest import ANSIBLE, Bench, Contestant, dbfleet

TITLES = ("MariaDB, backup", "MariaDB, one huge table", "MariaDB, restore", "MariaDB, physical backup")
SETTINGS = (
    "--character-set-server=utf8mb4",  # as Debian configures it
    "--innodb-buffer-pool-size=1G",
    "--innodb-flush-log-at-trx-commit=1",
    "--innodb-log-file-size=512M",
)
ROW_BYTES = 180


def measure(bench: Bench) -> None:
    """Everything that is asked for, on a server of its own."""
    if not any(bench.wants(title) for title in TITLES):
        return
    from mysql_server import Server

    server = Server(*SETTINGS)
    bench.versions.append(server.ask("SELECT version()")[0][0])
    rows = int(bench.gib * 2**30 / ROW_BYTES)
    try:
        for name, tables in (("many", 8), ("huge", 1)):
            server.ask(f"CREATE DATABASE {name}")
            for number in range(tables):
                _fill(server, name, f"t{number}", rows // tables)
        for title, name in (("MariaDB, backup", "many"), ("MariaDB, one huge table", "huge")):
            bench.group(title, *_backups(server, name))
        _restore(bench, server)
        bench.group("MariaDB, physical backup", *_copies(bench, server))
    finally:
        server.remove()


def _fill(server: object, database: str, table: str, rows: int) -> None:
    ask = server.ask  # type: ignore[attr-defined]
    ask(
        f"CREATE TABLE {table}(id BIGINT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(60), amount DECIMAL(12,2), "
        "at DATETIME, note VARCHAR(200), KEY(name)) ENGINE=InnoDB",
        database,
    )
    ask(
        f"INSERT INTO {table}(name, amount, at, note) SELECT CONCAT('customer ', seq * 7919 % 1000003), "
        "seq % 100000 / 7, '2026-01-01' + INTERVAL seq SECOND, REPEAT(MD5(seq), 2) "
        f"FROM seq_1_to_{rows}",
        database,
    )


def _backups(server: object, name: str) -> list[Contestant]:
    socket = server.socket  # type: ignore[attr-defined]
    client = f"--no-defaults --socket={socket} --user=root"
    place = f"mariadb-{name}"
    url = f"mysql://root@localhost/{name}?unix_socket={socket}"
    ours = dbfleet("backup", f"--source {shlex.quote(url)} --repository {place} --name app")
    dump = f"mariadb-dump {client} --single-transaction --routines --triggers --events {name}"
    found = [
        Contestant("dbfleet, proof of rows", ours, (place,), keeps=place),
        Contestant("dbfleet, proof of content", ours + " --proof-level content", (place,)),
        Contestant("dbfleet, no proof", ours + " --proof-level none", (place,)),
        Contestant("mariadb-dump | gzip", f"{dump} | gzip > app.sql.gz", keeps="app.sql.gz"),
        Contestant("by hand: mariadb-dump | zstd -T0 -3", f"{dump} | zstd -q -T0 -3 -f -o app.zst", keeps="app.zst"),
    ]
    if shutil.which("mydumper"):
        words = f"-S {socket} -u root -B {name} -t 2 -o dumped --trx-consistency-only -r 500000"
        command = f"mydumper {words} && zstd -q -T0 -3 --rm dumped/*.sql"
        found.append(Contestant("mydumper -t 2, then zstd -T0 -3", command, ("dumped",), keeps="dumped"))
    else:
        print("   mydumper is left out (apt install mydumper)")
    words = f"name={name} state=dump target=app.sql.gz login_unix_socket={socket} login_user=root config_file="
    module = f"{ANSIBLE} -m community.mysql.mysql_db -a {shlex.quote(words)}"
    found.append(Contestant("community.mysql.mysql_db to .gz", module))
    return found


def _copies(bench: Bench, server: object) -> list[Contestant]:
    socket = server.socket  # type: ignore[attr-defined]
    url = f"mysql://root@localhost/?unix_socket={socket}"
    ours = dbfleet("backup", f"--source {shlex.quote(url)} --repository copies --name app --method physical")
    option_file = bench.scratch / "client.cnf"
    option_file.write_text(f"[client]\nuser=root\nsocket={socket}\n")
    tool = f"mariadb-backup --defaults-file={option_file} --backup --stream=xbstream --parallel=2 --target-dir=tool"
    return [
        Contestant("dbfleet, proof of rows", ours, ("copies",), keeps="copies"),
        Contestant("dbfleet, no proof", ours + " --proof-level none", ("copies",)),
        Contestant(
            "by hand: mariadb-backup | zstd -T0 -3",
            f"mkdir -p tool && {tool} 2>tool.err | zstd -q -T0 -3 -f -o app.xbstream.zst",
            keeps="app.xbstream.zst",
        ),
    ]


def _restore(bench: Bench, server: object) -> None:
    if not bench.wants("MariaDB, restore"):
        return
    socket = server.socket  # type: ignore[attr-defined]
    client = f"--no-defaults --socket={socket} --user=root"
    url = "mysql://root@localhost/{}?unix_socket=" + socket
    shutil.rmtree(bench.scratch / "mariadb-restore", ignore_errors=True)
    common = "--repository mariadb-restore --name app"
    bench.measure(dbfleet("backup", f"--source {shlex.quote(url.format('many'))} {common}"))
    bench.measure(f"mariadb-dump {client} --single-transaction many > given.sql")
    drop = f"mariadb {client} -e 'DROP DATABASE IF EXISTS restored'"
    bench.group(
        "MariaDB, restore",
        Contestant(
            "dbfleet restore, proven and swapped in",
            f"{drop} && " + dbfleet("restore", f"latest {common} --to {shlex.quote(url.format('restored'))}"),
        ),
        Contestant(
            "mariadb < mariadb-dump's SQL",
            f"{drop} && mariadb {client} -e 'CREATE DATABASE restored' && mariadb {client} restored < given.sql",
        ),
    )
