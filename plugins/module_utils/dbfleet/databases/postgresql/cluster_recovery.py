"""Bringing a restored data directory forward by its log, up to a target, with a server of its own.

The server runs with settings of ours on a private socket; what happens is read in its log, because no
role of the cluster is known before it is open. Afterwards its own settings are back, and unless it is
to be paused it has ended in order, on a new timeline (manual, chapter "Continuous Archiving").
"""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import Optional

from ...errors import DamagedError, DbfleetError, RefusedError, ToolError
from ...model import Limits
from ..logs import Recovered, Recovery
from .assembly import Assembly
from .cluster_server import ClusterServer
from .log_feed import LogFeed
from .server import account_of, unprivileged

KEPT = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf")
POLL = 0.2
REACHED = "pausing at the end of recovery"
COMPLETE = "archive recovery complete"
READY = "database system is ready to accept connections"
NOT_REACHED = "recovery ended before configured recovery target was reached"
TOO_SMALL = "insufficient parameter settings"
STOPPED = re.compile(r"LOG:\s+(recovery stopping .*|last completed transaction was at log time .*|redo done at .*)")


class ClusterRecovery:
    """One recovery of the data directory of ``assembly``."""

    def __init__(self, assembly: Assembly, folder: str, limits: Limits, recovery: Recovery) -> None:
        """``folder`` is ours, and lets the server's user pass."""
        self._assembly = assembly
        self._folder = folder
        self._limits = limits
        self._recovery = recovery
        self._settings = os.path.join(assembly.root, "settings")
        self._feed_failure: Optional[BaseException] = None

    def run(self) -> Recovered:
        """Recover, examine, and leave the directory as it is to be handed over."""
        self._put_settings_away()
        target, line = self._recovery.target, self._recovery.line
        notes: list[str] = []
        feed = LogFeed(
            os.path.join(self._assembly.root, "feed"),
            line.names,
            line.others,
            self._recovery.fetch,
            account_of(unprivileged()),
        )
        self._signal()
        with feed:
            try:
                stopped, reached = self._recover(feed, with_target=target.kind != "end")
            except RefusedError:
                if not self._recovery.may_end:
                    raise
                notes.append(f"the log ends before {target}: nothing was committed between its end and then")
                stopped, reached = self._recover(feed, with_target=False)
        paused = reached and target.action == "pause"
        if paused:
            notes.append(
                "it is paused at the target: start it, look, and SELECT pg_wal_replay_resume() to make it a primary"
            )
        else:
            self._examine()
        self._bring_settings_back()
        if paused:
            self._stay_paused()
        elif target.action == "pause":
            notes.append("it could not pause there, because its log ends: it was promoted")
        return Recovered(stopped, None if paused else self._timeline(), paused, tuple(notes))

    # --- recovering ---------------------------------------------------------------------------

    def _recover(self, feed: LogFeed, *, with_target: bool) -> tuple[str, bool]:
        """Where it stopped in the server's words, and whether at the target; raises ``RefusedError`` where not."""
        server = ClusterServer(self._assembly, self._folder, self._limits.parallel, more=self._text(feed, with_target))
        try:
            server.launch()
            said = self._watch(server, feed)
            reached = REACHED in said
            if reached and self._recovery.target.action == "promote":
                server.promote()
            server.end()
        except DbfleetError as error:
            if feed.failure is not None:
                raise feed.failure from error
            raise
        finally:
            server.stop()
        found = STOPPED.findall(said)
        return (found[0] if found else "it applied all the log there is"), reached

    def _watch(self, server: ClusterServer, feed: LogFeed) -> str:
        """Wait until the server has reached the target or the end of the log; what its log says then."""
        while True:
            said = server.log_text()
            if REACHED in said or (COMPLETE in said and READY in said):
                return said
            if TOO_SMALL in said:
                raise ToolError(
                    "the server cannot go on: settings of the original were raised in its log",
                    "recover by hand: `dbfleet show` has the commands, docs/log_archive.md the settings",
                )
            if not server.is_alive():
                said = server.log_text()
                if feed.failure is not None:
                    raise feed.failure
                if NOT_REACHED in said:
                    found = STOPPED.findall(said)
                    raise RefusedError(
                        f"{self._recovery.target} is not in the log that follows the backup"
                        + (f" ({found[-1]})" if found else ""),
                        "see `dbfleet log-archive status` for what is; of a transaction or a restore point before "
                        "this backup, name an earlier backup",
                    )
                raise DamagedError(
                    f"the server gave up during recovery: {server.last_fatal() or 'its log gives no reason'}",
                    "restore to an earlier moment, or from another backup",
                )
            time.sleep(POLL)

    def _text(self, feed: LogFeed, with_target: bool) -> str:
        """The settings of recovery (manual, chapter "Recovery Target")."""
        settings = {
            "restore_command": feed.command(),
            "recovery_target_timeline": str(self._recovery.line.timeline or "latest"),
            "hot_standby": "on",
            "max_wal_size": "1GB",
        }
        if with_target:
            settings.update(self._target_settings())
        return "".join(f"{name} = {_quoted(value)}\n" for name, value in settings.items())

    def _target_settings(self) -> dict[str, str]:
        target = self._recovery.target
        value = target.value
        if target.moment is not None:
            value = target.moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")
        settings = {f"recovery_target_{target.kind}": value, "recovery_target_action": "pause"}
        if target.kind != "name":
            settings["recovery_target_inclusive"] = "on" if target.inclusive else "off"
        return settings

    def _signal(self) -> None:
        path = os.path.join(self._assembly.data, "recovery.signal")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    # --- afterwards ---------------------------------------------------------------------------

    def _examine(self) -> None:
        server = ClusterServer(self._assembly, self._folder, self._limits.parallel)
        try:
            server.start()
            problems = server.examine(leave_no_trace=True)
            server.end()
        finally:
            server.stop()
        if problems:
            raise DamagedError(problems[0], "restore to an earlier moment, or from another backup")

    def _stay_paused(self) -> None:
        """Let the next start go to the same target and pause: what it needs of the log is in ``pg_wal`` by now."""
        lines = {"restore_command": "false", **self._target_settings(), "hot_standby": "on"}
        lines["recovery_target_timeline"] = str(self._recovery.line.timeline or "latest")
        path = os.path.join(self._assembly.data, "postgresql.auto.conf")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "w", encoding="utf-8") as file:
            file.write("# Point in time recovery: these can go once the server was promoted.\n")
            file.writelines(f"{name} = {_quoted(value)}\n" for name, value in lines.items())

    def _timeline(self) -> Optional[int]:
        return self._assembly.control().get("Latest checkpoint's TimeLineID")

    def _put_settings_away(self) -> None:
        os.mkdir(self._settings, 0o700)
        for name in KEPT:
            path = os.path.join(self._assembly.data, name)
            if os.path.lexists(path):
                os.rename(path, os.path.join(self._settings, name))

    def _bring_settings_back(self) -> None:
        for name in KEPT:
            path = os.path.join(self._assembly.data, name)
            if os.path.lexists(path):
                os.remove(path)
            if os.path.lexists(os.path.join(self._settings, name)):
                os.rename(os.path.join(self._settings, name), path)
        shutil.rmtree(self._settings, ignore_errors=True)


def _quoted(value: str) -> str:
    """A value of a configuration file (manual, 20.1.2)."""
    escaped = value.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
