"""Verify finds what is wrong, says it exactly, and mistakes neither a missing key for damage nor damage for a key."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conformance_jobs import made
from sqlite_lab import ask, flip, job_of, make, own_state, run_sql, sample

from dbfleet import manifests
from dbfleet.catalog import read_catalog
from dbfleet.cli import main
from dbfleet.errors import DbfleetError, KeyMaterialError, NotFoundError, UsageError
from dbfleet.model import Compression, Encryption, Job, Manifest, ProofPolicy, QueryProof, TableProof
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import VerifyResult, verify
from dbfleet.stores.registry import open_store

__all__ = ["own_state"]

LEVELS = ["checksum", "structure", "restore"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return sample(tmp_path / "app.db", rows=40)


@pytest.fixture
def job(source: Path, tmp_path: Path) -> Job:
    return job_of(source, tmp_path / "backups", proof=ProofPolicy("content", ("SELECT count(*) FROM runs",)))


def findings(results: list[VerifyResult]) -> str:
    return "\n".join(f"{one.object}: {one.problem}" for result in results for one in result.findings)


def rewrite(job: Job, manifest: Manifest, **changed: object) -> Manifest:
    """Another manifest in the place of ``manifest``, with a right digest: what a liar would write."""
    path = Path(job.repository.url) / f"{manifest.id}.manifest.json"
    liar = manifests.seal(replace(manifest, **changed))  # type: ignore[arg-type]
    path.write_bytes(manifests.encode(liar))
    return liar


# --- what is sound ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_a_sound_backup_passes_and_leaves_a_record(level: str, job: Job, tmp_path: Path) -> None:
    manifest = made(job)
    (result,) = verify(job, "latest", level)
    assert (result.backup, result.level, result.ok, result.findings) == (manifest.id, level, True, ())
    (record,) = (tmp_path / "backups").glob(f"{manifest.id}.proof-*.json")
    found = manifests.decode_proof(record.read_bytes(), record.name)
    assert (found.ok, found.level, found.manifest_digest) == (True, level, manifest.digest)
    if level == "restore":
        assert found.measured is not None
        assert found.measured.tables == manifest.proof.tables
        assert found.measured.queries == manifest.proof.queries
    assert read_catalog(open_store(job.repository.url), "app").standing(manifest.id).state == "good"
    verify(job, "latest", level)
    assert len(list((tmp_path / "backups").glob("*.proof-*.json"))) == 2, "a record never replaces another"
    assert not list((tmp_path / "scratch").iterdir())


def test_which_backups_are_verified(job: Job) -> None:
    first, second = made(job), made(job)
    assert [result.backup for result in verify(job, "all", "checksum")] == [first.id, second.id]
    assert [result.backup for result in verify(job, "latest", "checksum")] == [second.id]
    assert [result.backup for result in verify(job, first.id, "checksum")] == [first.id]
    with pytest.raises(NotFoundError):
        verify(job, "app_backup_20000101_000000", "checksum")
    with pytest.raises(UsageError):
        verify(job, "latest", "deep")


def test_nothing_to_verify_is_an_error_and_no_success(job: Job, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        verify(job, "all", "checksum")
    (tmp_path / "backups").mkdir()
    with pytest.raises(NotFoundError):
        verify(job, "all", "checksum")


# --- stored bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_every_flipped_byte_of_an_artifact_is_noticed(compression: str, tmp_path: Path) -> None:
    source = make(tmp_path / "app.db", "CREATE TABLE t(a); INSERT INTO t VALUES('x')", page_size=512)
    job = job_of(source, tmp_path / "backups", compression=Compression(compression))
    manifest = made(job)
    missed = []
    for artifact in manifest.artifacts:
        path = tmp_path / "backups" / artifact.file
        for offset in range(artifact.size_bytes):
            flip(path, offset, 1 << offset % 8)
            if verify_only(job, manifest).ok:
                missed.append((artifact.file, offset))
            flip(path, offset, 1 << offset % 8)
    assert not missed
    assert verify_only(job, manifest).ok, "it was the flips that were found"


def verify_only(job: Job, manifest: Manifest) -> VerifyResult:
    """One verification, and its record taken away again."""
    (result,) = verify(job, manifest.id, "checksum")
    for record in Path(job.repository.url).glob("*.proof-*.json"):
        record.unlink()
    return result


def test_every_flipped_byte_of_the_manifest_is_noticed(job: Job, tmp_path: Path) -> None:
    manifest = made(job)
    path = tmp_path / "backups" / f"{manifest.id}.manifest.json"
    size = path.stat().st_size
    missed = []
    for offset in range(size):
        flip(path, offset, 1 << offset % 8)
        results = verify(job, "all", "checksum")
        if all(result.ok for result in results) or manifest.id not in findings(results):
            missed.append(offset)
        flip(path, offset, 1 << offset % 8)
    assert not missed
    assert all(result.ok for result in verify(job, "all", "checksum"))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("harm", "problem"),
    [("cut", "bytes instead of"), ("longer", "bytes instead of"), ("flipped", "SHA-256"), ("gone", "missing")],
)
@pytest.mark.parametrize("role", ["db", "sql"])
def test_a_harmed_artifact_is_found_at_every_level_and_named(
    harm: str, problem: str, role: str, level: str, job: Job, tmp_path: Path
) -> None:
    manifest = made(job)
    artifact = next(one for one in manifest.artifacts if one.role == role)
    path = tmp_path / "backups" / artifact.file
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "flipped":
        flip(path, len(data) // 3)
    else:
        path.write_bytes(data[:-1] if harm == "cut" else data + b"x")
    (result,) = verify(job, manifest.id, level)
    assert not result.ok
    (finding,) = result.findings
    assert finding.object == artifact.file
    assert problem in finding.problem and finding.remedy
    standing = read_catalog(open_store(job.repository.url), "app").standing(manifest.id)
    assert standing.state == "bad"


def test_a_damaged_manifest_and_a_missing_one_are_findings_of_all(job: Job, tmp_path: Path) -> None:
    first, second, third = made(job), made(job), made(job)
    (tmp_path / "backups" / f"{first.id}.manifest.json").write_bytes(b"{}")
    (tmp_path / "backups" / f"{second.id}.manifest.json").unlink()
    results = verify(job, "all", "checksum")
    told = findings(results)
    assert f"{first.id}: {first.id}.manifest.json is damaged" in told
    assert f"{third.id}: the backup before it is gone" in told
    assert [result.ok for result in results if result.backup == third.id] == [True]


def test_a_record_of_a_newer_version_is_not_called_damage(job: Job, tmp_path: Path) -> None:
    manifest = made(job)
    path = tmp_path / "backups" / f"{manifest.id}.manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"schema": 1', b'"schema": 2'))
    results = verify(job, "all", "checksum")
    assert "upgrade dbfleet" in " ".join(one.remedy for result in results for one in result.findings)
    assert "damaged" not in findings(results)
    with pytest.raises(DbfleetError) as caught:
        restore(job, manifest.id, to=str(tmp_path / "new.db"))
    assert caught.value.kind == "newer"


# --- keys -------------------------------------------------------------------------------------


def passphrase(tmp_path: Path) -> Encryption:
    secret = tmp_path / "passphrase"
    secret.write_text("right\n")
    secret.chmod(0o600)
    return Encryption("gpg", passphrase_file=str(secret))


def identity(tmp_path: Path) -> Encryption:
    file = tmp_path / "identity"
    told = subprocess.run(["age-keygen", "-o", str(file)], capture_output=True, text=True, check=True).stderr
    return Encryption("age", (told.split()[-1],), identity_file=str(file))


@pytest.mark.parametrize("make_key", [passphrase, identity])
def test_a_wrong_or_missing_key_is_an_error_and_no_finding(make_key: object, job: Job, tmp_path: Path) -> None:
    encryption = make_key(tmp_path)  # type: ignore[operator]
    job = replace(job, encryption=encryption)
    manifest = made(job)
    assert verify(job, "latest", "restore")[0].ok
    key = Path(encryption.passphrase_file or encryption.identity_file or "")
    right = key.read_bytes()
    records = len(list((tmp_path / "backups").glob("*.proof-*")))
    key.unlink()
    wrong = make_key(tmp_path)  # type: ignore[operator]
    if encryption.method == "gpg":
        key.write_text("wrong\n")
    for keys in (replace(job, encryption=replace(wrong, recipients=())), replace(job, encryption=Encryption())):
        assert verify(keys, "latest", "checksum")[0].ok, "stored bytes need no key"
        records += 1
        for level in ("structure", "restore"):
            with pytest.raises(KeyMaterialError):
                verify(keys, "latest", level)
        with pytest.raises(KeyMaterialError):
            restore(keys, "latest", to=str(tmp_path / "new.db"))
    assert len(list((tmp_path / "backups").glob("*.proof-*"))) == records
    assert not (tmp_path / "new.db").exists()
    key.write_bytes(right)
    flip(tmp_path / "backups" / manifest.artifacts[0].file, 3)
    (result,) = verify(job, "latest" if make_key is identity else manifest.id, "structure")
    assert not result.ok, "a damaged header is damage, not a key that does not fit"


def test_a_host_with_recipients_only_can_back_up_but_not_read(job: Job, tmp_path: Path) -> None:
    encryption = replace(identity(tmp_path), identity_file=None)
    job = replace(job, encryption=encryption)
    manifest = made(job)
    data = b"".join((tmp_path / "backups" / one.file).read_bytes() for one in manifest.artifacts)
    assert b"SQLite format" not in data and b"CREATE TABLE" not in data
    with pytest.raises(KeyMaterialError):
        restore(job, "latest", to=str(tmp_path / "new.db"))


# --- content ----------------------------------------------------------------------------------


def test_structure_finds_a_damaged_database_that_was_stored_faithfully(tmp_path: Path) -> None:
    source = sample(tmp_path / "app.db", rows=2000)
    data = bytearray(source.read_bytes())
    for page in range(4, len(data) // 4096, 3):
        data[page * 4096 : page * 4096 + 64] = os.urandom(64)
    source.write_bytes(data)
    job = job_of(source, tmp_path / "backups", method="physical", proof=ProofPolicy("none"))
    made(job)
    assert verify(job, "latest", "checksum")[0].ok
    (result,) = verify(job, "latest", "structure")
    assert not result.ok and result.findings


def test_an_index_that_lost_a_row_is_found_by_structure(tmp_path: Path) -> None:
    """What ``quick_check`` does not look at: the index disagrees with its table."""
    source = make(
        tmp_path / "app.db", "CREATE TABLE t(a, b); CREATE INDEX i ON t(a); INSERT INTO t VALUES(1, 2), (3, 4)"
    )
    sql = "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE INDEX i ON t(b)' WHERE name = 'i'"
    run_sql(source, sql)
    assert ask(source, "PRAGMA quick_check") == [("ok",)]
    job = job_of(source, tmp_path / "backups", method="physical")
    made(job)
    (result,) = verify(job, "latest", "structure")
    assert "missing from index i" in findings([result])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("tables", "table runs: 40 rows, 41 were backed up"),
        ("digest", "table runs: 40 rows as expected, but other content"),
        ("schema", "schema: other tables"),
        ("query", "query SELECT count(*) FROM runs: 1 rows as expected, but another answer"),
        ("missing table", "table nowhere: missing, 3 rows were backed up"),
    ],
)
def test_restore_compares_table_by_table_and_query_by_query(change: str, told: str, job: Job) -> None:
    """The manifest claims more than the data holds: only a full restore can tell."""
    manifest = made(job)
    proof = manifest.proof
    runs, query = proof.tables["runs"], proof.queries[0]
    lies = {
        "tables": replace(proof, tables={**proof.tables, "runs": TableProof(41, runs.digest)}),
        "digest": replace(proof, tables={**proof.tables, "runs": TableProof(40, "0" * 64)}),
        "schema": replace(proof, schema_sha256="0" * 64),
        "query": replace(proof, queries=(QueryProof(query.sql, query.rows, "0" * 64), *proof.queries[1:])),
        "missing table": replace(proof, tables={**proof.tables, "nowhere": TableProof(3, runs.digest)}),
    }
    rewrite(job, manifest, proof=lies[change])
    (result,) = verify(job, "latest", "restore")
    assert not result.ok
    assert told in findings([result])


def test_a_sql_that_says_something_else_is_found_though_the_db_is_right(job: Job, source: Path, tmp_path: Path) -> None:
    """Swap the .sql of two backups, with digests to match: the bytes are right, the content is not."""
    first = made(job)
    run_sql(source, "DELETE FROM runs WHERE id = 1")
    second = made(job)
    sqls = [next(one for one in manifest.artifacts if one.role == "sql") for manifest in (first, second)]
    (tmp_path / "backups" / sqls[1].file).write_bytes((tmp_path / "backups" / sqls[0].file).read_bytes())
    lie = tuple(replace(sqls[0], file=one.file) if one.role == "sql" else one for one in second.artifacts)
    rewrite(job, second, artifacts=lie)
    assert verify(job, second.id, "checksum")[0].ok
    (result,) = verify(job, second.id, "structure")
    assert f"{sqls[1].file}: table runs: 40 rows, 39 were backed up" in findings([result])


def test_a_sql_that_does_not_load_is_found(job: Job, tmp_path: Path) -> None:
    from hashlib import sha256

    job = replace(job, compression=Compression("none"))
    manifest = made(job)
    sql = next(one for one in manifest.artifacts if one.role == "sql")
    path = tmp_path / "backups" / sql.file
    text = path.read_bytes().replace(b"CREATE INDEX", b"CREATE INDXE")
    path.write_bytes(text)
    digest = sha256(text).hexdigest()
    lie = replace(sql, size_bytes=len(text), sha256=digest, raw_size_bytes=len(text), raw_sha256=digest)
    rewrite(job, manifest, artifacts=tuple(lie if one.role == "sql" else one for one in manifest.artifacts))
    assert verify(job, "latest", "checksum")[0].ok
    (result,) = verify(job, "latest", "structure")
    assert sql.file in findings([result]) and "INDXE" in findings([result])


def test_a_chain_is_verified_with_what_it_needs(job: Job, source: Path, tmp_path: Path) -> None:
    job = replace(job, type="auto")
    full = made(job)
    run_sql(source, "UPDATE prompts SET score = -1")
    step = made(job)
    run_sql(source, "UPDATE prompts SET score = -2")
    last = made(job)
    assert all(result.ok for result in verify(job, "all", "restore"))
    flip(tmp_path / "backups" / step.artifacts[0].file, 100)
    assert [result.ok for result in verify(job, "all", "structure")[:3]] == [True, False, False]
    assert step.artifacts[0].file in findings(verify(job, last.id, "restore"))
    assert verify(job, full.id, "restore")[0].ok
    restore(job, "latest", to=str(tmp_path / "new.db"))
    assert ask(tmp_path / "new.db", "SELECT min(score) > 0 FROM prompts") == [(1,)], "latest is the full one"


# --- the user's own program -------------------------------------------------------------------


@pytest.mark.parametrize(("code", "ok"), [("0", True), ("1", False)])
def test_a_users_program_must_find_the_restored_database_good(code: str, ok: bool, job: Job) -> None:
    program = (
        "import os, sqlite3, sys; path = os.environ['DBFLEET_RESTORED']; "
        "rows = sqlite3.connect(path).execute('SELECT count(*) FROM runs').fetchone()[0]; "
        f"sys.exit({code} if rows == 40 else 9)"
    )
    manifest = made(job)
    job = replace(job, proof=replace(job.proof, command=(sys.executable, "-c", program)))
    (result,) = verify(job, manifest.id, "restore")
    assert result.ok == ok
    if not ok:
        assert "exit status 1" in findings([result])
    assert verify(job, manifest.id, "structure")[0].ok, "only a full restore runs it"


def test_a_program_that_is_missing_is_told(job: Job) -> None:
    made(job)
    job = replace(job, proof=replace(job.proof, command=("/nowhere/check",)))
    try:
        (result,) = verify(job, "latest", "restore")
        assert "not installed" in findings([result])
    except DbfleetError as error:
        assert "not installed" in error.message


# --- the command ------------------------------------------------------------------------------


def test_exit_status_3_means_that_something_is_wrong_and_lists_it(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = made(job)
    line = ["verify", "all", "--repository", str(tmp_path / "backups"), "--name", "app", "--json"]
    assert main(line) == 0
    flip(tmp_path / "backups" / manifest.artifacts[1].file, 9)
    capsys.readouterr()
    assert main(line) == 3
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (result["backup"], result["ok"]) == (manifest.id, False)
    assert result["findings"][0]["object"] == manifest.artifacts[1].file
    assert main([*line[:2], "--repository", str(tmp_path / "nowhere"), "--name", "app"]) == 1
    assert main([*line, "--level", "deep"]) == 2
