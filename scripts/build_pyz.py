"""Build build/dbfleet.pyz: the command in one file, for hosts without Ansible.

Usage: build_pyz.py [PATH]

The same source gives the same bytes, whatever Python (3.9 or newer) and system builds it: files
are sorted and stored with fixed times and modes, and not compressed, because compressors differ
(and the command starts faster). Only the standard library is needed.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "plugins" / "module_utils" / "dbfleet"
SHEBANG = b"#!/usr/bin/env python3\n"
# This one is compiled by any Python 3, so that an old one can say what is wrong.
MAIN = b"""\
import os
import stat
import sys

if sys.version_info < (3, 9):
    sys.exit("dbfleet: this is Python %d.%d\\n  remedy: use Python 3.9 or newer" % sys.version_info[:2])

ARCHIVE, DIGEST = os.path.realpath(sys.path[0]), "@DIGEST@"


def compiled():
    # dbfleet.compiled makes it. Nobody but the owner of this file may have written it.
    path = "%s.%s.%s" % (ARCHIVE, DIGEST, sys.implementation.cache_tag)
    try:
        this, found = os.stat(ARCHIVE), os.lstat(path)
    except OSError:
        return []
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == this.st_uid
    return [path] if ours and (os.name == "nt" or not found.st_mode & 0o022) else []


sys.path[:0] = compiled()

from dbfleet.cli import main

sys.exit(main(zipapp=(ARCHIVE, DIGEST)))
"""
EARLIEST = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can state


def build(package: Path) -> bytes:
    """The bytes of the zipapp of ``package``."""
    sources = {}
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        name = f"{package.name}/{path.relative_to(package).as_posix()}"
        sources[name] = path.read_bytes().replace(b"\r\n", b"\n")
    digest = hashlib.sha256()
    for name, data in sources.items():
        digest.update(b"%d %s %d " % (len(name), name.encode(), len(data)) + data)
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "__main__.py", MAIN.replace(b"@DIGEST@", digest.hexdigest()[:16].encode()))
        for name, data in sources.items():
            _add(archive, name, data)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.create_system = 3  # Unix, also when Windows builds it
    entry.external_attr = 0o100644 << 16
    archive.writestr(entry, data)


def main() -> int:
    """Write the file in one step, so that a running scheduler never sees half of it."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "dbfleet.pyz"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(build(PACKAGE))
        partial.chmod(0o755)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
