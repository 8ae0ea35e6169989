"""Which pages changed since the parent: a map of page digests, and the increment as an SQLite log."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Optional

from ...errors import DamagedError
from ..base import ArtifactStream, Sink
from .image import Image
from .wal import LogWriter

DIGEST_SIZE = 16


@dataclass(frozen=True)
class PageMap:
    """The first 16 bytes of each page's SHA-256: 4 MiB for 1 GiB of 4 KiB pages."""

    page_size: int
    digests: bytes

    def to_bytes(self) -> bytes:
        """A line of JSON, then the digests."""
        return json.dumps({"page_size": self.page_size}).encode() + b"\n" + self.digests

    @classmethod
    def from_bytes(cls, data: bytes) -> PageMap:
        """The map that :meth:`to_bytes` wrote. Raises ``DamagedError``."""
        head, newline, digests = data.partition(b"\n")
        try:
            page_size = json.loads(head)["page_size"]
        except (ValueError, KeyError, TypeError):
            page_size = 0
        if not newline or not isinstance(page_size, int) or page_size < 512 or len(digests) % DIGEST_SIZE:
            raise DamagedError("the page map of the parent is damaged", "the next backup is a full one")
        return cls(page_size, digests)


class ImageStream(ArtifactStream):
    """The database file; learns the page map on the way where one is wanted."""

    role = "db"
    suffix = ".db"

    def __init__(self, image: Image, keep_map: bool) -> None:
        self._image = image
        self._keep_map = keep_map
        self.page_map: Optional[PageMap] = None
        self.size_hint = image.size_bytes

    def pump(self, sink: Sink) -> None:
        """Write the image page by page."""
        digests = bytearray()
        size = self._image.page_size
        for chunk in self._image.chunks():
            if self._keep_map:
                view = memoryview(chunk)
                for start in range(0, len(chunk), size):
                    digests += hashlib.sha256(view[start : start + size]).digest()[:DIGEST_SIZE]
            sink.write(chunk)
        if self._keep_map:
            self.page_map = PageMap(size, bytes(digests))


class IncrementStream(ArtifactStream):
    """The pages that differ from the parent's map, as a log that turns the parent into this state.

    Page 1, which carries the file's change counter and size, comes last and commits.
    """

    role = "pages"
    suffix = ".db-wal"

    def __init__(self, image: Image, parent: PageMap) -> None:
        self._image = image
        self._parent = parent
        self.page_map: Optional[PageMap] = None
        self.image_sha256: Optional[str] = None
        self.changed_pages = 0

    def pump(self, sink: Sink) -> None:
        """Write the changed pages; every page is read and digested."""
        size = self._image.page_size
        log = LogWriter(size)
        sink.write(log.header)
        before = self._parent.digests
        digests = bytearray()
        whole = hashlib.sha256()
        first = b""
        for chunk in self._image.chunks():
            whole.update(chunk)
            view = memoryview(chunk)
            for start in range(0, len(chunk), size):
                page = view[start : start + size]
                position = len(digests)
                digest = hashlib.sha256(page).digest()[:DIGEST_SIZE]
                digests += digest
                if not position:
                    first = bytes(page)
                elif before[position : position + DIGEST_SIZE] != digest:
                    sink.write(log.frame(position // DIGEST_SIZE + 1, bytes(page)))
                    self.changed_pages += 1
        sink.write(log.frame(1, first, commit_pages=self._image.page_count))
        self.changed_pages += 1
        self.page_map = PageMap(size, bytes(digests))
        self.image_sha256 = whole.hexdigest()
