"""The ``dbfleet`` command: the door for people, schedulers and scripts (architecture, chapter 4).

Everything below raises; this is where an error becomes two lines on stderr, or a document with
``--json``, and an exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Optional, TextIO

from .command.signals import Stopped, unwinding
from .errors import DbfleetError, one_line
from .progress import SILENCE, Progress

if TYPE_CHECKING:  # imported where they are needed: a command starts in a tenth of a second
    from .command.parse import Request
    from .model import Job

SERVICE = ("log-archive", "run")  # what does not end by itself
REQUEST = ["--request"]
COMPILE = ["--compile"]


def main(words: Optional[Sequence[str]] = None, *, zipapp: tuple[str, str] = ("", "")) -> int:
    """Run one command line (default: that of the process) and return its exit code.

    ``zipapp``: the file that all this came from, and the digest of its sources.
    """
    words = list(sys.argv[1:] if words is None else words)
    options = words[: words.index("--")] if "--" in words else words
    as_json = "--json" in options or words == REQUEST
    verbose = "--verbose" in options or "-v" in options
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    try:
        with unwinding():
            return _compile(*zipapp) if words == COMPILE else run(words, os.environ)
    except Stopped as stopped:
        _report("stopped", f"stopped by {stopped}", "run it again: what was left behind is swept", as_json)
        return stopped.exit_code
    except Exception as error:  # the one place: people get one line, --verbose the rest
        from .host_faults import fault_of

        _trace(verbose)
        if (fault := fault_of(error)) is not None:
            _report(fault.kind, fault.message, fault.remedy, as_json)
            return fault.exit_code
        message = f"the command failed by a fault of its own: {type(error).__name__}: {error}"
        _report("internal", one_line(message), "run it again with --verbose, and report what it prints", as_json)
        return 1


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what ``words`` ask for, and print the answer. Raises what goes wrong."""
    if list(words) == ["--version"]:
        from .version import VERSION

        return _print(f"dbfleet {VERSION}\n")
    if list(words) == REQUEST:
        return _answer_request(environ)
    from .command.parse import parse

    request = parse(words)
    verb = request.verb
    if verb is None or request.get("help"):
        from .command.help import overview, verb_help

        return _print(verb_help(verb) if verb else overview())
    if verb.name == "completion":
        return _print(_completion(request, environ))
    _warn_of_passwords(request)
    return _act(verb.name, request, environ)


def _compile(archive: str, digest: str) -> int:
    """Let later starts find byte code beside the zipapp."""
    from .compiled import compile_archive

    made = compile_archive(archive, digest)
    return _print(f"made {made}\n" if made else "it is compiled already\n")


def _answer_request(environ: Mapping[str, str]) -> int:
    """Do what the document on stdin asks for; it says everything, so the environment does not count."""
    from .command.document import LARGEST, read_request
    from .config import without_job

    verb, request = read_request(sys.stdin.buffer.read(LARGEST))
    return _act(verb.name, request, without_job(environ))


def _act(verb: str, request: Request, environ: Mapping[str, str]) -> int:
    from .command.actions import ACTIONS
    from .command.style import style_of

    if verb in ACTIONS:
        from .command.jobs import job_of

        job = job_of(request, environ)
        service = (verb, request.argument) == SERVICE
        with _limited(job, service=service), _progress(request) as line, _reported(request, job, line) as progress:
            answer = ACTIONS[verb](request, job, progress)
    else:
        from .command.host_actions import HOST_ACTIONS

        answer = HOST_ACTIONS[verb](request, environ)
    if request.get("json"):
        _print(_document(answer.document() if callable(answer.document) else answer.document))
    else:
        _print("".join(line + "\n" for line in answer.lines(style_of(sys.stdout, environ))))
    return answer.exit_code


def _completion(request: Request, environ: Mapping[str, str]) -> str:
    if request.argument == "bash":
        from .command.completion import bash

        return bash()
    if request.argument == "jobs":
        from .jobfiles import installed_jobs

        return "".join(name + "\n" for name in installed_jobs(environ))
    from .command.jobs import job_of
    from .command.listing import every_row

    return "".join((row.file or row.id) + "\n" for row in every_row(job_of(request, environ)))


def _limited(job: Job, *, service: bool) -> AbstractContextManager[None]:
    """Within the limits of the job; a service runs as long as it is let."""
    if job.limits.nice is None and (job.limits.timeout is None or service):
        return nullcontext()
    from dataclasses import replace

    from .run_limits import applied

    return applied(replace(job.limits, timeout=None) if service else job.limits)


@contextmanager
def _progress(request: Request) -> Iterator[Progress]:
    live = sys.stderr.isatty() and not request.get("quiet")
    if not live and not request.get("verbose"):
        yield SILENCE
        return
    from .command.progress_line import ProgressLine

    line = ProgressLine(sys.stderr, live=live, steps=bool(request.get("verbose")))
    try:
        yield line
    finally:
        line.close()


def _reported(request: Request, job: Job, progress: Progress) -> AbstractContextManager[Progress]:
    """Where others can see how far a long verb is (``dbfleet status``)."""
    verb = request.verb
    if verb is None or not verb.long or not job.name or request.get("dry_run"):
        return nullcontext(progress)
    from .status import reported

    return reported(verb.name, job.name, progress)


def _warn_of_passwords(request: Request) -> None:
    given = {
        "--source": request.layer.get("source.url"),
        "--repository": request.layer.get("repository.url"),
        "--to": request.get("to"),
    }
    for option, url in given.items():
        if url and ":" in str(url).partition("://")[2].partition("/")[0].rpartition("@")[0]:
            sys.stderr.write(
                f"dbfleet: warning: every user of this host can read the password in {option} "
                "while this runs; use source.password_file or the environment\n"
            )


def _report(kind: str, message: str, remedy: str, as_json: bool) -> None:
    text = f"dbfleet: {message}\n" + (f"  remedy: {remedy}\n" if remedy else "")
    try:
        if as_json:
            sys.stdout.write(_document({"error": {"kind": kind, "message": message, "remedy": remedy}}))
            sys.stdout.flush()
        else:
            sys.stderr.write(text)
            sys.stderr.flush()
    except OSError:  # nobody reads any more; the exit code still tells
        _discard(sys.stdout if as_json else sys.stderr)


def _trace(verbose: bool) -> None:
    if verbose:
        import traceback

        traceback.print_exc()


def _document(document: Mapping[str, Any]) -> str:
    import json

    return json.dumps(document) + "\n"


def _print(text: str) -> int:
    """Write ``text`` to stdout; a reader that has gone (``| head``) is no failure, a full disk is."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)
        raise DbfleetError(
            f"stdout cannot be written: {error.strerror}", "free its disk, or redirect it elsewhere"
        ) from None
    return 0


def _discard(stream: TextIO) -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush is quiet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _open_what_is_closed() -> None:
    """Open the standard streams to nowhere where they are closed: files of ours would take their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8")
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def _never_fail_to_encode(stream: Any) -> None:
    """Names that the terminal cannot show are escaped, not an error."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
