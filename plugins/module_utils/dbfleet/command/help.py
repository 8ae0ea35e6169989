"""The texts of ``--help``, made from the tables of verbs and keys, 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .style import WIDTH, wrapped
from .verbs import COMMON, VERBS, Option, Verb, job_options, options_of

ALONE = (
    ("--version", "The version."),
    ("--request", "Read a JSON document from stdin, and do that."),
    ("--compile", "Keep byte code beside dbfleet.pyz, which then starts in half the time."),
)


def overview() -> str:
    """``dbfleet --help``."""
    lines = [
        "dbfleet: back up, restore and verify databases, and prove that backups restore.",
        "",
        "usage: dbfleet VERB [BACKUP] [OPTIONS]",
        "",
        "verbs:",
        *_rows((usage(verb), verb.summary) for verb in VERBS),
        "",
        "examples:",
    ]
    for verb in VERBS[:-1]:
        lines += _example(*verb.examples[0])
    lines += [
        "",
        "options of every verb:",
        *_rows((_option(option), option.help) for option in COMMON),
        "",
        "alone:",
        *_rows(ALONE),
        "",
        *_wrap(
            "Every key of a job is an option too; dbfleet VERB --help lists them. Strongest first: options, "
            "environment (DATABASE_URL, BACKUP_DIR, RETENTION_DAYS, and DBFLEET_ names such as "
            "DBFLEET_COMPRESSION_LEVEL), the file of --job in /etc/dbfleet/jobs.d, defaults.",
            "",
        ),
        "",
        *_wrap(
            "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 a check found a problem, "
            "130 and 143 stopped by a signal.",
            "",
        ),
    ]
    return "\n".join(lines) + "\n"


def verb_help(verb: Verb) -> str:
    """``dbfleet VERB --help``."""
    lines = [f"usage: dbfleet {usage(verb)} [OPTIONS]", "", *_wrap(verb.text, "")]
    if verb.argument:
        default = f" Default: {verb.argument.default}." if verb.argument.default else ""
        lines += ["", *_rows([(verb.argument.metavar, verb.argument.help + default)])]
    lines += ["", "examples:"]
    for words, meaning in verb.examples:
        lines += _example(words, meaning)
    lines += ["", "options:", *_rows((_option(option), explained(option)) for option in options_of(verb))]
    lines += [
        "",
        "keys of the job:",
        *_rows((_option(option), explained(option)) for option in job_options()),
    ]
    return "\n".join(lines) + "\n"


def usage(verb: Verb) -> str:
    """``verify [BACKUP]``."""
    if verb.argument is None:
        return verb.name
    metavar = "|".join(" ".join((one, *dict(verb.more).get(one, ()))) for one in verb.argument.choices)
    metavar = metavar or verb.argument.metavar
    return f"{verb.name} [{metavar}]" if verb.argument.default else f"{verb.name} {metavar}"


def explained(option: Option) -> str:
    """The help of an option with its repetition and default."""
    text = option.help
    if option.many:
        text += " May be repeated."
    if option.default is not None:
        text += f" Default: {option.default}."
    return text


def _option(option: Option) -> str:
    names = f"{option.short}, {option.name}" if option.short else option.name
    value = "|".join(option.choices) or option.metavar
    return f"{names} {value}" if value else names


def _example(words: str, meaning: str) -> list[str]:
    return [f"  # {meaning}", f"  dbfleet {words}"]


def _rows(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for left, right in rows:
        first = f"  {left:<22}"
        if len(left) > 21:
            yield f"  {left}"
            first = " " * 24
        wrapped = _wrap(right, " " * 24)
        yield first + wrapped[0].lstrip()
        yield from wrapped[1:]


def _wrap(text: str, indent: str) -> list[str]:
    return [indent + line for line in wrapped(text, WIDTH - len(indent))]
