"""Promise 6: an ``sftp://`` URL and the names in it are data; promise 5: no secret of it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.errors import UsageError
from dbfleet.stores.registry import open_store
from dbfleet.stores.sftp.store import SftpStore
from dbfleet.stores.sftp.url import Place, parent, parse_url, shown


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("sftp://host/srv/app", Place("host", 22, None, "/srv/app")),
        ("sftp://user@host:2222/srv/app/", Place("host", 2222, "user", "/srv/app")),
        ("SFTP://user@backups.example//srv/./app", Place("backups.example", 22, "user", "/srv/app")),
        ("sftp://user@host/~/app", Place("host", 22, "user", "app")),
        ("sftp://user@host/~", Place("host", 22, "user", ".")),
        ("sftp://user@host/", Place("host", 22, "user", "/")),
        ("sftp://a%40b@host/with%20space/%C3%BC/100%25/%3F%23", Place("host", 22, "a@b", "/with space/ü/100%/?#")),
        ("sftp://u@[::1]:22/x", Place("::1", 22, "u", "/x")),
        ("sftp://u@[fe80::1%eth0]/x", Place("fe80::1%eth0", 22, "u", "/x")),
        ("sftp://u@host/$(touch x);`y`", Place("host", 22, "u", "/$(touch x);`y`")),
        ("sftp://u@host/~other/x", Place("host", 22, "u", "/~other/x")),
    ],
)
def test_urls_mean_places(url: str, place: Place) -> None:
    assert parse_url(url) == place


@pytest.mark.parametrize(
    "url",
    [
        "sftp://",
        "sftp:///srv/app",
        "sftp://host",
        "sftp://@host/x",
        "sftp://host:0/x",
        "sftp://host:65536/x",
        "sftp://host:ssh/x",
        "sftp://ho st/x",
        "sftp://-oProxyCommand=x/x",
        "sftp://-l@host/x",
        "sftp://u%00@host/x",
        "sftp://host/a/../b",
        "sftp://host/%2e%2e/b",
        "sftp://host/a%00b",
        "sftp://host/x?key=1",
        "sftp://host/x#1",
        "sftp://[::1/x",
    ],
)
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(url)
    assert caught.value.remedy or "zero byte" in caught.value.message


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        open_store("sftp://user:hunter2@host/path")
    assert "hunter2" not in str(caught.value)
    assert "password_file" in caught.value.remedy


def test_opening_touches_nothing_and_hides_the_account() -> None:
    store = open_store("sftp://user@no-such-host.invalid/srv/app")
    assert isinstance(store, SftpStore)
    assert store.url == "sftp://no-such-host.invalid/srv/app"


HOSTS = st.sampled_from(["host", "::1", "10.0.0.1"])
PATHS = st.lists(
    st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1).filter(
        lambda part: part not in (".", "..", "~")
    ),
    min_size=1,
).map("/".join)


@given(HOSTS, st.integers(1, 65535), PATHS, st.booleans())
def test_the_url_that_is_shown_means_the_same_place(host: str, port: int, path: str, home: bool) -> None:
    place = Place(host, port, "us er@x", path if home else "/" + path)
    again = parse_url(shown(place))
    assert again._replace(user=place.user) == place
    assert not home or again.user == place.user


def test_a_path_that_is_no_text_is_shown_and_read_again() -> None:
    place = parse_url("sftp://host/srv/r%E9p")
    assert shown(place) == "sftp://host/srv/r%E9p" and parse_url(shown(place)) == place


def test_parents_end_at_the_top() -> None:
    assert [parent(path) for path in ("/a/b", "/a", "/", "a/b", "a", ".")] == ["/a", "/", "/", "a", ".", "."]
