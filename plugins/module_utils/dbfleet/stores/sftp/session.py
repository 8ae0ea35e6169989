"""A connection to an SSH server: who we are, who it must be, and a new one when the old one is lost.

The driver is paramiko, 2.9 or newer. Keys of servers are checked always and never learned.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from ...errors import DbfleetError, KeyMaterialError, RepositoryError, ToolError
from ...host import user_name
from ...secret_files import exposure, password_in
from .known_hosts import KnownKey, check_key, known_keys
from .protocol import Protocol

CONNECT_PATIENCE = 20.0  # seconds for each step: the connection, the keys, the login, a channel
KEEPALIVE = 15  # seconds of silence after which a sign of life is sent
DEAD_AFTER_MS = 60_000  # milliseconds in which the other side must have taken what was sent (tcp(7), Linux)
RETRY_AFTER = 5.0  # seconds in which a connection that just failed is not tried again
WINDOW = 4 * 1024 * 1024  # bytes that the server may send before we have taken them
LARGEST_PACKET = 128 * 1024  # fewer packets are less work for Python; SSH servers split at will

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # of ssh(1), in ~/.ssh
FAST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr", "aes192-ctr")
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")


@dataclass(frozen=True)
class Access:
    """How to log in, and where the keys of servers are; paths of files, of which none is secret itself.

    ``password_file`` holds the passphrase of ``identity_file`` where there is one, and else the
    password of the account.
    """

    identity_file: Optional[str] = None
    known_hosts_file: Optional[str] = None
    password_file: Optional[str] = None

    def warning(self) -> Optional[str]:
        """What people should know of the files: text when others than the owner can read a secret one."""
        return exposure((self.identity_file, self.password_file))


class Session:
    """One account on one server; connects when it is first needed, and again after the line was lost."""

    def __init__(self, host: str, port: int, user: Optional[str], access: Access) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.access = access
        self.where = f"sftp://{host}" + ("" if port == 22 else f":{port}")
        self._lock = threading.Lock()
        self._transport: Any = None
        self._protocol: Optional[Protocol] = None
        self._refused: Optional[tuple[float, DbfleetError]] = None

    def protocol(self) -> Protocol:
        """The conversation that everything shares. Raises ``RepositoryError``, ``KeyMaterialError``, ``ToolError``."""
        with self._lock:
            if self._protocol is None or not self._protocol.alive:
                self._protocol = self._channel()
            return self._protocol

    def another(self) -> Protocol:
        """A conversation of its own, which a slow answer to another one does not hold up.

        Where the server grants no second one, it is the shared one.
        """
        shared = self.protocol()
        with self._lock:
            try:
                return self._channel()
            except RepositoryError:
                return shared

    def give_back(self, protocol: Protocol) -> None:
        """End a conversation that was :meth:`another`; the shared one stays."""
        if protocol is not self._protocol:
            protocol.close()

    def _channel(self) -> Protocol:
        if self._transport is not None and self._transport.is_active():
            try:
                return self._open()
            except RepositoryError:
                if self._protocol is not None and self._protocol.alive:
                    raise  # the line is good, but the server grants no second conversation
                self._transport.close()  # it was about to die
        self._connect()
        return self._open()

    def _open(self) -> Protocol:
        try:
            channel = self._transport.open_session(WINDOW, LARGEST_PACKET, CONNECT_PATIENCE)
            channel.settimeout(CONNECT_PATIENCE)
            channel.invoke_subsystem("sftp")
        except Exception as error:  # SSHException, EOFError, OSError: by version
            raise RepositoryError(
                f"{self.where} has no SFTP for this account: {_words(error)}",
                "check that sshd_config has a line 'Subsystem sftp internal-sftp', and what the account may do",
            ) from error
        return Protocol(channel, self.where)

    def _connect(self) -> None:
        if self._refused is not None and time.monotonic() - self._refused[0] < RETRY_AFTER:
            raise self._refused[1]
        try:
            self._transport = connect(self)
            self._refused = None
        except DbfleetError as error:
            self._refused = (time.monotonic(), error)
            raise
        weakref.finalize(self, self._transport.close)


class OwnLine:
    """A conversation for one lease, made anew when it was lost."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._protocol: Optional[Protocol] = None

    def __call__(self) -> Protocol:
        """The conversation as it is now."""
        if self._protocol is None or not self._protocol.alive:
            self._protocol = self._session.another()
        return self._protocol

    def end(self) -> None:
        """Give it back."""
        if self._protocol is not None:
            self._session.give_back(self._protocol)


def load_driver() -> Any:
    """The module paramiko. Raises ``ToolError`` that names the package to install."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old ciphers, by newer versions of its own dependencies
            import paramiko
    except ImportError as error:
        raise ToolError(
            "sftp:// needs the Python package paramiko, which is not installed",
            "install the package python3-paramiko (or: pip install paramiko)",
        ) from error
    return paramiko


def connect(session: Session) -> Any:
    """A transport that is logged in to the right server."""
    paramiko = load_driver()
    known = known_keys(session.host, session.port, session.access.known_hosts_file)
    line = _dial(session)
    transport = None
    try:
        transport = _transport(paramiko, line, known)
        transport.start_client(timeout=CONNECT_PATIENCE)
        key = transport.get_remote_server_key()
        check_key(session.host, session.port, key.get_name(), key.asbytes(), known, session.access.known_hosts_file)
        _log_in(paramiko, transport, session)
        transport.set_keepalive(KEEPALIVE)
        return transport
    except BaseException as error:
        if transport is not None:
            transport.close()
        line.close()
        if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
            raise RepositoryError(
                f"{session.where} does not let us in: {_words(error)}",
                "check that an SSH server listens there, and its log",
            ) from error
        raise


def _dial(session: Session) -> socket.socket:
    try:
        line = socket.create_connection((session.host, session.port), timeout=CONNECT_PATIENCE)
    except socket.gaierror as error:
        raise RepositoryError(
            f"{session.where}: no address is known for this name", "correct repository.url"
        ) from error
    except OSError as error:
        raise RepositoryError(
            f"{session.where} cannot be reached: {error.strerror or error}",
            "check that its SSH server runs, and the network and firewalls on the way",
        ) from error
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER_MS)
    return line


def _transport(paramiko: Any, line: socket.socket, known: tuple[KnownKey, ...]) -> Any:
    transport = paramiko.Transport(line, default_window_size=WINDOW, default_max_packet_size=LARGEST_PACKET)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = CONNECT_PATIENCE
    transport.set_log_channel("dbfleet.paramiko")
    silence("dbfleet.paramiko")
    security = transport.get_security_options()
    security.ciphers = _first(FAST_CIPHERS, security.ciphers)
    kinds = [key.kind for key in known]
    if kinds:  # a server with several keys must show one that we know
        wanted = [kind for one in kinds for kind in (RSA_SIGNATURES if one == "ssh-rsa" else (one,))]
        security.key_types = _first(wanted, security.key_types)
    return transport


def _first(wanted: Any, offered: Any) -> tuple[str, ...]:
    """``offered`` with those that are ``wanted`` first, in that order."""
    first = [one for one in dict.fromkeys(wanted) if one in offered]
    return (*first, *(one for one in offered if one not in first))


def silence(channel: str) -> None:
    """Paramiko logs tracebacks of what it also raises: our one line is enough."""
    import logging

    log = logging.getLogger(channel)
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())


# --- who we are ---


def _log_in(paramiko: Any, transport: Any, session: Session) -> None:
    user = session.user or user_name()
    access = session.access
    reason = ""
    try:
        if access.identity_file is None and access.password_file is not None:
            transport.auth_password(user, password_in(access.password_file, "repository.password_file"))
            return
        tried = 0
        for key in _identities(paramiko, access):
            tried += 1
            try:
                transport.auth_publickey(user, key)
                return
            except paramiko.BadAuthenticationType:
                raise
            except paramiko.AuthenticationException as error:
                if not transport.is_active():
                    raise
                reason = _words(error)
        if not tried:
            reason = "there is no key to try: no agent, and none of ssh's own files"
    except paramiko.AuthenticationException as error:
        reason = _words(error)
    what = "repository.identity_file" if access.identity_file else "repository.password_file"
    used = what if access.identity_file or access.password_file else "set repository.identity_file, or start an agent"
    raise RepositoryError(
        f"{session.where} refuses the login of {user}: {reason}",
        f"check the user in the URL and {used}" if used == what else used,
    )


def _identities(paramiko: Any, access: Access) -> Iterator[Any]:
    """The key that the job names; without one those of the agent, then ssh's own files."""
    if access.identity_file is not None:
        yield load_key(paramiko, access.identity_file, access.password_file)
        return
    yield from paramiko.Agent().get_keys()
    for name in DEFAULT_KEYS:
        path = os.path.join(os.path.expanduser("~"), ".ssh", name)
        try:
            yield load_key(paramiko, path, None)
        except KeyMaterialError:
            continue  # not there, or with a passphrase: what ssh passes over without a terminal


def load_key(paramiko: Any, path: str, passphrase_file: Optional[str]) -> Any:
    """The private key in a file. Raises ``KeyMaterialError`` when it cannot be had."""
    passphrase = password_in(passphrase_file, "repository.password_file") if passphrase_file is not None else None
    try:
        with open(path, encoding="ascii", errors="replace"):
            pass
    except OSError as error:
        raise KeyMaterialError(
            f"identity file {path} cannot be read: {error.strerror}", "check repository.identity_file"
        ) from error
    reason = ""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key_file(path, passphrase)
        except paramiko.PasswordRequiredException as error:
            raise KeyMaterialError(
                f"identity file {path} has a passphrase",
                "write it into the first line of a file and name that in repository.password_file",
            ) from error
        except Exception as error:  # another kind of key, or a passphrase that does not fit: they differ by version
            reason = reason or _words(error)
    raise KeyMaterialError(
        f"identity file {path} cannot be used: {reason}",
        "check that it is a private key of ssh, and its passphrase in repository.password_file",
    )


def _words(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip().rstrip(".")
