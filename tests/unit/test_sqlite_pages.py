"""An increment is exactly what changed, and makes the parent's image into this one."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.databases.sqlite.image import Image
from dbfleet.databases.sqlite.pages import ImageStream, IncrementStream, PageMap
from dbfleet.databases.sqlite.wal import replay
from dbfleet.errors import DamagedError

SIZE = 512
PAGES = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def data_of(pages: list[int]) -> bytes:
    return b"".join(bytes([number]) * SIZE for number in pages)


def image_of(data: bytes) -> Image:
    return Image(BytesIO(data), SIZE, len(data) // SIZE)


def map_of(data: bytes) -> PageMap:
    stream = ImageStream(image_of(data), keep_map=True)
    sink = BytesIO()
    stream.pump(sink)
    assert sink.getvalue() == data
    assert stream.page_map is not None
    return stream.page_map


@given(PAGES, PAGES)
def test_the_parent_and_the_increment_make_the_new_image(before: list[int], after: list[int]) -> None:
    old, new = data_of(before), data_of(after)
    stream = IncrementStream(image_of(new), map_of(old))
    sink = BytesIO()
    stream.pump(sink)
    result = bytearray(old)
    changed = 0
    for page, data, commit in replay([sink.getvalue()], SIZE):
        changed += 1
        result.extend(bytes(max(0, page * SIZE - len(result))))
        result[(page - 1) * SIZE : page * SIZE] = data
        if commit:
            del result[commit * SIZE :]
    assert bytes(result) == new
    assert stream.image_sha256 == sha256(new).hexdigest()
    assert stream.page_map == map_of(new)
    differing = sum(1 for i, page in enumerate(after) if i and (i >= len(before) or before[i] != page))
    assert changed == stream.changed_pages == differing + 1


@given(PAGES)
def test_a_map_survives_its_bytes(pages: list[int]) -> None:
    page_map = map_of(data_of(pages))
    assert PageMap.from_bytes(page_map.to_bytes()) == page_map


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"{}\n", b"no json\n", b'{"page_size": "x"}\n', b'{"page_size": 512}\n123']
)
def test_a_damaged_map_is_told(data: bytes) -> None:
    with pytest.raises(DamagedError):
        PageMap.from_bytes(data)


@pytest.mark.parametrize("keep_map", [False, True])
def test_a_map_is_kept_only_where_it_is_wanted(keep_map: bool) -> None:
    stream = ImageStream(image_of(data_of([1, 2])), keep_map)
    stream.pump(BytesIO())
    found: Optional[PageMap] = stream.page_map
    assert (found is not None) == keep_map
    assert stream.size_hint == 2 * SIZE
