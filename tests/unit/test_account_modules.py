"""The modules about accounts and coverage: documentation and specs agree, and what PostgreSQL and MariaDB keep."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest
import yaml
from unit.test_module_specs import docs_of, plugin, shape, spec_of

from dbfleet.accounts.mysql import literal, native_hash, pattern
from dbfleet.accounts.password_file import PasswordFile, new_password
from dbfleet.accounts.postgresql import matches, verifier
from dbfleet.errors import KeyMaterialError

MODULES = ("coverage_info", "db_account")


@pytest.mark.parametrize("module", MODULES)
def test_what_is_documented_is_what_is_accepted(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape(docs_of(module)["options"], "suboptions") == shape(spec_of(module, monkeypatch), "options")


@pytest.mark.parametrize("module", MODULES)
def test_examples_use_options_that_exist(module: str) -> None:
    tasks = yaml.safe_load(plugin(f"modules.{module}").EXAMPLES)
    used = [task[f"dbfleet.recovery.{module}"] for task in tasks if f"dbfleet.recovery.{module}" in task]
    assert used
    assert all(set(arguments) <= set(docs_of(module)["options"]) for arguments in used)


def test_what_postgresql_keeps_tells_the_password_and_no_other() -> None:
    kept = verifier("secret")
    assert kept.startswith("SCRAM-SHA-256$4096:")
    assert matches(kept, "app", "secret")
    assert not matches(kept, "app", "other")
    assert not matches("md5" + "0" * 32, "app", "secret")
    assert verifier("secret") != kept


def test_what_mariadb_keeps() -> None:
    """As its own ``PASSWORD('secret')`` says."""
    assert native_hash("secret") == "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7"


def test_names_in_statements_of_mysql() -> None:
    assert literal("it's \\ odd") == "'it\\'s \\\\ odd'"
    assert pattern("a_b%c\\d") == "a\\_b\\%c\\\\d"


def test_passwords_need_no_escape_anywhere() -> None:
    made = {new_password() for _turn in range(50)}
    assert len(made) == 50
    for one in made:
        assert len(one) == 32 and one.isascii() and one.replace("-", "", 1).isalnum()
        assert any(map(str.islower, one)) and any(map(str.isupper, one)) and any(map(str.isdigit, one))


@pytest.fixture
def file(tmp_path: Path) -> PasswordFile:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return PasswordFile(str(tmp_path / "password"), "root", "root")


def test_a_new_password_takes_the_place_of_the_old_one_at_the_end(file: PasswordFile) -> None:
    with file.replaced("first"):
        assert file.read() is None
    with file.replaced("second"):
        assert file.read() == "first"
    assert file.read() == "second"
    assert stat.S_IMODE(os.stat(file.path).st_mode) == 0o640
    assert file.age() < 60
    assert os.listdir(os.path.dirname(file.path)) == ["password"]


def test_a_failure_leaves_the_old_password(file: PasswordFile) -> None:
    with file.replaced("first"):
        pass
    with pytest.raises(RuntimeError), file.replaced("second"):
        raise RuntimeError
    assert file.read() == "first"
    assert os.listdir(os.path.dirname(file.path)) == ["password"]


def test_a_file_of_others_gets_its_mode_and_keeps_its_age(file: PasswordFile) -> None:
    Path(file.path).write_text("given\n")
    os.chmod(file.path, 0o644)
    os.utime(file.path, (time.time() - 1000,) * 2)
    assert not file.fits()
    file.fit()
    assert file.fits()
    assert 990 < file.age() < 1100


def test_a_missing_folder_is_told_before_anything_happens(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    reached = []
    gone = PasswordFile(str(tmp_path / "gone" / "password"), "root", "root")
    with pytest.raises(KeyMaterialError, match="cannot be written"), gone.replaced("x"):
        reached.append(1)
    assert not reached


def test_a_password_that_is_no_plain_text_is_refused(file: PasswordFile) -> None:
    Path(file.path).write_bytes("schlüssel\n".encode())
    with pytest.raises(KeyMaterialError, match="ASCII"):
        file.read()
