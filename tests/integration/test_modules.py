"""The modules, run by the real Ansible on localhost: create, repeat, change, remove, and ways to fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_runs import Ansible, Run, interpreters, lay_out, make_database, rows_of

MODULES = ("backup", "backup_info", "health_info", "prune", "restore", "sync", "verify")
ENGINE_LIMIT_BYTES = 650_000  # more than any other module sends


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("collections"))


@pytest.fixture
def ansible(tmp_path: Path, collections: Path) -> Ansible:
    return Ansible(tmp_path, collections)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return make_database(tmp_path / "data" / "app.db")


def task(module: str, folder: Path, register: str, *, keys: bool = True, **options: Any) -> dict[str, Any]:
    """A task for ``module`` with the job ``app`` of ``folder``."""
    job = {
        "name": "app",
        "source": {"url": f"sqlite:///{folder}/data/app.db"},
        "repository": {"url": f"file://{folder}/backups"},
        "compression": {"method": "gzip"},
    }
    control = {name: options.pop(name) for name in ("check_mode", "diff", "ignore_errors") if name in options}
    arguments = {**(job if keys else {}), **options}
    return {"name": register, f"dbfleet.recovery.{module}": arguments, "register": register, **control}


def stored(folder: Path) -> set[str]:
    """Every file in the repository of ``folder``."""
    root = folder / "backups"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def later(register: str) -> dict[str, Any]:
    """A task that waits until the next backup has another second in its id."""
    return {"name": register, "ansible.builtin.wait_for": {"timeout": 1}}


@pytest.mark.parametrize("python", interpreters())
def test_create_repeat_change_remove(ansible: Ansible, database: Path, tmp_path: Path, python: str) -> None:
    keep_one = {"retention": {"keep_last": 1}}
    run, results = ansible.tasks(
        [
            task("backup", tmp_path, "first"),
            task("backup_info", tmp_path, "listed"),
            task("verify", tmp_path, "verified", level="restore"),
            task("backup_info", tmp_path, "proven", backup="latest"),
            task("restore", tmp_path, "restored", to=f"sqlite:///{tmp_path}/restored.db"),
            later("Wait"),
            task("backup", tmp_path, "second"),
            task("prune", tmp_path, "would_prune", check_mode=True, diff=True, **keep_one),
            task("prune", tmp_path, "pruned", diff=True, **keep_one),
            task("prune", tmp_path, "pruned_again", **keep_one),
            task("sync", tmp_path, "would_sync", to=f"file://{tmp_path}/offsite", check_mode=True),
            task("sync", tmp_path, "synced", to=f"file://{tmp_path}/offsite"),
            task("sync", tmp_path, "synced_again", to=f"file://{tmp_path}/offsite"),
            task("backup_info", tmp_path, "left", newest=1),
        ],
        python=python,
    )
    run.good()
    first, second = results["first"]["backup"]["id"], results["second"]["backup"]["id"]

    assert results["first"]["changed"]
    assert results["first"]["backup"]["proof"]["tables"]["prompts"]["rows"] == 100
    assert results["first"]["size_bytes"] == sum(one["size_bytes"] for one in results["first"]["backup"]["artifacts"])
    assert 0 < results["first"]["duration_seconds"] < 60

    assert not results["listed"]["changed"]
    assert [one["id"] for one in results["listed"]["backups"]] == [first]
    assert results["listed"]["states"][0]["state"] == "unproven"

    assert not results["verified"]["changed"]
    assert results["verified"]["results"] == [{"backup": first, "level": "restore", "ok": True, "findings": []}]
    assert results["proven"]["states"][0]["state"] == "good"

    assert results["restored"]["changed"]
    assert results["restored"]["restored"]["proven"] is True
    assert rows_of(tmp_path / "restored.db") == 100

    for result in (results["would_prune"], results["pruned"]):
        assert result["changed"]
        assert [one["id"] for one in result["kept"]] == [second]
        assert [one["id"] for one in result["removed"]] == [first]
        assert first in result["diff"]["before"]
        assert first not in result["diff"]["after"]
        assert second in result["diff"]["after"]
    assert not results["pruned_again"]["changed"]

    assert results["would_sync"]["changed"]
    assert results["synced"]["changed"]
    assert not results["synced_again"]["changed"]
    assert [one["id"] for one in results["left"]["backups"]] == [second]


def test_check_mode_changes_nothing_and_says_what_would_change(
    ansible: Ansible, database: Path, tmp_path: Path
) -> None:
    run, results = ansible.tasks([task("backup", tmp_path, "planned")], "--check")
    run.good()
    assert results["planned"]["changed"]
    assert "backup" not in results["planned"]
    assert results["planned"]["plan"]
    assert not (tmp_path / "backups").exists()

    ansible.tasks([task("backup", tmp_path, "made")])[0].good()
    before, data = stored(tmp_path), database.read_bytes()
    run, results = ansible.tasks(
        [
            task("backup", tmp_path, "planned"),
            task("verify", tmp_path, "verify"),
            task("prune", tmp_path, "prune"),
            task("sync", tmp_path, "sync", to=f"file://{tmp_path}/offsite"),
            task("restore", tmp_path, "restore", replace=True),
            task("restore", tmp_path, "beside", to=f"sqlite:///{tmp_path}/restored.db"),
        ],
        "--check",
        "--diff",
    )
    run.good()
    assert results["verify"]["would_verify"] == [results["restore"]["plan"]["backup"]]
    assert not results["verify"]["changed"]
    assert not results["prune"]["changed"]
    assert results["sync"]["changed"]
    assert results["restore"]["changed"]
    assert results["beside"]["changed"]
    assert stored(tmp_path) == before
    assert database.read_bytes() == data
    assert not (tmp_path / "restored.db").exists()
    assert not (tmp_path / "offsite").exists()


def test_a_restore_over_something_good_is_refused_unless_told_and_keeps_it(
    ansible: Ansible, database: Path, tmp_path: Path
) -> None:
    ansible.tasks([task("backup", tmp_path, "made")])[0].good()
    make_database(tmp_path / "other.db", rows=7)
    other = f"sqlite:///{tmp_path}/other.db"
    run, results = ansible.tasks(
        [
            task("restore", tmp_path, "would_refuse", to=other, ignore_errors=True, check_mode=True),
            task("restore", tmp_path, "refused", to=other, ignore_errors=True),
            task("restore", tmp_path, "would_replace", to=other, replace=True, check_mode=True, diff=True),
            task("restore", tmp_path, "replaced", to=other, replace=True, diff=True),
        ],
    )
    run.good()
    for name in ("would_refuse", "refused"):
        assert results[name]["failed"]
        assert results[name]["error"]["kind"] == "refused"
        assert results[name]["error"]["remedy"]
        assert "\n" not in results[name]["msg"]
    for name in ("would_replace", "replaced"):
        assert str(tmp_path / "other.db") in results[name]["diff"]["before"]
        assert results["replaced"]["restored"]["backup"] in results[name]["diff"]["after"]
    assert rows_of(tmp_path / "other.db") == 100
    assert rows_of(Path(results["replaced"]["restored"]["kept"])) == 7


def test_findings_fail_a_verification_unless_told_otherwise(ansible: Ansible, database: Path, tmp_path: Path) -> None:
    run, results = ansible.tasks([task("backup", tmp_path, "made")])
    backup = results["made"]["backup"]["id"]
    artifact = tmp_path / "backups" / results["made"]["backup"]["artifacts"][0]["file"]
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    artifact.write_bytes(data)
    run, results = ansible.tasks(
        [
            task("verify", tmp_path, "failing", backup=backup, level="checksum", ignore_errors=True),
            task("verify", tmp_path, "telling", backup=backup, level="checksum", fail_on_findings=False),
            task("backup_info", tmp_path, "listed"),
        ]
    )
    run.good()
    for name in ("failing", "telling"):
        assert results[name]["ok"] is False
        assert results[name]["results"][0]["findings"][0]["problem"]
    assert results["failing"]["failed"]
    assert artifact.name in results["failing"]["msg"]
    assert not results["telling"].get("failed")
    assert results["listed"]["states"][0]["state"] == "bad"


def test_an_installed_job_is_taken_with_options_stronger(ansible: Ansible, database: Path, tmp_path: Path) -> None:
    jobs = tmp_path / "etc" / "jobs.d"
    jobs.mkdir(parents=True)
    installed = {
        "source": {"url": f"sqlite:///{database}"},
        "repository": {"url": f"file://{tmp_path}/backups"},
    }
    (jobs / "app.json").write_text(json.dumps(installed))
    (jobs / "app.json").chmod(0o600)
    run, results = ansible.tasks(
        [
            task("backup", tmp_path, "made", keys=False, job="app", compression={"method": "gzip"}),
            task("backup", tmp_path, "missing", keys=False, ignore_errors=True, job="nobody"),
        ],
        DBFLEET_CONFIG_DIR=str(tmp_path / "etc"),
    )
    run.good()
    assert results["made"]["backup"]["name"] == "app"
    assert all(one["compression"] == "gzip" for one in results["made"]["backup"]["artifacts"])
    assert results["missing"]["error"]["kind"] == "not_found"


def test_wrong_options_are_refused_clearly(ansible: Ansible, tmp_path: Path) -> None:
    relative = {"source": {"url": "sqlite:///data/app.db"}}
    run, results = ansible.tasks(
        [
            task("backup", tmp_path, "relative", ignore_errors=True, **relative),
            task("backup", tmp_path, "misspelt", ignore_errors=True, compression={"metod": "gzip"}),
            task("backup", tmp_path, "duration", ignore_errors=True, limits={"timeout": "soon"}),
            task("backup", tmp_path, "missing", ignore_errors=True),
        ]
    )
    run.good()
    assert results["relative"]["error"]["kind"] == "usage"
    assert "metod" in results["misspelt"]["msg"]
    assert "limits.timeout" in results["duration"]["msg"]
    assert results["missing"]["error"]["kind"] == "not_found"
    assert not (tmp_path / "backups").exists()


def test_secrets_show_at_no_verbosity(ansible: Ansible, tmp_path: Path) -> None:
    secret = "t0p:s3cr3t"
    source = {"url": f"postgresql://app:{secret}@127.0.0.1:1/app"}
    run, results = ansible.tasks(
        [
            task("backup", tmp_path, "failed", ignore_errors=True, source=source),
            task("backup_info", tmp_path, "listed", ignore_errors=True, source=source),
            task("restore", tmp_path, "restored", ignore_errors=True, to=source["url"]),
        ],
        "-vvv",
    )
    run.good()
    assert results["failed"]["failed"]
    assert "********" in run.output
    assert secret not in run.output
    assert secret not in str(results)


def test_what_travels_with_a_module_stays_small(ansible: Ansible, database: Path, tmp_path: Path) -> None:
    run = payloads(ansible, tmp_path)
    sizes = {
        path.name[len("AnsiballZ_") : -len(".py")]: path.stat().st_size
        for path in (tmp_path / "remote").rglob("AnsiballZ_*.py")
    }
    assert set(MODULES) <= set(sizes), run.output
    ansible_itself = sizes["stat"]  # part of the copy task that keeps the results
    engine = {module: sizes[module] - ansible_itself for module in MODULES}
    assert max(engine.values()) < ENGINE_LIMIT_BYTES, engine
    assert engine["backup_info"] < engine["backup"], "a listing needs no databases"


def payloads(ansible: Ansible, tmp_path: Path) -> Run:
    """Run every module in check mode, and keep what Ansible sends to the host in ``remote``."""
    to = {
        "sync": {"to": f"file://{tmp_path}/offsite"},
        "restore": {"to": f"sqlite:///{tmp_path}/restored.db"},
    }
    return ansible.tasks(
        [task(module, tmp_path, module, ignore_errors=True, **to.get(module, {})) for module in MODULES],
        "--check",
        ANSIBLE_KEEP_REMOTE_FILES="1",
        ANSIBLE_REMOTE_TEMP=str(tmp_path / "remote"),
    )[0]
