"""Who may log in where: host keys are checked always, secrets stay secret, and every refusal is one line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sftp_server import PASSWORD, SftpServer, free_port, make_key, needs_root
from sftp_server import server as sftp_server

from dbfleet.errors import DbfleetError, KeyMaterialError, RepositoryError, ToolError
from dbfleet.stores.registry import open_store


@pytest.fixture(scope="module")
def server() -> Iterator[SftpServer]:
    with sftp_server() as running:
        yield running


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No key, agent or known host of the person who runs the tests."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("DBFLEET_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


def refused(kind: type[DbfleetError], match: str, server: SftpServer, **changed: Any) -> DbfleetError:
    with pytest.raises(kind, match=match) as caught:
        server.store(**changed).prepare()
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.remedy
    return caught.value


# --- who the server is ---


def test_an_unknown_host_key_is_refused_with_what_to_do(server: SftpServer, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.write_text("# nothing\nother.example ssh-ed25519 AAAA\n")
    error = refused(RepositoryError, "is not known", server, known_hosts_file=str(empty))
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host_ed25519.pub")], stdout=subprocess.PIPE, check=True
    )
    assert shown.stdout.decode().split()[1] in error.message, "the fingerprint, as ssh-keygen tells it"
    assert f"ssh-keyscan -p {server.port} 127.0.0.1 >> {empty}" in error.remedy
    assert empty.read_text().startswith("# nothing\nother"), "no key is ever added"
    command = error.remedy.rpartition("then: ")[2]
    subprocess.run(command, shell=True, check=True, stderr=subprocess.DEVNULL)
    server.store(known_hosts_file=str(empty)).prepare()


def test_a_changed_host_key_is_refused(server: SftpServer, tmp_path: Path) -> None:
    make_key(tmp_path / "other", "ed25519")
    known = tmp_path / "known_hosts"
    known.write_text(f"[127.0.0.1]:{server.port} {(tmp_path / 'other.pub').read_text()}")
    error = refused(RepositoryError, "has changed", server, known_hosts_file=str(known))
    assert "ssh-keygen -R" in error.remedy


def test_a_revoked_host_key_is_refused(server: SftpServer, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    line = Path(server.known_hosts()).read_text()
    known.write_text(line + "@revoked " + "* " + line.partition(" ")[2])
    refused(RepositoryError, "revoked", server, known_hosts_file=str(known))


def test_a_server_with_several_keys_shows_one_that_is_known(server: SftpServer) -> None:
    server.store(known_hosts_file=server.known_hosts(kind="rsa")).prepare()


def test_hashed_names_and_the_users_own_file_are_read(server: SftpServer, own_home: Path) -> None:
    own = own_home / ".ssh" / "known_hosts"
    own.write_text(Path(server.known_hosts()).read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(own)], check=True, stderr=subprocess.DEVNULL)
    assert own.read_text().startswith("|1|")
    server.store(known_hosts_file=None).prepare()
    own.unlink()
    refused(RepositoryError, "is not known", server, known_hosts_file=None)


def test_a_known_hosts_file_that_is_not_there_says_so(server: SftpServer, tmp_path: Path) -> None:
    refused(KeyMaterialError, "known_hosts_file .* cannot be read", server, known_hosts_file=str(tmp_path / "none"))


# --- who we are ---


def test_a_wrong_key_is_refused(server: SftpServer, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong", "ed25519")
    error = refused(RepositoryError, f"refuses the login of {server.user}", server, identity_file=wrong)
    assert "repository.identity_file" in error.remedy


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_keys_of_every_kind_log_in(server: SftpServer, tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / kind, kind)
    with open(server.folder / "authorized_keys", "a") as file:
        file.write(Path(f"{key}.pub").read_text())
    server.store(identity_file=key).prepare()


def test_a_key_with_a_passphrase_takes_it_from_the_file(server: SftpServer, tmp_path: Path) -> None:
    key = make_key(tmp_path / "locked", "ed25519", passphrase=PASSWORD)
    with open(server.folder / "authorized_keys", "a") as file:
        file.write(Path(f"{key}.pub").read_text())
    server.store(identity_file=key, password_file=str(server.folder / "password")).prepare()
    refused(KeyMaterialError, "has a passphrase", server, identity_file=key)
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    refused(KeyMaterialError, "cannot be used", server, identity_file=key, password_file=str(wrong))


def test_a_password_logs_in_and_a_wrong_one_is_refused(server: SftpServer, tmp_path: Path) -> None:
    needs_root()
    server.store(identity_file=None, password_file=str(server.folder / "password")).prepare()
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    error = refused(RepositoryError, "refuses the login", server, identity_file=None, password_file=str(wrong))
    assert "repository.password_file" in error.remedy
    empty = tmp_path / "empty"
    empty.write_text("\n")
    refused(KeyMaterialError, "is empty", server, identity_file=None, password_file=str(empty))
    refused(KeyMaterialError, "cannot be read", server, identity_file=None, password_file=str(tmp_path / "none"))


def test_an_agent_and_the_users_own_keys_are_tried(
    server: SftpServer, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = refused(RepositoryError, "no key to try", server, identity_file=None)
    assert "repository.identity_file" in error.remedy
    own = own_home / ".ssh" / "id_ed25519"
    own.write_bytes((server.folder / "full").read_bytes())
    server.store(identity_file=None).prepare()
    own.unlink()
    socket_path = str(tmp_path / "agent")
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket_path], stdout=subprocess.DEVNULL) as agent:
        try:
            while not os.path.exists(socket_path):
                time.sleep(0.02)
            monkeypatch.setenv("SSH_AUTH_SOCK", socket_path)
            subprocess.run(["ssh-add", "-q", str(server.folder / "full")], check=True)
            server.store(identity_file=None).prepare()
        finally:
            agent.terminate()


def test_a_key_file_that_is_none_says_so(server: SftpServer, tmp_path: Path) -> None:
    refused(KeyMaterialError, "cannot be read", server, identity_file=str(tmp_path / "none"))
    (tmp_path / "text").write_text("hello\n")
    refused(KeyMaterialError, "cannot be used", server, identity_file=str(tmp_path / "text"))


def test_secret_files_that_others_can_read_are_told_of(server: SftpServer) -> None:
    (server.folder / "full").chmod(0o644)
    try:
        assert any("chmod 600" in note for note in server.store().notes())
    finally:
        (server.folder / "full").chmod(0o600)


# --- what else may be there ---


def test_a_server_that_is_down_a_name_that_is_none_and_a_port_that_says_something_else(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text("")
    keys = {"known_hosts_file": str(tmp_path / "known_hosts")}
    with pytest.raises(RepositoryError, match="cannot be reached") as caught:
        open_store(f"sftp://u@127.0.0.1:{free_port()}/x", **keys).prepare()
    assert "SSH server runs" in caught.value.remedy
    with pytest.raises(RepositoryError, match="no address is known"):
        open_store("sftp://u@no-such-host.invalid/x", **keys).prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        import threading

        def answer() -> None:
            line, _from = other.accept()
            line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            line.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(RepositoryError, match="does not let us in") as caught:
            open_store(f"sftp://u@127.0.0.1:{other.getsockname()[1]}/x", **keys).prepare()
    assert "\n" not in str(caught.value)


def test_an_account_without_sftp_says_so(server: SftpServer, tmp_path: Path) -> None:
    key = make_key(tmp_path / "no-sftp", "ed25519")
    with open(server.folder / "authorized_keys", "a") as file:
        file.write('restrict,command="/bin/false" ' + Path(f"{key}.pub").read_text())
    refused(RepositoryError, "SFTP", server, identity_file=key)


def test_nothing_is_printed_when_a_login_fails(server: SftpServer, tmp_path: Path) -> None:
    wrong = make_key(tmp_path / "wrong", "ed25519")
    script = (
        "import sys\nfrom dbfleet.errors import DbfleetError\nfrom dbfleet.stores.registry import open_store\n"
        "try:\n    open_store(sys.argv[1], identity_file=sys.argv[2], known_hosts_file=sys.argv[3]).prepare()\n"
        "except DbfleetError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, server.url(), wrong, server.known_hosts()],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (b"refused\n", b"")


def test_without_the_driver_its_package_is_named(server: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    error = refused(ToolError, "paramiko", server)
    assert "python3-paramiko" in error.remedy


DEBIAN = """
import sys
from dbfleet.stores.registry import open_store
store = open_store(sys.argv[1], identity_file=sys.argv[2], known_hosts_file=sys.argv[3])
store.prepare()
with store.lock("job"):
    store.put("folder/a", b"x" * 3_000_000)
    assert store.read("folder/a") == b"x" * 3_000_000
    assert [entry.name for entry in store.entries()] == ["folder/a"]
    store.remove("folder/a")
print("done")
"""


def test_debians_own_driver_works(server: SftpServer, tmp_path: Path) -> None:
    probe = subprocess.run(["/usr/bin/python3", "-c", "import paramiko"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("python3-paramiko is not installed")
    keys = server.access()
    done = subprocess.run(
        ["/usr/bin/python3", "-c", DEBIAN, server.url(tmp_path.name), keys["identity_file"], keys["known_hosts_file"]],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": next(path for path in sys.path if path.endswith("module_utils"))},
        timeout=60,
    )
    assert done.stdout == b"done\n", done.stderr.decode()
    assert done.stderr == b""
