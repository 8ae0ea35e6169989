"""Promise 5 and 9: what cannot be a good backup is refused before anything is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbfleet.errors import UsageError
from dbfleet.model import Encryption, Job, Repository, Source
from dbfleet.operations.backup import backup


def test_a_backup_without_a_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no source"):
        backup(Job("app", Repository(str(tmp_path / "kept"))))
    assert not (tmp_path / "kept").exists()


def test_a_key_without_a_method_is_no_plain_backup(tmp_path: Path) -> None:
    job = Job(
        "app",
        Repository(str(tmp_path / "kept")),
        Source(f"sqlite:///{tmp_path}/app.db"),
        encryption=Encryption(passphrase_file="/p"),
    )
    with pytest.raises(UsageError, match="would not be encrypted"):
        backup(job)
    assert not (tmp_path / "kept").exists()
