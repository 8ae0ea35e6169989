"""A job is what was written, or a clear refusal: nothing unknown, impossible or ambiguous passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.config import (
    check_for_backup,
    job_from_layer,
    job_from_mapping,
    merge,
    name_from_url,
    read_environment,
    read_mapping,
    variable,
)
from dbfleet.errors import UsageError
from dbfleet.keys import KEYS
from dbfleet.model import Job, Repository, Source

SMALL = {"source": {"url": "sqlite:////srv/app.db"}, "repository": {"url": "file:///backups"}}


def job(**keys: object) -> Job:
    return job_from_mapping({**SMALL, **keys}, where="the test")


def refusal(**keys: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        job(**keys)
    return caught.value


def test_a_small_job_has_the_defaults_of_the_model() -> None:
    expected = Job(name="app", repository=Repository("file:///backups"), source=Source("sqlite:////srv/app.db"))
    assert job() == expected


def test_every_default_of_the_table_is_the_default_of_the_model() -> None:
    made = job()
    for key in KEYS:
        holder = getattr(made, key.group) if key.group else made
        if key.path not in ("name", "source.url", "repository.url"):
            assert getattr(holder, key.field) == key.default, key.path


def test_values_get_their_units() -> None:
    made = job(
        compression={"method": "gzip", "level": "9"},
        encryption={"method": "age", "recipients": "age1abc"},
        retention={
            "keep_within": "2w",
            "keep_last": 3,
            "archive_after": "30d",
            "archive_to": "file:///mnt/a",
        },
        limits={"bandwidth": "50M", "timeout": "4h", "min_free": "10%", "nice": 10, "lock_wait": 0},
        proof={"queries": ["SELECT 1"], "command": ["/usr/bin/check", "--all"]},
    )
    assert made.compression.level == 9
    assert made.encryption.recipients == ("age1abc",)
    assert (made.retention.keep_within, made.retention.archive_after) == (14 * 86400, 30 * 86400)
    assert (made.limits.bandwidth, made.limits.timeout, made.limits.min_free) == (50 * 2**20, 14400, "10%")
    assert made.proof.command == ("/usr/bin/check", "--all")


def test_none_counts_as_not_set() -> None:
    assert job(compression=None, retention={"keep_last": None}) == job()


@pytest.mark.parametrize(
    ("keys", "nearest"),
    [
        ({"compresion": {}}, "compression"),
        ({"compression": {"levle": 3}}, "compression.level"),
        ({"keep_daily": 7}, "retention.keep_daily"),
        ({"retention": {"keep_weeky": 4}}, "retention.keep_weekly"),
        ({"limits": {"bandwith": "5M"}}, "limits.bandwidth"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(keys: dict[str, object], nearest: str) -> None:
    error = refusal(**keys)
    assert error.remedy == f"did you mean {nearest}?"
    assert "in the test" in error.message


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("compression", "level", 20),
        ("compression", "level", -8),
        ("compression", "level", True),
        ("compression", "level", 3.5),
        ("compression", "method", "lz4"),
        ("compression", "method", 7),
        ("limits", "nice", 20),
        ("limits", "nice", -1),
        ("limits", "bandwidth", 0),
        ("limits", "bandwidth", "-5M"),
        ("limits", "bandwidth", 1.5),
        ("limits", "timeout", "0"),
        ("limits", "timeout", "soon"),
        ("limits", "min_free", "100%"),
        ("limits", "parallel", 0),
        ("limits", "parallel", "²"),
        ("limits", "chain_length", 0),
        ("retention", "min_keep", 0),
        ("retention", "keep_last", -1),
        ("retention", "keep_last", "seven"),
        ("encryption", "recipients", [1]),
        ("encryption", "recipients", {"a": 1}),
        ("encryption", "recipients", [""]),
        ("encryption", "passphrase_file", "a\0b"),
        ("source", "url", 5),
        ("repository", "url", "  "),
        ("repository", "file_mode", "0618"),
        ("repository", "file_mode", "rw"),
        ("repository", "file_mode", 600),
        ("repository", "file_mode", 384),
    ],
)
def test_an_impossible_value_is_refused_by_its_path(group: str, field: str, value: object) -> None:
    error = refusal(**{group: {**SMALL.get(group, {}), field: value}})
    assert error.message.startswith(f"{group}.{field} in the test: ")
    assert error.remedy


@pytest.mark.parametrize("written", ["416", "420", "432", "438", "504", "0046", "0660400", "0"])
def test_a_mode_that_lost_its_octal_meaning_is_refused(written: str) -> None:
    """YAML reads 0640 as 416: a mode that gives others more than the owner is no mode but an accident."""
    assert "file_mode" in refusal(repository={"url": "x", "file_mode": written}).message


def test_modes_are_octal_text() -> None:
    repository = job(
        repository={"url": "/b", "file_mode": "0640", "folder_mode": "750"},
    ).repository
    assert (repository.file_mode, repository.folder_mode) == (0o640, 0o750)


@pytest.mark.parametrize("name", ["", "App", "a b", "../x", "-rf", "ä", "a\nb", "a/b", "a" * 101, "a;b", "x.y"])
def test_a_name_that_could_be_more_than_a_name_is_refused(name: str) -> None:
    assert "name" in refusal(name=name).message


def test_the_password_of_a_url_is_in_no_error() -> None:
    for url in ("postgresql://app:hunter2@db/app\0", ["postgresql://app:hunter2@db/app"]):
        assert "hunter2" not in str(refusal(source={"url": url}))


@pytest.mark.parametrize(
    "keys",
    [
        {"retention": {"archive_after": "30d"}},
        {"retention": {"archive_to": "file:///mnt"}},
        {"compression": {"method": "gzip", "level": 12}},
        {"encryption": {"method": "age", "passphrase_file": "/p"}},
        {"encryption": {"method": "gpg", "passphrase_file": "/p", "recipients": ["a"]}},
        {"compression": "zstd"},
        {"compression": ["zstd"]},
    ],
)
def test_keys_that_do_not_fit_together_are_refused(keys: dict[str, object]) -> None:
    assert refusal(**keys).remedy


@pytest.mark.parametrize(
    "encryption",
    [
        {"method": "gpg"},
        {"method": "age"},
        {"method": "age", "identity_file": "/i"},
        {"recipients": ["age1abc"]},
        {"passphrase_file": "/p"},
    ],
)
def test_a_backup_that_would_not_be_encrypted_as_meant_is_refused(encryption: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"encryption\."):
        check_for_backup(job(encryption=encryption))


def test_a_job_that_says_enough_can_be_backed_up() -> None:
    check_for_backup(job(encryption={"method": "gpg", "passphrase_file": "/p"}))
    check_for_backup(job(encryption={"method": "gpg", "recipients": ["a@b"]}))
    check_for_backup(job(encryption={"method": "age", "recipients": ["age1abc"]}))


def test_a_backup_needs_a_source_and_every_job_a_repository() -> None:
    with pytest.raises(UsageError, match="no source"):
        check_for_backup(job_from_mapping({"name": "a", "repository": {"url": "/b"}}, where="the test"))
    with pytest.raises(UsageError, match="no repository"):
        job_from_mapping({"name": "a"}, where="the test")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:///data/promptpilot.db", "promptpilot"),
        ("sqlite:////srv/My App.v2.sqlite3", "my_app_v2"),
        ("sqlite:///C:\\data\\pilot.db", "pilot"),
        ("sqlite:///no_suffix?mode=ro", "no_suffix"),
        ("sqlite:///a%20b.db", "a_b"),
        ("postgresql://app:secret@db1:5432/PromptPilot?sslmode=require", "promptpilot"),
        ("postgresql:///local", "local"),
        ("mysql://root@db-1.example:3306/", "db-1_example"),
        ("postgresql://db1", "db1"),
        ("sqlite://", ""),
        ("", ""),
    ],
)
def test_a_job_is_named_after_its_source(url: str, name: str) -> None:
    assert name_from_url(url) == name


@given(st.text(max_size=200))
def test_a_name_from_any_url_fits_or_is_empty(text: str) -> None:
    name = name_from_url("sqlite:///" + text)
    if name:
        assert job(source={"url": "x"}, name=name).name == name


def test_a_job_that_is_only_looked_at_may_go_without_a_name() -> None:
    layer = {"repository.url": "/b"}
    assert job_from_layer(layer, name_needed=False).name == ""
    with pytest.raises(UsageError, match="no name"):
        job_from_layer(layer)


# --- environment ---------------------------------------------------------------------------


def test_the_names_that_applications_use() -> None:
    layer = read_environment({"DATABASE_URL": "sqlite:///a.db", "BACKUP_DIR": "./my backups", "RETENTION_DAYS": "30"})
    assert layer == {
        "source.url": "sqlite:///a.db",
        "repository.url": "./my backups",
        "retention.keep_within": 30 * 86400,
    }


@pytest.mark.parametrize("days", ["0", "-1", "1.5", "many", "30d", " 30", "٣"])
def test_retention_days_are_a_positive_whole_number(days: str) -> None:
    with pytest.raises(UsageError, match="RETENTION_DAYS"):
        read_environment({"RETENTION_DAYS": days})


def test_every_key_has_a_variable() -> None:
    values = {"int": "5", "size": "5M", "duration": "5d", "free": "5%", "mode": "0700"}
    environ = {variable(key): key.choices[0] if key.choices else values.get(key.kind, "x") for key in KEYS}
    assert set(read_environment(environ)) == {key.path for key in KEYS}


def test_the_variable_of_a_key_is_stronger_than_its_short_name() -> None:
    layer = read_environment({"DATABASE_URL": "sqlite:///a.db", "DBFLEET_SOURCE_URL": "sqlite:///b.db"})
    assert layer == {"source.url": "sqlite:///b.db"}


def test_a_list_in_the_environment_is_one_text_or_json() -> None:
    name = "DBFLEET_PROOF_QUERIES"
    assert read_environment({name: "SELECT a, b FROM t"}) == {"proof.queries": ("SELECT a, b FROM t",)}
    assert read_environment({name: '["SELECT 1", "SELECT 2"]'}) == {"proof.queries": ("SELECT 1", "SELECT 2")}
    with pytest.raises(UsageError, match="not a JSON list"):
        read_environment({name: "[SELECT 1"})


def test_an_unknown_variable_of_ours_is_refused_and_others_are_not_ours() -> None:
    with pytest.raises(UsageError) as caught:
        read_environment({"DBFLEET_COMPRESION_LEVEL": "3"})
    assert caught.value.remedy == "did you mean DBFLEET_COMPRESSION_LEVEL?"
    others = {"PATH": "/bin", "DBFLEET_STATE_DIR": "/s", "DBFLEET_CONFIG_DIR": "/c", "DATABASE_URL": ""}
    assert read_environment({**others, "DBFLEET_NAME": ""}) == {}


# --- layers --------------------------------------------------------------------------------


def test_the_first_layer_is_the_strongest_key_by_key() -> None:
    strong = read_mapping({"compression": {"level": 9}, "encryption": {"recipients": ["a"]}}, where="one")
    weak = read_mapping(
        {"compression": {"level": 1, "method": "gzip"}, "encryption": {"recipients": ["b", "c"]}}, where="two"
    )
    assert merge([strong, weak]) == {
        "compression.level": 9,
        "compression.method": "gzip",
        "encryption.recipients": ("a",),
    }


_LAYERS = st.lists(st.dictionaries(st.sampled_from([key.path for key in KEYS]), st.integers()), max_size=4)


@given(_LAYERS)
def test_merging_takes_each_key_from_the_first_layer_that_has_it(layers: list[dict[str, int]]) -> None:
    merged = merge(layers)
    assert set(merged) == {path for layer in layers for path in layer}
    for path, value in merged.items():
        assert value == next(layer[path] for layer in layers if path in layer)
