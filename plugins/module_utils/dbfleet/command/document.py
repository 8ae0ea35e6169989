"""From a JSON document to a :class:`Request`: what programs ask for, with nothing of it on a command line.

``{"verb": "restore", "argument": "latest", "options": {"to": "sqlite:////srv/app.db"}, "keys": {"name": "app", …}}``:
``options`` are the verb's own and ``job``, by field name (``dry_run``); ``keys`` are those of the job, nested as in a
job file. ``coverage`` also takes whole ``jobs``, as playbooks have them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..absolute import absolute_url, refuse_relative
from ..config import read_mapping
from ..errors import UsageError
from .parse import Request, argument_of, nearest
from .verbs import BY_NAME, Option, Verb, options_of

PARTS = ("verb", "argument", "options", "keys", "jobs")
TAKES_JOBS = ("coverage",)
WHERE = "the request"
LARGEST = 1 << 20  # bytes
# What answers with a document, and takes nothing but an argument and options.
ANSWERING = {verb.name: verb for verb in BY_NAME.values() if verb.name != "completion" and not verb.more}


def read_request(data: bytes) -> tuple[Verb, Request]:
    """The verb and the request of a document.

    Raises ``UsageError`` for anything that it does not know, and for relative paths: nobody chose a folder.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except ValueError as error:  # of the text, and of its encoding
        raise UsageError(f"{WHERE} is not JSON: {error}", "write one document to stdin") from None
    document = _mapping(document, WHERE)
    for part in document:
        if part not in PARTS:
            raise UsageError(f"{part!r} is no part of a request", nearest(part, PARTS))
    verb = ANSWERING.get(str(document.get("verb")))
    if verb is None:
        raise UsageError(f"{document.get('verb')!r} is no verb of a request", f"say one of {', '.join(ANSWERING)}")
    given = document.get("argument")
    if given is not None and (not isinstance(given, str) or verb.argument is None):
        raise UsageError(f"{verb.name} does not take the argument {given!r}", "leave it out, or write it as text")
    layer = read_mapping(_part(document, "keys"), where=WHERE)
    refuse_relative(layer)
    options = _options(verb, _part(document, "options"))
    argument = argument_of(verb, [] if given is None else [given])
    return verb, Request(verb, argument, {**options, "json": True}, layer, jobs=_jobs(verb, document.get("jobs")))


def _jobs(verb: Verb, given: Any) -> tuple[Mapping[str, Any], ...]:
    if not given:
        return ()
    if verb.name not in TAKES_JOBS or not isinstance(given, list):
        raise UsageError(f"{verb.name} does not take these jobs", "give them as a list, to coverage")
    return tuple(_mapping(job, f"a job in {WHERE}") for job in given)


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping({} if document.get(name) is None else document[name], f"{name!r} in {WHERE}")


def _mapping(value: Any, called: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{called} is not a JSON object", "write {} with what is asked for")
    return value


def _options(verb: Verb, given: Mapping[str, Any]) -> dict[str, Any]:
    known = {option.field: option for option in options_of(verb)}
    options: dict[str, Any] = {name: option.default for name, option in known.items() if option.default is not None}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{name!r} is no option of {verb.name}", nearest(name, list(known)))
        if value is not None:
            options[name] = _value(known[name], value)
    return options


def _value(option: Option, value: Any) -> Any:
    if not option.metavar:
        if not isinstance(value, bool):
            raise UsageError(f"{option.field}: its value is not true or false", "correct the request")
        return value
    values = value if option.many and isinstance(value, list) else [value]
    if not all(isinstance(each, str) and each for each in values):
        raise UsageError(f"{option.field}: its value is not text", "correct the request")
    if option.choices and value not in option.choices:
        raise UsageError(f"{option.field}: {value!r} is not known", f"choose {' or '.join(option.choices)}")
    if option.metavar == "URL":
        absolute_url(value, called=option.field)
    return values if option.many else value
