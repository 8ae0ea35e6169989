"""The zipapp's modules as byte code, in a file beside it: a start need not compile what it loads.

``dbfleet.pyz.DIGEST.cpython-311`` holds what Python 3.11 makes of the sources whose digest that is. ``__main__`` of the
zipapp (scripts/build_pyz.py) prefers it where its owner is that of the zipapp and nobody else can write it; whoever
can make such a file could as well replace the zipapp. Python reads byte code from zip files (PEP 273, PEP 552).
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import re
import sys
import zipfile
from typing import Optional

from .errors import DbfleetError, UsageError

MODE = 0o644
EARLIEST = (1980, 1, 1, 0, 0, 0)
UNCHECKED = 1  # flags of PEP 552: named by a hash of the source, which is not looked at again
_SUFFIX = r"\.[0-9a-f]{16}\.[a-z]+-[0-9]+"


def compile_archive(archive: str, digest: str) -> Optional[str]:
    """Make the file beside ``archive``, whose sources have ``digest``; its path, or ``None`` when it is there already.

    Files of other sources and Pythons go, because nothing will read them again. Raises ``UsageError`` when this is no
    zipapp, ``DbfleetError`` when the file cannot be written.
    """
    if not os.path.isfile(archive) or not zipfile.is_zipfile(archive):
        raise UsageError(f"{archive} is no zipapp, so Python keeps its byte code itself", "leave --compile out")
    folder, base = os.path.split(os.path.abspath(archive))
    name = f"{base}.{digest}.{sys.implementation.cache_tag}"
    path = os.path.join(folder, name)
    if os.path.isfile(path):
        return None
    partial = f"{path}.{os.getpid()}.new"
    try:
        with open(partial, "wb") as file:
            file.write(_compiled(archive))
        os.chmod(partial, MODE)
        os.replace(partial, path)
        for other in os.listdir(folder):
            if other != name and re.fullmatch(re.escape(base) + _SUFFIX, other):
                os.unlink(os.path.join(folder, other))
    except OSError as error:
        try:
            os.unlink(partial)
        except OSError:
            pass  # it was not made
        raise DbfleetError(
            f"{path} cannot be written: {error.strerror}", "run it as the owner of that folder"
        ) from None
    return path


def _compiled(archive: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(archive) as sources, zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as made:
        for name in sorted(sources.namelist()):
            if not name.endswith(".py") or name == "__main__.py":
                continue
            source = sources.read(name)
            code = compile(source, name, "exec", dont_inherit=True)
            head = importlib.util.MAGIC_NUMBER + UNCHECKED.to_bytes(4, "little") + importlib.util.source_hash(source)
            made.writestr(zipfile.ZipInfo(name + "c", EARLIEST), head + marshal.dumps(code))
            made.writestr(zipfile.ZipInfo(name, EARLIEST), source)  # what a traceback shows
    return buffer.getvalue()
