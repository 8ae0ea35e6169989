"""The real command with real databases: what it prints, what it exits with, and how it is stopped."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from isolation import heeding

ROOT = Path(__file__).parents[2]

REPOSITORY = ("--repository", "backups", "--name", "app")
BACKUP = ("backup", "--source", "sqlite:///data/app.db", *REPOSITORY)


class Host:
    """A folder with a database, a repository, and the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "data" / "app.db"
        self.repository = folder / "backups"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DBFLEET_")}
        for name in ("DATABASE_URL", "BACKUP_DIR", "RETENTION_DAYS"):
            kept.pop(name, None)
        self.environ = {
            **kept,
            "PYTHONPATH": str(ROOT / "plugins" / "module_utils"),
            "DBFLEET_CONFIG_DIR": str(folder / "etc"),
            "DBFLEET_STATE_DIR": str(folder / "state"),
        }
        self.line = [sys.executable, "-m", "dbfleet"]
        self.database.parent.mkdir()
        with closing(sqlite3.connect(self.database)) as database:
            database.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT)")
            database.executemany("INSERT INTO t (word) VALUES (?)", [(f"word {n}",) for n in range(100)])
            database.commit()

    def run(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return self._run([*self.line, *words], environ)

    def shell(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        """The command as the arguments of a script."""
        return self._run(["bash", "-c", script, "bash", *self.line, *words], {})

    def _run(self, line: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            line,
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def json(self, *words: str, code: int = 0, **environ: str) -> Any:
        done = self.run(*words, "--json", **environ)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def backup(self, *words: str, **environ: str) -> Any:
        source = ("--source", "sqlite:///data/app.db", "--repository", "backups")
        return self.json("backup", *source, *words, **environ)["backup"]

    def large(self, rows: int = 400_000) -> None:
        with closing(sqlite3.connect(self.database)) as database:
            database.executemany("INSERT INTO t (word) VALUES (?)", ((os.urandom(40).hex(),) for _row in range(rows)))
            database.commit()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def words_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT count(*) FROM t").fetchone()[0]


def test_a_backup_goes_all_the_way_round(host: Host) -> None:
    made = host.backup()
    assert made["name"] == "app"
    assert [row["id"] for row in host.json("list", "--repository", "backups")["backups"]] == [made["id"]]
    shown = host.json("show", "latest", "--repository", "backups")["backup"]
    assert {key: shown[key] for key in made} == made
    restored = host.json("restore", made["id"], "--repository", "backups", "--to", "sqlite:///new.db")["restored"]
    assert restored["proven"] is True
    assert words_in(host.folder / "new.db") == 100
    [result] = host.json("verify", "--level", "restore", "--repository", "backups")["results"]
    assert (result["backup"], result["level"], result["ok"]) == (made["id"], "restore", True)
    synced = host.json("sync", "--to", str(host.folder / "copy"), "--repository", "backups")["synced"]
    assert [copy["id"] for copy in synced["copied"]] == [made["id"]]
    pruned = host.json("prune", "--name", "app", "--repository", "copy")
    assert [kept["id"] for kept in pruned["kept"]] == [made["id"]]
    assert pruned["removed"] == []


def test_people_get_text_of_80_columns_and_no_colour_in_a_pipe(host: Host) -> None:
    made = host.backup()
    for words in (
        ("list",),
        ("verify", "all"),
        ("prune", "--name", "app", "--dry-run"),
        ("sync", "--to", "copy", "--dry-run"),
        ("restore", "latest", "--to", "sqlite:///x.db", "--dry-run"),
    ):
        done = host.run(*words, "--repository", "backups")
        assert done.returncode == 0, done.stderr
        assert (made["id"] in done.stdout, done.stderr) == (True, "")
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "\x1b" not in done.stdout
    assert not (host.folder / "x.db").exists()
    assert not (host.folder / "copy").exists()


def test_environment_as_applications_set_it(host: Host) -> None:
    environ = {"DATABASE_URL": "sqlite:///data/app.db", "BACKUP_DIR": "my backups & more", "RETENTION_DAYS": "3"}
    made = host.json("backup", **environ)["backup"]
    assert (host.folder / "my backups & more" / f"{made['id']}.manifest.json").exists()
    assert host.json("prune", **environ)["kept"][0]["id"] == made["id"]
    done = host.run("backup", **{**environ, "RETENTION_DAYS": "0"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("dbfleet: RETENTION_DAYS: '0' is not a positive whole number\n  remedy: ")


def test_an_installed_job(host: Host) -> None:
    jobs = host.folder / "etc" / "jobs.d"
    jobs.mkdir(parents=True)
    job = {"source": {"url": f"sqlite:///{host.database}"}, "repository": {"url": str(host.repository)}}
    (jobs / "nightly.json").write_text(json.dumps(job), encoding="utf-8")
    (jobs / "nightly.json").chmod(0o600)
    assert host.json("backup", "--job", "nightly")["backup"]["name"] == "nightly"
    (jobs / "nightly.json").chmod(0o666)
    assert host.json("backup", "--job", "nightly", code=2)["error"]["kind"] == "usage"
    missing = host.json("backup", "--job", "nightli", code=1)["error"]
    assert (missing["kind"], missing["remedy"]) == ("not_found", "installed: nightly")


def test_damage_is_a_finding_and_exit_code_3(host: Host) -> None:
    made = host.backup()
    artifact = host.repository / made["artifacts"][0]["file"]
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    results = host.json("verify", "latest", "--level", "checksum", "--repository", "backups", code=3)["results"]
    assert results[0]["ok"] is False
    assert artifact.name in json.dumps(results[0]["findings"])
    assert host.json("list", "--repository", "backups")["backups"][0]["state"] == "bad"


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("list", "--repository", "nowhere"), 1, "not_found"),
        (("show", "latest", "--repository", "nowhere"), 1, "not_found"),
        (("backup", "--source", "sqlite:///nowhere.db", "--repository", "b"), 1, None),
        (("backup", "--source", "oracle://x/y", "--repository", "b"), 2, "usage"),
        (("list", "--repository", "gopher://x"), 2, "usage"),
        (("list",), 2, "usage"),
    ],
)
def test_failures_have_a_kind_a_remedy_and_a_code(
    host: Host, words: tuple[str, ...], code: int, kind: str | None
) -> None:
    error = host.json(*words, code=code)["error"]
    assert error["message"] and error["remedy"]
    assert kind in (None, error["kind"])


def test_an_existing_database_is_not_overwritten_unless_asked(host: Host) -> None:
    made = host.backup()
    with closing(sqlite3.connect(host.database)) as database:
        database.execute("DELETE FROM t WHERE id > 1")
        database.commit()
    words = ("restore", made["id"], "--source", "sqlite:///data/app.db", "--repository", "backups")
    assert host.json(*words, code=1)["error"]["kind"] == "refused"
    assert words_in(host.database) == 1
    restored = host.json(*words, "--replace")["restored"]
    assert words_in(host.database) == 100
    assert words_in(Path(restored["kept"])) == 1


def test_a_dump_without_a_manifest_is_restored_and_called_unproven(host: Host) -> None:
    host.repository.mkdir()
    dump = host.repository / "promptpilot_backup_20250823_103000.sql"
    dump.write_text("CREATE TABLE t (id);\nINSERT INTO t VALUES (1);\n", encoding="utf-8")
    words = ("restore", f"backups/{dump.name}", "--repository", "backups", "--to", "sqlite:///old.db")
    done = host.run(*words)
    assert done.returncode == 0, done.stderr
    assert f"unproven: no manifest describes 'backups/{dump.name}'" in " ".join(done.stdout.split())
    assert words_in(host.folder / "old.db") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_backup_leaves_nothing_listed_and_no_lock(host: Host, number: int) -> None:
    host.large()
    source = ("--source", "sqlite:///data/app.db", "--repository", "backups", "--limits-bandwidth", "1M")
    with heeding(number):
        process = subprocess.Popen(
            [*host.line, "backup", *source, "--json"],
            cwd=host.folder,
            env=host.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    deadline = time.monotonic() + 60
    while not list(host.repository.glob(".*.partial*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert json.loads(out)["error"]["kind"] == "stopped"
    left = [path.name for path in host.repository.iterdir() if not path.name.endswith(".lock")]
    assert left == []
    assert host.json("list", "--repository", "backups")["backups"] == []
    host.backup("--limits-lock-wait", "0")


def test_a_backup_that_takes_too_long_fails_and_leaves_nothing(host: Host) -> None:
    host.large()
    source = ("--source", "sqlite:///data/app.db", "--repository", "backups", "--limits-bandwidth", "1M")
    error = host.json("backup", *source, "--limits-timeout", "2s", code=1)["error"]
    assert error["kind"] == "timeout"
    assert [path.name for path in host.repository.iterdir() if not path.name.endswith(".lock")] == []


def test_a_reader_that_has_gone_is_no_failure(host: Host) -> None:
    host.backup()
    for words in (("list",), ("list", "--json"), ("--help",)):
        read, write = os.pipe()
        os.close(read)
        line = [*host.line, *words] + (["--repository", "backups"] if words[0] == "list" else [])
        done = subprocess.run(
            line, cwd=host.folder, env=host.environ, stdout=write, stderr=subprocess.PIPE, check=False
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b"")


def test_an_answer_that_cannot_be_written_is_a_failure(host: Host) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        line = [*host.line, "--help"]
        done = subprocess.run(line, env=host.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("dbfleet: stdout cannot be written: ")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_change_nothing(host: Host, closed: str) -> None:
    """As a daemon leaves them: the numbers of files that are opened then are those of the streams."""
    done = host.shell(f'exec "$@" {closed}', *BACKUP)
    assert (done.returncode, done.stderr) == (0, "")
    assert host.run("verify", "all", *REPOSITORY).returncode == 0


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("-f 40", "a file grew too large"),
        ("-n 8", "no more files can be opened"),
    ],
)
def test_limits_of_the_host_are_told_with_the_way_out(host: Host, limit: str, said: str) -> None:
    host.large(20_000)
    done = host.shell(f'ulimit {limit}; exec "$@"', *BACKUP)
    assert done.returncode == 1 and said in done.stderr and "remedy: " in done.stderr, done.stderr
    assert "fault of its own" not in done.stderr
    assert host.json("list", *REPOSITORY)["backups"] == []


def on_a_terminal(host: Host, *words: str, **environ: str) -> tuple[int, str]:
    """Exit code and everything that a person sees on a terminal of 80 columns."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*host.line, *words],
        cwd=host.folder,
        env={**host.environ, "TERM": "xterm", **environ},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while select.select([leader], [], [], 60)[0]:
        try:
            data = os.read(leader, 65536)
        except OSError:  # the terminal closes with its last user
            break
        if not data:
            break
        seen += data
    os.close(leader)
    return process.wait(timeout=60), seen.decode()


def test_a_terminal_gets_progress_and_colour_unless_told_otherwise(host: Host) -> None:
    host.large(20_000)
    source = ("--source", "sqlite:///data/app.db", "--repository", "backups")
    code, seen = on_a_terminal(host, "backup", *source)
    assert code == 0
    assert "\r" in seen and "MiB" in seen
    before, _clear, after = seen.rpartition("\r\x1b[K")
    assert after.startswith("backup") and "backup " not in before.splitlines()[-1][:7]
    code, seen = on_a_terminal(host, "backup", *source, "--quiet", "--name", "other")
    assert (code, "\x1b" in seen) == (0, False)
    assert "\x1b[" in on_a_terminal(host, "list", "--repository", "backups")[1]
    assert "\x1b[" not in on_a_terminal(host, "list", "--repository", "backups", NO_COLOR="1")[1]


def test_a_secret_is_in_nothing_that_is_printed_or_kept(host: Host) -> None:
    secret = "hunter2-very-secret"
    (host.folder / "pass").write_text(secret + "\n", encoding="utf-8")
    (host.folder / "pass").chmod(0o600)
    words = ("--encryption-method", "gpg", "--encryption-passphrase-file", "pass", "--verbose")
    done = host.run("backup", "--source", "sqlite:///data/app.db", "--repository", "backups", *words)
    assert done.returncode == 0, done.stderr
    restore = ("restore", "latest", "--repository", "backups", "--to", "sqlite:///x.db", *words[2:])
    back = host.run(*restore)
    assert back.returncode == 0, back.stderr
    assert secret not in done.stdout + done.stderr + back.stdout + back.stderr
    for path in [*host.repository.rglob("*"), *(host.folder / "state").rglob("*")]:
        assert path.is_dir() or secret.encode() not in path.read_bytes()
