"""Promise 6: a repository's URL and the names in it are data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import UsageError
from dbfleet.stores.file import FileStore
from dbfleet.stores.names import check_name, final_name, partial_name
from dbfleet.stores.registry import open_store


def root_of(url: str) -> str:
    store = open_store(url, file_mode=0o600, folder_mode=0o700)
    assert isinstance(store, FileStore)
    return store.root


@pytest.mark.parametrize(
    "url, root",
    [
        ("file:///var/backups", "/var/backups"),
        ("FILE:///var/backups", "/var/backups"),
        ("file://localhost/var/backups", "/var/backups"),
        ("file:///with%20space/%C3%BC/100%25", "/with space/ü/100%"),
        ("file:///a?b#c", "/a?b#c"),
        ("/var/backups/", "/var/backups"),
        ("/with%20percent", "/with%20percent"),
        ("/we:ird://x", "/we:ird:/x"),
    ],
)
def test_urls_and_paths_mean_folders(url: str, root: str) -> None:
    assert root_of(url) == root


def test_a_relative_path_stays_where_it_was_meant(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("backups", file_mode=0o600, folder_mode=0o700)
    monkeypatch.chdir("/")
    store.prepare()
    assert (tmp_path / "backups").is_dir()


@pytest.mark.parametrize("url", ["", "file://", "file://host/path", "file://relative", "/a\0b", "file:///a%00b"])
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url, file_mode=0o600, folder_mode=0o700)


def test_an_unknown_scheme_names_those_there_are_and_no_secret() -> None:
    with pytest.raises(UsageError) as caught:
        open_store("ftp://user:hunter2@host/path", file_mode=0o600, folder_mode=0o700)
    assert "ftp://" in str(caught.value)
    assert "file://" in caught.value.remedy
    assert "hunter2" not in str(caught.value)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1))
def test_the_url_of_a_store_opens_the_same_store(name: str) -> None:
    store = FileStore(os.path.join("/base", name, "end"))
    assert root_of(store.url) == store.root


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/absolute",
        "..",
        "../up",
        "a/../b",
        "a//b",
        "a/",
        ".hidden",
        "a/.hidden",
        ".",
        "a\0b",
        "a\nb",
        "a\\b",
        "C:x",
        "a?",
        "nul",
        "NUL.txt",
        "com1.db",
        "dot.",
        "space ",
        "x" * 247,
        "\udcff",
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize(
    "name", ["a", "a.b", "a/b", "-a", "a b", "ü", "it's", "a;b", "$(x)", "x" * 246, "nullable", "a..b"]
)
def test_names_that_are_only_odd_are_kept(name: str) -> None:
    assert check_name(name) == name
    assert final_name(partial_name(name)) == name
    with pytest.raises(UsageError):
        check_name(partial_name(name))


@given(st.text())
def test_what_was_no_temporary_name_has_no_final_one(name: str) -> None:
    final = final_name(name)
    assert final == "" or partial_name(final) == name
