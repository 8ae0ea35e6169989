"""The command as a door: exit codes, one JSON document, errors in two lines, nothing secret."""

from __future__ import annotations

import functools
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

import pytest

from dbfleet.cli import main
from dbfleet.errors import DamagedError, TimeoutExceededError
from dbfleet.model import Finding, Job
from dbfleet.operations.verify import VerifyResult
from dbfleet.version import VERSION

ROOT = Path(__file__).parents[2]


class Operations:
    """Fakes of the operations (their own tests use the real ones): remember calls, answer as told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answers: dict[str, Callable[[], Any]] = {}
        for module, function in (
            *((name, name) for name in ("backup", "restore", "verify", "prune", "sync")),
            ("lookup", "find"),
        ):
            monkeypatch.setattr(f"dbfleet.operations.{module}.{function}", self._operation(function))

    def _operation(self, name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            keywords.pop("progress", None)
            self.calls.append((name, arguments, keywords))
            return self.answers[name]()

        return run

    @property
    def job(self) -> Job:
        return self.calls[-1][1][0]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Operations:
    for name in list(os.environ):
        if name.startswith("DBFLEET_") or name in ("DATABASE_URL", "BACKUP_DIR", "RETENTION_DAYS"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DBFLEET_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Operations(monkeypatch)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with dumps of two jobs that no manifest describes."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for file in ("app_backup_20240101_000000.sql", "billing_backup_20230101_000000.db.gz", "notes.txt"):
        (folder / file).write_text("x", encoding="utf-8")
    return folder


def report(document: dict[str, Any], **facts: Any) -> Callable[[], SimpleNamespace]:
    return lambda: SimpleNamespace(to_json=lambda: document, **facts)


def fails(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


def test_the_version_is_that_of_the_collection(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dbfleet {VERSION}\n"
    assert f"\nversion: {VERSION}\n" in (ROOT / "galaxy.yml").read_text(encoding="utf-8")


def test_options_beat_the_environment_beats_the_job_file_beats_defaults(
    operations: Operations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job = {
        "source": {"url": "sqlite:///file.db"},
        "repository": {"url": "/file"},
        "compression": {"level": 1, "method": "gzip"},
        "limits": {"parallel": 4},
    }
    (tmp_path / "jobs.d").mkdir()
    (tmp_path / "jobs.d" / "app.json").write_text(json.dumps(job), encoding="utf-8")
    (tmp_path / "jobs.d" / "app.json").chmod(0o600)
    monkeypatch.setenv("BACKUP_DIR", "/environment")
    monkeypatch.setenv("DBFLEET_COMPRESSION_LEVEL", "2")
    operations.answers["backup"] = report({"plan": {}}, manifest=None, plan={})
    assert main("backup --job app --compression-level 3 --dry-run".split()) == 0
    made = operations.job
    assert made.name == "app"
    assert made.source and made.source.url == "sqlite:///file.db"
    assert made.repository.url == "/environment"
    assert (made.compression.method, made.compression.level) == ("gzip", 3)
    assert (made.limits.parallel, made.limits.chain_length) == (4, 30)
    assert operations.calls[-1][2] == {"dry_run": True}


def test_an_error_is_two_lines_on_stderr(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    operations.answers["find"] = fails(DamagedError("a.sql is damaged\nok", "copy it again"))
    assert main("show latest --name a --repository /b".split()) == 1
    assert capsys.readouterr() == ("", "dbfleet: a.sql is damaged\\nok\n  remedy: copy it again\n")


def test_an_error_with_json_is_one_document_on_stdout(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.answers["find"] = fails(DamagedError("a.sql is damaged", "copy it again"))
    assert main("show latest --name a --repository /b --json".split()) == 1
    error = {"kind": "damaged", "message": "a.sql is damaged", "remedy": "copy it again"}
    assert json.loads(capsys.readouterr().out) == {"error": error}


@pytest.mark.parametrize("line", ["bakcup --json", "--json", "backup --json", "list --json --nam x", "list --json"])
def test_wrong_usage_with_json_is_a_document_too(
    operations: Operations, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == "usage"
    assert err == ""


def test_a_fault_of_the_command_is_one_line_and_a_trace_on_demand(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    operations.answers["find"] = fails(ZeroDivisionError("by zero"))
    assert main("show latest --name a --repository /b".split()) == 1
    err = capsys.readouterr().err
    assert err.startswith("dbfleet: the command failed by a fault of its own: ZeroDivisionError: by zero\n")
    assert "Traceback" not in err
    assert main("show latest --name a --repository /b -v".split()) == 1
    assert "Traceback" in capsys.readouterr().err


def test_findings_exit_with_3(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    bad = VerifyResult("b", "restore", ok=False, findings=(Finding("t", "2 rows, not 3", "r"),))
    operations.answers["verify"] = lambda: [bad]
    assert main("verify all --level restore --name a --repository /b --json".split()) == 3
    findings = [{"object": "t", "problem": "2 rows, not 3", "remedy": "r"}]
    expected = {"results": [{"backup": "b", "level": "restore", "ok": False, "findings": findings}]}
    assert json.loads(capsys.readouterr().out) == expected
    assert operations.calls[-1][1][1:] == ("all", "restore")
    operations.answers["verify"] = lambda: [VerifyResult("b", "x", ok=True)]
    assert main("verify --name a --repository /b".split()) == 0
    assert operations.calls[-1][1][1:] == ("latest", "structure")


def test_restore_hands_on_what_was_asked(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"restored": {"backup": "b", "to": "sqlite:///x.db", "proven": True, "duration_seconds": 1.0}}
    operations.answers["restore"] = report(document)
    line = "restore latest --name a --repository /b --to sqlite:///x.db --table a --table b --replace --json"
    line += r" --tablespace-map /a\==/b"
    assert main(line.split()) == 0
    assert operations.calls[-1][1][1:] == ("latest",)
    assert operations.calls[-1][2] == {
        "to": "sqlite:///x.db",
        "tables": ("a", "b"),
        "replace": True,
        "target": None,
        "tablespaces": {"/a=": "/b"},
        "dry_run": False,
    }
    assert json.loads(capsys.readouterr().out) == document


def test_restore_without_a_target_says_what_to_give(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("restore latest --name a --repository /b".split()) == 2
    assert "--to URL" in capsys.readouterr().err
    assert not operations.calls


@pytest.mark.parametrize("backup", ["app_backup_20250823_103000", "old/app_backup_20250823_103000.sql.gz"])
def test_a_backup_names_its_job(operations: Operations, backup: str) -> None:
    operations.answers["find"] = fails(DamagedError("x"))
    main(["show", backup, "--repository", "/b"])
    assert operations.job.name == "app"
    main(["show", backup, "--repository", "/b", "--name", "other"])
    assert operations.job.name == "other"


@pytest.mark.parametrize("line", ["backup --repository /b", "prune --repository /b"])
def test_what_is_missing_is_named(operations: Operations, capsys: pytest.CaptureFixture[str], line: str) -> None:
    assert main(line.split()) == 2
    assert "--" in capsys.readouterr().err
    assert not operations.calls


def test_a_password_in_an_option_is_warned_of_and_never_shown(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "list --repository sftp://me:hunter2@host/b --source postgresql://a:hunter2@h/db"
    assert main(line.split()) != 0
    out, err = capsys.readouterr()
    assert "the password in --source" in err and "the password in --repository" in err
    assert "hunter2" not in out + err


def test_no_password_no_warning(operations: Operations, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"list --repository {repository} --source postgresql://a@h:5432/db?x=a:b@c".split()) == 0
    assert capsys.readouterr().err == ""


def test_a_list_without_a_name_is_of_the_whole_repository(
    operations: Operations, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(f"list --json --repository {repository}".split()) == 0
    backups = json.loads(capsys.readouterr().out)["backups"]
    assert [(row["id"], row["state"]) for row in backups] == [
        ("billing_backup_20230101_000000", "foreign"),
        ("app_backup_20240101_000000", "foreign"),
    ]
    assert main(f"list --name app --json --repository {repository}".split()) == 0
    assert len(json.loads(capsys.readouterr().out)["backups"]) == 1


@pytest.mark.parametrize("line", ["show latest", "verify", "restore latest --to sqlite:///x.db", "sync --to /c"])
def test_a_name_is_asked_for_where_several_jobs_share_a_repository(
    operations: Operations, repository: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main([*line.split(), "--repository", str(repository)]) == 2
    assert "holds backups of app, billing" in capsys.readouterr().err
    assert not operations.calls
    (repository / "billing_backup_20230101_000000.db.gz").unlink()
    for name in ("find", "verify", "restore", "sync"):
        operations.answers[name] = fails(DamagedError("enough"))
    assert main([*line.split(), "--repository", str(repository)]) == 1
    assert operations.job.name == "app"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_and_exits_as_shells_expect(
    operations: Operations, capsys: pytest.CaptureFixture[str], number: int, request: pytest.FixtureRequest
) -> None:
    # The tests themselves may run where it is ignored, as under nohup; the command would leave it so.
    request.addfinalizer(functools.partial(signal.signal, number, signal.signal(number, signal.SIG_DFL)))
    unwound = []

    def answer() -> Any:
        try:
            os.kill(os.getpid(), number)
        finally:
            os.kill(os.getpid(), number)  # a second one does not disturb the cleaning up
            unwound.append(True)

    before = signal.getsignal(number)
    operations.answers["find"] = answer
    assert main("show latest --name a --repository /b --json".split()) == 128 + number
    assert unwound
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "stopped"
    assert signal.getsignal(number) is before


def test_a_run_that_takes_too_long_fails(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> Any:
        signal.pause()

    operations.answers["find"] = answer
    assert main("show latest --name a --repository /b --limits-timeout 1s --json".split()) == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == TimeoutExceededError.kind


def test_help_of_every_verb(operations: Operations, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["--help"], ["backup", "--help"], ["restore", "-h"], ["help-me", "--help"]):
        code = main(line)
        out = capsys.readouterr().out
        assert (code, "usage: dbfleet" in out) in ((0, True), (2, False))
    assert not operations.calls


def test_completion_offers_jobs_and_backups(
    operations: Operations, repository: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "jobs.d").mkdir()
    (tmp_path / "jobs.d" / "app.json").write_text("{}", encoding="utf-8")
    assert main(["completion", "jobs"]) == 0
    assert capsys.readouterr().out == "app\n"
    assert main(f"completion backups --repository {repository}".split()) == 0
    assert capsys.readouterr().out == "billing_backup_20230101_000000.db.gz\napp_backup_20240101_000000.sql\n"


def test_a_sync_that_could_not_copy_everything_is_a_finding(
    operations: Operations, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = {"object": "a", "problem": "another backup has its id", "remedy": "look at it"}
    facts = {"to": "/c", "copied": [], "records": [], "present": 1, "findings": [finding], "size_bytes": 0}
    operations.answers["sync"] = report({"synced": facts})
    assert main("sync --to /c --name a --repository /b".split()) == 3
    assert "finding: a: another backup has its id\n  remedy: look at it" in capsys.readouterr().out
