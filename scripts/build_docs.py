"""Write what is made from the command's own tables: docs/command.md and the bash completion.

Usage: build_docs.py [--check]

With --check nothing is written, and the exit code is 1 when a file is not what it should be.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "plugins" / "module_utils"))

from dbfleet import keys  # noqa: E402
from dbfleet.command import completion, help, verbs  # noqa: E402
from dbfleet.config import variable  # noqa: E402

HEAD = """\
# The `dbfleet` command

<!-- Made by scripts/build_docs.py from the command's own tables: do not edit. -->

One file, `build/dbfleet.pyz` (`make pyz`), runs on any host with Python 3.9 or newer and needs no
Ansible and no pip install: `python3 dbfleet.pyz VERB …`. Below it is called `dbfleet`.

```
dbfleet backup  --source sqlite:///data/app.db --repository backups
dbfleet list    --repository backups
dbfleet restore latest --repository backups --to sqlite:///restored.db
```

Every verb takes `--json`: one JSON document on stdout, progress and messages on stderr. A failure
is `{"error": {"kind", "message", "remedy"}}`.

`dbfleet --compile`, run once as the owner of `dbfleet.pyz`, keeps its byte code in a file beside it, so that later
starts take half the time; the role `agent` does so. A file of another Python or another version is not used.

Programs can ask without a command line, which other users of a host can read: `dbfleet --request` reads one JSON
document from stdin, and answers as with `--json`. `options` are those of the verb and `job`; `keys` are those of a job,
nested as in a job file; for `coverage`, `jobs` are whole jobs besides those of the host. Paths must be absolute, and
the environment does not count.

```sh
dbfleet --request <<'END'
{"verb": "restore", "argument": "latest", "options": {"job": "promptpilot", "replace": true}}
END
```

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage or configuration |
| 3 | a check found a problem |
| 129, 130, 143 | stopped by SIGHUP, SIGINT, SIGTERM; what was begun is cleaned up |

"""

CONFIGURATION = """\
## Configuration

Strongest first: options, environment, the file of `--job`, defaults. They are merged key by key; a
list replaces a weaker one as a whole.

- **Options**: every key of the job is one, see below.
- **Environment**: `DATABASE_URL` (the source), `BACKUP_DIR` (the repository; a folder or a store URL),
  `RETENTION_DAYS` (keep every backup of the last so many days), and a variable for every key, see
  below. A list is one text, or a JSON list. A variable that is set to nothing counts as not set; an
  unknown one that starts with `DBFLEET_` is an error. Passwords belong into the environment or into
  `source.password_file`, not into options, which every user of a host can read.
- **Job files**: `--job NAME` reads `/etc/dbfleet/jobs.d/NAME.json` (on Windows
  `%ProgramData%\\dbfleet\\jobs.d`). `DBFLEET_CONFIG_DIR` stands for `/etc/dbfleet`. The file has the
  keys of the job in groups, as below; one that others than its owner can write, or that belongs to
  neither root nor the user who runs the command, is refused.

```json
{
  "source": {"url": "sqlite:////srv/promptpilot/promptpilot.db"},
  "repository": {"url": "file:///var/backups/promptpilot"},
  "retention": {"keep_daily": 7, "keep_weekly": 5, "keep_monthly": 12}
}
```

Without a name, a job is named after its source: the stem of the SQLite file, or the name of the
database. Unknown keys are errors and name the nearest key that exists.

Sizes are bytes or a number with K, M, G or T (powers of 1024); durations are seconds or numbers with
s, m, h, d, w or y (`1h30m`); modes are octal text (`"0640"`).

"""


def command_page() -> str:
    """docs/command.md."""
    parts = [HEAD]
    for verb in verbs.VERBS:
        parts.append(f"## dbfleet {help.usage(verb).replace('|', ' | ')}\n\n{verb.text}\n\n")
        if verb.argument:
            default = f" Default: `{verb.argument.default}`." if verb.argument.default else ""
            parts.append(f"`{verb.argument.metavar}`: {verb.argument.help}{default}\n\n")
        lines = [f"# {meaning}\ndbfleet {words}" for words, meaning in verb.examples]
        parts.append("```sh\n" + "\n".join(lines) + "\n```\n\n")
        if verb.options:
            parts.append(_table(("option", "meaning"), [_option(option) for option in verb.options]))
    parts.append("## Options of every verb\n\n")
    parts.append(_table(("option", "meaning"), [_option(option) for option in verbs.COMMON]))
    parts.append(CONFIGURATION)
    parts.append("## Keys of the job\n\n")
    rows = [
        (f"`{key.path}`", f"`{option.name}`", f"`{variable(key)}`", help.explained(option) + _values(option))
        for key, option in zip(keys.KEYS, verbs.job_options())
    ]
    parts.append(_table(("key", "option", "environment", "meaning"), rows))
    short = " and ".join(f"`{short}` is `{long}`" for short, long in verbs.ALIASES.items())
    parts.append(f"{short}.\n\n")
    parts.append(
        "## Completion for bash\n\n"
        "`dbfleet completion bash` prints it; `scripts/dbfleet-completion.bash` is the same. It completes "
        "verbs, options,\ntheir values, the jobs of this host, and the backups of the repository.\n"
    )
    return "".join(parts)


def _option(option: verbs.Option) -> tuple[str, str]:
    names = f"`{option.short}`, `{option.name}`" if option.short else f"`{option.name}`"
    value = f" `{option.metavar}`" if option.metavar else ""
    return names + value, help.explained(option) + _values(option)


def _values(option: verbs.Option) -> str:
    return f" Values: {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines) + "\n\n"


def main() -> int:
    """Write or check every page."""
    stale = 0
    for path, text in (
        (ROOT / "docs" / "command.md", command_page()),
        (ROOT / "scripts" / "dbfleet-completion.bash", completion.bash()),
    ):
        if path.exists() and path.read_bytes() == text.encode("utf-8"):
            continue
        name = path.relative_to(ROOT)
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"{name} is not what the tables say: run scripts/build_docs.py\n")
            stale = 1
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("utf-8"))
            sys.stderr.write(f"{name} is written\n")
    return stale


if __name__ == "__main__":
    sys.exit(main())
