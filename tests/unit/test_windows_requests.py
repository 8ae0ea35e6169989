"""What modules ask of the command on Windows, and what they make of its answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from test_module_specs import MODULES, plugin

from dbfleet.command.document import read_request
from dbfleet.command.pairs import read_pairs
from dbfleet.errors import UsageError

requests = plugin("plugin_utils.requests")
options = plugin("module_utils._options")
KEYS = {"name": "app", "repository": {"url": "/b", "file_mode": None}, "compression": None}


def params(module: str, **given: Any) -> dict[str, Any]:
    """All options of ``module``, as Ansible completes them."""
    spec = options.OPTIONS.get(module, {})
    return {"job": None, **KEYS, **{name: option.get("default") for name, option in spec.items()}, **given}


def asked(module: str, *, dry: bool = False, **given: Any) -> Any:
    """What the command understands."""
    document = requests.request_of(module, params(module, **given), dry=dry)
    return read_request(json.dumps(document).encode())[1]


@pytest.mark.parametrize("module", [*MODULES, "status_info"])
@pytest.mark.parametrize("dry", [False, True])
def test_every_module_is_understood(module: str, dry: bool) -> None:
    request = asked(module, dry=dry, **({"to": "/elsewhere"} if module == "sync" else {}))
    assert request.layer == {"name": "app", "repository.url": "/b"}
    assert bool(request.get("dry_run")) == (dry and not module.endswith("_info"))


def test_a_restore_is_asked_for_in_full() -> None:
    target = {"time": "2026-01-01", "lsn": None, "inclusive": False, "action": "pause", "timeline": "2"}
    moved = {"D:\\fast=er\\": "E:\\x"}
    request = asked("restore", backup="b", to="/x", tables=["a"], target=target, replace=True, tablespace_map=moved)
    assert (request.argument, request.get("to"), request.get("table"), request.get("replace")) == (
        "b",
        "/x",
        ["a"],
        True,
    )
    assert (request.get("target_time"), request.get("target_lsn")) == ("2026-01-01", None)
    assert request.get("target_exclusive") and request.get("target_action") == "pause"
    assert request.get("target_timeline") == "2"
    assert read_pairs("", request.get("tablespace_map")) == {"D:\\fast=er": "E:\\x"}


def test_coverage_is_asked_for_in_full() -> None:
    spec = options.COVERAGE_INFO
    given = {name: option.get("default") for name, option in spec.items()}
    job = {"name": "app", "source": {"url": "sqlite:///C:/srv/app.db"}, "repository": {"url": "C:/backups"}}
    given.update(jobs=[job], hosts=["db1"], sqlite_paths=["C:\\srv"], ignore=["*.tmp"])
    document = requests.request_of("coverage_info", given, dry=True)
    verb, request = read_request(json.dumps(document).encode())
    assert (verb.name, request.jobs, request.get("host"), request.get("ignore")) == (
        "coverage",
        (job,),
        ["db1"],
        ["*.tmp"],
    )
    assert (request.get("sqlite_path"), request.get("sqlite_exclude"), request.get("mysql_socket")) == (
        ["C:\\srv"],
        [],
        None,
    )
    answer = {"rc": 3, "stdout": json.dumps({"protected": [], "unprotected": [], "problems": []})}
    expected = {"changed": False, "protected": [], "unprotected": [], "problems": []}
    assert requests.result_of("coverage_info", given, answer) == expected


@pytest.mark.parametrize("jobs", [{"name": "app"}, ["app"], "app"])
def test_jobs_that_are_no_list_of_jobs_are_refused(jobs: Any) -> None:
    with pytest.raises(UsageError):
        read_request(json.dumps({"verb": "coverage", "jobs": jobs}).encode())


def test_no_other_verb_takes_jobs() -> None:
    with pytest.raises(UsageError, match="health does not take these jobs"):
        read_request(json.dumps({"verb": "health", "jobs": [{"name": "app"}]}).encode())


def test_one_backup_is_shown_and_several_are_listed() -> None:
    assert asked("backup_info", backup="b").verb.name == "show"
    assert asked("backup_info").verb.name == "list"
    rows = [{"id": name, "state": "good", "artifacts": []} for name in "abc"]
    answer = {"rc": 0, "stdout": json.dumps({"backups": rows})}
    result = requests.result_of("backup_info", params("backup_info", newest=2), answer)
    assert [one["id"] for one in result["states"]] == ["c", "b"]
    assert result["backups"] == [{"id": "c", "artifacts": []}, {"id": "b", "artifacts": []}]


def test_an_error_is_that_of_the_module() -> None:
    error = {"kind": "source", "message": "it is gone", "remedy": "look for it"}
    answer = {"rc": 1, "failed": True, "stdout": json.dumps({"error": error})}
    result = requests.result_of("backup", params("backup"), answer)
    assert result == {"failed": True, "changed": False, "msg": "it is gone. look for it", "error": error}


def test_findings_fail_it_only_where_they_shall() -> None:
    finding = {"object": "b", "problem": "damaged", "remedy": ""}
    results = [{"backup": "b", "level": "checksum", "ok": False, "findings": [finding]}]
    answer = {"rc": 3, "failed": True, "stdout": json.dumps({"results": results})}
    strict = requests.result_of("verify", params("verify"), answer)
    assert strict["failed"] and strict["msg"] == "b: damaged"
    mild = requests.result_of("verify", params("verify", fail_on_findings=False), answer)
    assert mild == {"changed": False, "ok": False, "results": results}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"rc": 2, "stdout": "", "stderr": "dbfleet: --request is no option"}, "older than this collection"),
        ({"msg": "The system cannot find the file specified"}, "role agent"),
        ({"rc": 9009, "stdout": "", "stderr": "'x' is not recognized as a command"}, "role agent"),
        ({"rc": 5, "stdout": "half", "stderr": ""}, "ended with status 5 and without an answer: it said nothing"),
    ],
)
def test_no_answer_is_explained(answer: dict[str, Any], said: str) -> None:
    result = requests.result_of("backup", params("backup"), answer)
    assert result["failed"] and said in result["msg"]
