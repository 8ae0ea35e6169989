"""A request as a document means what the same command line means, or is refused with the part that is wrong."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.cli import main
from dbfleet.command.document import read_request
from dbfleet.command.parse import Request, parse
from dbfleet.errors import UsageError


def request(**document: Any) -> Request:
    return read_request(json.dumps(document).encode())[1]


def refusal(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read_request(data)
    return str(caught.value)


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"verb": "backup", "options": {"dry_run": True, "job": "app"}}, "backup --dry-run --job app"),
        ({"verb": "list", "keys": {"name": "app", "repository": {"url": "/b"}}}, "list --name app --repository /b"),
        ({"verb": "verify", "options": {"level": "restore"}}, "verify latest --level restore"),
        (
            {
                "verb": "restore",
                "argument": "latest",
                "options": {"to": "sqlite:////x.db", "table": ["a", "b"], "replace": True, "target_time": "now"},
                "keys": {"compression": {"level": 5}, "encryption": {"recipients": ["a", "b"]}, "name": None},
            },
            "restore latest --to sqlite:////x.db --table a --table b --replace --target-time now "
            "--compression-level 5 --encryption-recipients a --encryption-recipients b",
        ),
        ({"verb": "sync", "options": {"to": "s3://bucket/x"}}, "sync --to s3://bucket/x"),
        ({"verb": "health"}, "health"),
    ],
)
def test_it_means_what_the_command_line_means(document: dict[str, Any], line: str) -> None:
    assert request(**document) == parse([*line.split(), "--json"])


def test_a_mark_of_the_encoding_is_no_part_of_it() -> None:
    assert read_request(b'\xef\xbb\xbf{"verb": "list"}')[1].verb is not None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({}, "no verb"),
        ({"verb": "bakcup"}, "'bakcup' is no verb"),
        ({"verb": "completion"}, "is no verb"),
        ({"verb": "log-archive", "argument": "run"}, "is no verb"),
        ({"verb": "list", "option": {}}, "did you mean options"),
        ({"verb": "list", "options": []}, "is not a JSON object"),
        ({"verb": "list", "options": {"dry_run": True}}, "no option of list"),
        ({"verb": "backup", "options": {"dryrun": True}}, "did you mean dry_run"),
        ({"verb": "backup", "options": {"dry_run": "yes"}}, "true or false"),
        ({"verb": "backup", "argument": "latest"}, "does not take the argument"),
        ({"verb": "restore"}, "restore needs BACKUP"),
        ({"verb": "restore", "argument": ""}, "BACKUP is empty"),
        ({"verb": "restore", "argument": "latest", "options": {"table": [1]}}, "not text"),
        ({"verb": "restore", "argument": "latest", "options": {"to": "sqlite:///x.db"}}, "to: .* is relative"),
        ({"verb": "verify", "options": {"level": "deep"}}, "choose checksum or structure or restore"),
        ({"verb": "list", "keys": {"repository": {"url": "backups"}}}, "is relative"),
        ({"verb": "list", "keys": {"retntion": {}}}, "retntion"),
        ({"verb": "list", "keys": {"compression": {"level": "high"}}}, "compression.level in the request"),
    ],
)
def test_what_it_does_not_know_is_refused(document: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        request(**document)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe{\0}\0", b'{"verb": {}}'])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    assert refusal(data)


PARTS = st.sampled_from(["verb", "argument", "options", "keys", "to", "job"])
VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["list", "restore"])


@given(st.recursive(VALUES, lambda each: st.lists(each) | st.dictionaries(PARTS, each)))
def test_no_document_makes_it_stumble(document: Any) -> None:
    try:
        read_request(json.dumps(document).encode())
    except UsageError as error:
        assert error.remedy


def test_the_command_answers_with_a_document_and_does_not_look_at_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path))
    monkeypatch.setenv("DBFLEET_CONFIG_DIR", str(tmp_path / "nowhere"))

    def ask(document: Any) -> tuple[int, dict[str, Any]]:
        stdin = SimpleNamespace(buffer=io.BytesIO(json.dumps(document).encode()))
        monkeypatch.setattr(sys, "stdin", stdin)
        code = main(["--request"])
        return code, json.loads(capsys.readouterr().out)

    assert ask({"verb": "list", "keys": {"repository": {"url": str(tmp_path)}}}) == (0, {"backups": []})
    code, answer = ask({"verb": "list"})
    assert code == 2 and "no repository is given" in answer["error"]["message"]
    code, answer = ask({"verb": "lst"})
    assert code == 2 and answer["error"]["kind"] == "usage"
