"""The doors for Ansible: documentation, argument specs and the key table agree, and secrets stay secret."""

from __future__ import annotations

import importlib
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("backup", "backup_info", "health_info", "prune", "restore", "sync", "verify")
PLAYBOOKS = ("backup", "list", "pitr", "prune", "restore", "verify")


def plugin(name: str) -> Any:
    """``plugins/…`` of this checkout, importable with the relative imports that Ansible gives it."""
    if "dbfleet_plugins" not in sys.modules:
        package = types.ModuleType("dbfleet_plugins")
        package.__path__ = [str(ROOT / "plugins")]
        sys.modules["dbfleet_plugins"] = package
    return importlib.import_module(f"dbfleet_plugins.{name}")


glue = plugin("module_utils._module")
absolute = plugin("module_utils.dbfleet.absolute")
keys = plugin("module_utils.dbfleet.keys")
errors = plugin("module_utils.dbfleet.errors")
JOB_DOCS = yaml.safe_load(plugin("doc_fragments.job").ModuleDocFragment.DOCUMENTATION)["options"]


class Ended(Exception):
    """A module that has ended, with its result."""


def spec_of(module: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The argument spec that ``module`` gives to AnsibleModule."""

    def capture(self: Any, argument_spec: dict[str, Any], supports_check_mode: bool) -> None:
        assert supports_check_mode
        raise Ended(argument_spec)

    monkeypatch.setattr(basic.AnsibleModule, "__init__", capture)
    with pytest.raises(Ended) as ended:
        plugin(f"modules.{module}").main()
    return ended.value.args[0]


def docs_of(module: str) -> dict[str, Any]:
    """The documentation of ``module`` with its fragments, merged as ansible-doc does."""
    docs = yaml.safe_load(plugin(f"modules.{module}").DOCUMENTATION)
    for name in docs["extends_documentation_fragment"]:
        _namespace, _collection, fragment, *section = name.split(".")
        found = getattr(
            plugin(f"doc_fragments.{fragment}").ModuleDocFragment, (section or ["documentation"])[0].upper()
        )
        for part, content in yaml.safe_load(found).items():
            if isinstance(content, dict):
                for key, value in content.items():
                    docs.setdefault(part, {})[key] = {**value, **docs.get(part, {}).get(key, {})}
    return docs


def shape(options: dict[str, Any], inner: str) -> dict[str, Any]:
    """What counts in a spec (``inner`` is ``options``) or its documentation (``suboptions``)."""
    return {
        name: {
            "type": option.get("type", "str"),
            "elements": option.get("elements"),
            "choices": option.get("choices"),
            "default": option.get("default"),
            "required": option.get("required", False),
            "options": shape(option.get(inner, {}), inner),
        }
        for name, option in options.items()
    }


@pytest.mark.parametrize("module", MODULES)
def test_what_is_documented_is_what_is_accepted(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shape(docs_of(module)["options"], "suboptions") == shape(spec_of(module, monkeypatch), "options")


def test_the_options_of_a_job_are_the_key_table() -> None:
    spec = glue.argument_spec()
    paths = {
        f"{head}.{field}" if option.get("options") else head
        for head, option in spec.items()
        for field in option.get("options", {"": None})
    }
    assert paths == {key.path for key in keys.KEYS} | {"job"}


@pytest.mark.parametrize("key", keys.KEYS, ids=lambda key: key.path)
def test_the_documented_default_is_the_one_of_the_key_table(key: Any) -> None:
    docs = JOB_DOCS[key.group]["suboptions"][key.field] if key.group else JOB_DOCS[key.path]
    text = " ".join([docs["description"]] if isinstance(docs["description"], str) else docs["description"])
    assert "default" not in docs, "a default here would be stronger than the installed job"
    if key.default not in (None, ()):
        shown = f"{key.default:04o}" if key.kind == "mode" else str(key.default)
        assert f"The default is V({shown})" in text
    for choice in key.choices:
        assert choice in docs["choices"]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_promises(module: str) -> None:
    docs = docs_of(module)
    assert set(docs["attributes"]) == {"check_mode", "diff_mode", "idempotent", "platform", "action_group"}
    assert all("support" in attribute and "description" in attribute for attribute in docs["attributes"].values())
    groups = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())["action_groups"]
    assert module in groups["recovery"]


@pytest.mark.parametrize("module", MODULES)
def test_examples_use_options_that_exist(module: str) -> None:
    tasks = yaml.safe_load(plugin(f"modules.{module}").EXAMPLES)
    options = docs_of(module)["options"]
    used = [task[f"dbfleet.recovery.{module}"] for task in tasks if f"dbfleet.recovery.{module}" in task]
    assert used
    for arguments in used:
        for name, value in (arguments or {}).items():
            assert name in options
            assert set(value if isinstance(value, dict) else {}) <= set(options[name].get("suboptions", {}))


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbooks_pass_every_key_of_a_job(playbook: str) -> None:
    heads = {key.group or key.path for key in keys.KEYS} | {"job"}
    known = yaml.safe_load((ROOT / "playbooks/vars/jobs.yml").read_text())["dbfleet_keys"]
    assert set(known) == heads
    calls = list(module_calls(yaml.safe_load((ROOT / f"playbooks/{playbook}.yml").read_text())))
    assert calls
    for arguments in calls:
        assert heads <= set(arguments)
        for head in heads:
            assert arguments[head] == "{{ dbfleet_item." + head + " | default(omit) }}"


def module_calls(node: Any) -> Any:
    """The arguments of every module of this collection in a playbook."""
    for child in node if isinstance(node, list) else node.values():
        if isinstance(child, (dict, list)):
            yield from module_calls(child)
    if isinstance(node, dict):
        yield from (value for name, value in node.items() if str(name).startswith("dbfleet.recovery."))


# --- the job of a module's options ---------------------------------------------------------


def params(**given: Any) -> dict[str, Any]:
    """A module's params as AnsibleModule makes them: every option, and every suboption of a given one."""
    return {
        name: {**dict.fromkeys(option["options"]), **given[name]}
        if "options" in option and name in given
        else given.get(name)
        for name, option in glue.argument_spec().items()
    }


REPOSITORY = {"url": "file:///var/backups/app"}


def test_options_that_are_not_given_leave_the_defaults() -> None:
    job = glue.job_from_params(params(name="app", repository=REPOSITORY), name_needed=True)
    assert (job.compression.method, job.limits.parallel, job.repository.file_mode) == ("zstd", 2, 0o600)


def test_given_options_are_stronger_than_the_installed_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "jobs.d"
    folder.mkdir()
    job_file = folder / "app.json"
    job_file.write_text(
        json.dumps({"repository": REPOSITORY, "compression": {"method": "gzip", "level": 9}, "type": "auto"})
    )
    job_file.chmod(0o600)
    monkeypatch.setenv("DBFLEET_CONFIG_DIR", str(tmp_path))
    job = glue.job_from_params(params(job="app", compression={"level": 1}), name_needed=True)
    assert (job.name, job.type, job.compression.method, job.compression.level) == ("app", "auto", "gzip", 1)


def test_the_environment_of_a_managed_host_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP_DIR", "/elsewhere")
    monkeypatch.setenv("DATABASE_URL", "sqlite:////elsewhere.db")
    monkeypatch.setenv("DBFLEET_COMPRESSION_LEVEL", "19")
    job = glue.job_from_params(params(name="app", repository=REPOSITORY), name_needed=True)
    assert (job.repository.url, job.source, job.compression.level) == (REPOSITORY["url"], None, None)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"source": {"url": "sqlite:///data/app.db"}}, "source.url"),
        ({"source": {"url": "sqlite:///./app.db"}}, "source.url"),
        ({"repository": {"url": "backups"}}, "repository.url"),
        ({"repository": {"url": "./backups"}}, "repository.url"),
        ({"repository": {"url": "file://backups"}}, "repository.url"),
        ({"retention": {"archive_to": "archive", "archive_after": "30d"}}, "retention.archive_to"),
        ({"encryption": {"passphrase_file": "secret"}}, "encryption.passphrase_file"),
    ],
)
def test_relative_paths_are_refused_with_a_remedy(given: dict[str, Any], path: str) -> None:
    with pytest.raises(errors.UsageError, match=f"{path}.* relative") as refused:
        glue.job_from_params(params(**{"name": "app", "repository": REPOSITORY, **given}), name_needed=True)
    assert "absolute" in refused.value.remedy


@given(st.text(min_size=1).filter(lambda path: not path.startswith(("/", "~")) and path != ":memory:"))
def test_no_relative_sqlite_url_passes(path: str) -> None:
    with pytest.raises(errors.UsageError):
        absolute.absolute_url("sqlite:///" + path, called="source.url")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/app.db",
        "file:///srv/x",
        "/srv/x",
        "s3://bucket/x",
        "postgresql://db1/app",
        "sqlite://",
    ],
)
def test_urls_that_need_no_folder_pass(url: str) -> None:
    assert absolute.absolute_url(url, called="source.url") == url


def test_a_number_as_mode_is_refused() -> None:
    with pytest.raises(errors.UsageError, match="repository.file_mode"):
        glue.job_from_params(params(name="app", repository={**REPOSITORY, "file_mode": 600}), name_needed=True)


# --- secrets and errors --------------------------------------------------------------------


class Module:
    """As much of an AnsibleModule as the glue touches."""

    def __init__(self, **given: Any) -> None:
        self.params = params(**given)
        urls = [(given.get(group) or {}).get("url") for group in ("source", "repository")]
        self.no_log_values = {url for url in urls if url}

    def exit_json(self, **result: Any) -> None:
        raise Ended(result)

    def fail_json(self, **result: Any) -> None:
        raise Ended({"failed": True, **result})


def test_every_url_is_hidden_before_the_module_looks_at_it() -> None:
    spec = glue.argument_spec()
    for key in keys.KEYS:
        option = spec[key.group]["options"][key.field] if key.group else spec[key.path]
        assert option["no_log"] is (key.kind == "url")


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://app:p%40ss@db1/app", {"p%40ss", "p@ss"}),
        ("mysql://app:a:b@c@db1/app", {"a:b@c"}),
        ("postgresql://db1/app?password=x%3D1", {"password=x%3D1", "password=x=1"}),
    ],
)
def test_a_secret_in_a_url_stays_hidden_with_its_url(url: str, hidden: set[str]) -> None:
    module = Module(source={"url": url}, repository=REPOSITORY)
    glue.hide_only_secrets(module)
    assert module.no_log_values == {url} | hidden


def test_a_url_without_a_secret_may_be_shown() -> None:
    module = Module(source={"url": "postgresql://app@db1/app"}, repository=REPOSITORY)
    glue.hide_only_secrets(module)
    assert module.no_log_values == set()


def test_an_error_ends_the_module_with_one_line_and_its_parts() -> None:
    def function(module: Module, job: Any) -> dict[str, Any]:
        raise errors.RefusedError("database '/srv/a\nb.db' exists", "set replace")

    with pytest.raises(Ended) as ended:
        glue.run(Module(name="app", repository=REPOSITORY), function)
    assert ended.value.args[0] == {
        "failed": True,
        "msg": "database '/srv/a\\nb.db' exists. set replace",
        "error": {"kind": "refused", "message": "database '/srv/a\\nb.db' exists", "remedy": "set replace"},
    }


def test_an_impossible_job_ends_the_module_before_anything_is_done() -> None:
    def function(module: Module, job: Any) -> dict[str, Any]:
        raise AssertionError("reached")

    with pytest.raises(Ended, match="no repository is given"):
        glue.run(Module(name="app"), function)


def test_the_time_limit_of_the_job_ends_the_module() -> None:
    def function(module: Module, job: Any) -> dict[str, Any]:
        time.sleep(20)
        return {}

    with pytest.raises(Ended, match="timeout"):
        glue.run(Module(name="app", repository=REPOSITORY, limits={"timeout": "1s"}), function)
