"""From the words of a command line to a :class:`Request`. Decides nothing but what was meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..config import Layer
from ..errors import UsageError
from ..keys import BY_OPTION
from ..values import value_of
from .verbs import ALIASES, BY_NAME, COMMON, VERBS, Option, Verb, options_of

_SHORT = {option.short: option.name for option in COMMON if option.short}


class Request(NamedTuple):
    """What a command line asks for.

    ``options`` are the verb's own by field name (``dry_run``), ``layer`` the checked values of
    job options by key path.
    """

    verb: Optional[Verb]
    argument: Optional[str]
    options: Mapping[str, Any]
    layer: Layer
    more: tuple[str, ...] = ()  # the words after the argument
    jobs: tuple[Mapping[str, Any], ...] = ()  # whole jobs that are given besides those of the host

    def get(self, name: str) -> Any:
        """The value of an option: text or ``None``, a list, or whether a switch is on."""
        return self.options.get(name)


def parse(words: Sequence[str]) -> Request:
    """The request of ``words``. Raises ``UsageError``, with the nearest known word for an unknown one.

    Options may stand before and after the verb, with ``=`` or a space before their value;
    ``--`` ends them.
    """
    given, plain = _split(words)
    asks_help = any(option.name == "--help" for option, _value in given)
    verb = _verb(plain, asks_help)
    own = {option.name: option for option in (options_of(verb) if verb else COMMON)}
    options: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for option, value in given:
        if option.name in BY_OPTION:
            _store(raw, option.name, option, value)
        elif option.name in own:
            _store(options, option.field, own[option.name], value)
        else:
            raise UsageError(f"{option.name} is no option of {verb.name if verb else 'dbfleet'}", _help(verb))
    for option in own.values():
        if option.default is not None:
            options.setdefault(option.field, option.default)
    layer = {BY_OPTION[name].path: value_of(BY_OPTION[name], value, called=name) for name, value in raw.items()}
    argument = None if asks_help else argument_of(verb, plain[1:2])
    more = () if asks_help else _more(verb, argument, plain[1:] if argument is None else plain[2:])
    return Request(verb, argument, options, layer, more)


def _split(words: Sequence[str]) -> tuple[list[tuple[Option, str]], list[str]]:
    table = _table()
    given: list[tuple[Option, str]] = []
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return given, plain + rest
        if word == "-" or not word.startswith("-"):
            plain.append(word)
            continue
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, ALIASES.get(name, name))
        if name not in table:
            raise UsageError(f"{name} is no option", nearest(name, [*table, *ALIASES]))
        option = table[name]
        if not option.metavar and equals:
            raise UsageError(f"{name} takes no value", f"write {name} alone")
        if option.metavar and not equals:
            if not rest or rest[0].partition("=")[0] in table or rest[0] in _SHORT:
                raise UsageError(f"{name} needs a value", f"write {name} {option.metavar}")
            value = rest.pop(0)
        given.append((option, value))
    return given, plain


def _table() -> dict[str, Option]:
    table = {name: Option(name, "", "VALUE", many=key.kind == "list") for name, key in BY_OPTION.items()}
    for option in (option for verb in VERBS for option in options_of(verb)):
        table[option.name] = option
    return table


def _verb(plain: Sequence[str], asks_help: bool) -> Optional[Verb]:
    if not plain:
        if asks_help:
            return None
        raise UsageError("no verb is given", f"say one of {', '.join(BY_NAME)}, or --help")
    if plain[0] not in BY_NAME:
        raise UsageError(f"{plain[0]!r} is no verb", nearest(plain[0], list(BY_NAME)))
    return BY_NAME[plain[0]]


def argument_of(verb: Optional[Verb], words: Sequence[str]) -> Optional[str]:
    """The word after the verb, or its default. Raises ``UsageError`` for one that the verb does not know."""
    argument = verb.argument if verb else None
    if argument is None:
        return None
    if not words:
        if argument.default is None:
            raise UsageError(f"{verb.name if verb else ''} needs {argument.metavar}", argument.help)
        return argument.default
    if argument.choices and words[0] not in argument.choices:
        raise UsageError(f"{words[0]!r} is not known here", f"choose {' or '.join(argument.choices)}")
    if not words[0]:
        raise UsageError(f"{argument.metavar} is empty", argument.help)
    return words[0]


def _more(verb: Optional[Verb], argument: Optional[str], words: Sequence[str]) -> tuple[str, ...]:
    """The words after the argument: as many as there must be."""
    wanted = dict(verb.more).get(argument or "", ()) if verb else ()
    if len(words) > len(wanted):
        raise UsageError(f"{words[len(wanted)]!r} is one word too many", _help(verb))
    if len(words) < len(wanted):
        raise UsageError(f"{verb.name if verb else ''} {argument} needs {' '.join(wanted)}", _help(verb))
    if not all(words):
        raise UsageError(f"{wanted[list(words).index('')]} is empty", _help(verb))
    return tuple(words)


def _store(into: dict[str, Any], field_name: str, option: Option, value: str) -> None:
    if not option.metavar:
        into[field_name] = True
        return
    if option.choices and value not in option.choices:
        raise UsageError(f"{option.name}: {value!r} is not one of its values", f"choose {' or '.join(option.choices)}")
    if option.metavar and not value:
        raise UsageError(f"{option.name}: it is empty", "give it a value, or leave the option out")
    if option.many:
        into.setdefault(field_name, []).append(value)
    elif into.get(field_name, value) != value:
        raise UsageError(f"{option.name} is given twice, with different values", "keep one of them")
    else:
        into[field_name] = value


def _help(verb: Optional[Verb]) -> str:
    return f"dbfleet {verb.name} --help lists its options" if verb else "dbfleet --help lists the verbs"


def nearest(word: str, known: Sequence[str]) -> str:
    """The remedy for a word that is not among ``known``."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "dbfleet --help lists what there is"
