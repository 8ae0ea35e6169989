"""A listing reads manifests without decoding them: what it reads must be what decoding would give."""

from __future__ import annotations

from dataclasses import replace

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from dbfleet import manifests, names
from dbfleet.model import Artifact, Manifest
from dbfleet.outline import read_outline

SAMPLE = samples.make_manifest(samples.moment())
NASTY = st.text(
    st.one_of(st.sampled_from('\n "[]{},:\\'), st.characters(codec="utf-8")), max_size=30
) | st.sampled_from(['\n "artifacts": [', '\n ],\n "proof": {\n', '",\n "finished_at": "'])


def of(manifest: Manifest) -> tuple[object, ...]:
    """What an outline holds, of a whole manifest."""
    files = [(artifact.file, artifact.size_bytes) for artifact in manifest.artifacts]
    return (
        *(manifest.id, manifest.engine, manifest.type, manifest.parent),
        *(manifest.consistent_at, manifest.finished_at, files, manifest.digest, manifest.size_bytes),
    )


@given(NASTY, NASTY, st.lists(st.integers(0, 10**12), min_size=1, max_size=3), st.booleans())
def test_an_outline_is_what_decoding_gives(text: str, other: str, sizes: list[int], chained: bool) -> None:
    whole = replace(
        SAMPLE,
        source=replace(SAMPLE.source, database=text),
        notes=(text, other),
        restore_with=(other,),
        tools={text: other},
        position={other: text},
        parent="app_backup_20240101_000000" if chained else None,
        artifacts=tuple(
            Artifact(f"{SAMPLE.id}.{n}.zst", other, size, "a" * 64, 5, "b" * 64) for n, size in enumerate(sizes)
        ),
    )
    data = manifests.encode(whole)
    file = names.manifest_file(whole.id)
    outline = read_outline(data, file)
    decoded = manifests.decode_manifest(data, file)
    if outline is None:
        # never a wrong answer; only names that need escapes are left to decoding
        assert '"' in other or "\\" in other or any(ord(char) < 32 for char in other)
        return
    found = (*outline[:6], [tuple(file) for file in outline.artifacts], outline.digest, outline.size_bytes)
    assert found == of(decoded)


@pytest.mark.parametrize("position", range(0, 400, 20))
def test_a_changed_byte_leaves_no_outline(position: int) -> None:
    data = bytearray(manifests.encode(SAMPLE))
    data[position] ^= 1
    assert read_outline(bytes(data), names.manifest_file(SAMPLE.id)) is None


def test_the_manifest_of_another_backup_has_no_outline() -> None:
    data = manifests.encode(SAMPLE)
    assert read_outline(data, "app_backup_20200101_000000.manifest.json") is None
