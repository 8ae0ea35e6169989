"""A command line means one thing, or is refused with the word that was probably meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbfleet.command.parse import parse
from dbfleet.command.verbs import BY_NAME, VERBS, options_of
from dbfleet.errors import UsageError
from dbfleet.keys import KEYS


def refusal(line: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(line.split())
    return caught.value


def test_a_verb_with_options_before_and_after_it() -> None:
    request = parse("--json restore --to=sqlite:///x.db latest --table a --table b --replace".split())
    assert request.verb is BY_NAME["restore"]
    assert request.argument == "latest"
    assert request.options == {"json": True, "to": "sqlite:///x.db", "table": ["a", "b"], "replace": True}


def test_every_key_of_the_job_is_an_option_of_every_verb() -> None:
    values = {"int": "5", "size": "5M", "duration": "5d", "free": "5%", "mode": "0700"}
    for verb in VERBS:
        argument = verb.argument.choices[:1] or ("x",) if verb.argument else ()
        for key in KEYS:
            value = key.choices[0] if key.choices else values.get(key.kind, "x")
            assert set(parse([verb.name, *argument, key.option, value]).layer) == {key.path}


def test_short_names_of_urls() -> None:
    layer = parse("backup --source sqlite:///a.db --repository /b".split()).layer
    assert layer == {"source.url": "sqlite:///a.db", "repository.url": "/b"}


def test_a_value_may_start_with_one_dash() -> None:
    assert parse("backup --compression-level -5".split()).layer == {"compression.level": -5}


def test_a_list_may_be_repeated_and_nothing_else() -> None:
    layer = parse("backup --encryption-recipients a --encryption-recipients=b".split()).layer
    assert layer == {"encryption.recipients": ("a", "b")}
    assert "given twice" in refusal("backup --name a --name b").message
    assert "given twice" in refusal("verify --level structure --level checksum").message


def test_words_after_two_dashes_are_data() -> None:
    assert parse(["show", "--", "--help"]).argument == "--help"


def test_defaults_of_arguments_and_options() -> None:
    request = parse(["verify"])
    assert (request.argument, request.get("level"), request.get("json")) == ("latest", "structure", None)


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ("", "no verb is given", "backup"),
        ("bakcup", "'bakcup' is no verb", "did you mean backup?"),
        (
            "backup --compresion-level 3",
            "--compresion-level is no option",
            "did you mean --compression-level?",
        ),
        ("backup --compression 3", "--compression is no option", "did you mean --compression-"),
        ("backup --rep x", "--rep is no option", "--"),
        ("backup --to x", "--to is no option of backup", "dbfleet backup --help"),
        ("backup now", "'now' is one word too many", "--help"),
        ("list one two", "'one' is one word too many", "--help"),
        ("restore", "restore needs BACKUP", "latest"),
        ("show", "show needs BACKUP", "latest"),
        ("backup --name", "--name needs a value", "--name VALUE"),
        ("backup --name --json", "--name needs a value", "--name VALUE"),
        ("backup --name -v", "--name needs a value", "--name VALUE"),
        ("backup --name=", "--name", "value"),
        ("list --json=yes", "--json takes no value", "--json alone"),
        (
            "verify --level deep",
            "--level: 'deep' is not one of its values",
            "checksum or structure or restore",
        ),
        ("backup --method binary", "--method: 'binary' is not one", "logical or physical"),
        ("backup --limits-nice 20", "--limits-nice: '20' is out of its range", "0 to 19"),
        ("completion fish", "'fish' is not known here", "bash"),
    ],
)
def test_a_wrong_line_is_answered_with_what_was_probably_meant(line: str, message: str, remedy: str) -> None:
    error = refusal(line)
    assert message in error.message
    assert remedy in error.remedy
    assert error.exit_code == 2


def test_help_needs_no_argument_and_no_verb() -> None:
    assert parse(["--help"]).verb is None
    for verb in VERBS:
        assert parse([verb.name, "-h"]).get("help") is True


def test_no_two_options_of_a_verb_share_a_name() -> None:
    for verb in VERBS:
        names = [option.name for option in options_of(verb)] + [key.option for key in KEYS]
        assert len(names) == len(set(names))


_WORDS = st.one_of(
    st.sampled_from([*BY_NAME, "--json", "--to", "--level=restore", "--name", "--limits-nice", "--", "-v", "latest"]),
    st.text(max_size=8),
)


@given(st.lists(_WORDS, max_size=8))
def test_no_line_does_worse_than_a_usage_error(words: list[str]) -> None:
    try:
        request = parse(words)
    except UsageError as error:
        assert error.message and "\n" not in error.message
    else:
        assert request.verb is not None or request.get("help")
