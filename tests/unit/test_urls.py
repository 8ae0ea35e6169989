"""What a URL says without its secrets."""

from __future__ import annotations

import pytest

from dbfleet.urls import user_of


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("postgresql://dbfleet@127.0.0.1/app", "dbfleet"),
        ("postgresql://dbfleet:secret@h1:5432,h2:5433/app", "dbfleet"),
        ("postgresql://postgres@/app?host=/var/run/postgresql", "postgres"),
        ("postgresql:///app?host=/tmp&user=my%20app", "my app"),
        ("postgresql:///app?host=a@b", ""),
        ("mysql://dbfleet%27s@localhost/app?unix_socket=/run/s", "dbfleet's"),
        ("mysql://db1/app", ""),
        ("mysql://a%3Ab:c@db1/x@y", "a:b"),
    ],
)
def test_the_user_is_found_wherever_it_is_named(url: str, user: str) -> None:
    assert user_of(url) == user
