"""The stream with real tools, and with tools that misbehave: promises 1, 2 and 5."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from isolation import children, in_child, shared_servers, tools_left
from stored_files import keep_foreign

from dbfleet.errors import DamagedError, DbfleetError, KeyMaterialError, SourceError, ToolError
from dbfleet.model import Artifact, Compression, Encryption
from dbfleet.stores.file import FileStore
from dbfleet.stream import compression as compressions
from dbfleet.stream import encryption as encryptions
from dbfleet.stream.pipeline import StagedArtifact, check_stored, read_artifact, store_artifact

__all__ = ["shared_servers"]

PASSPHRASE = "correct horse; 'battery' $(staple) ü"
RAW = b"".join(b"INSERT INTO t VALUES (%d, 'row %d');\n" % (n, n * n) for n in range(60_000))
PYTHON = f"#!{sys.executable}\n"


@dataclasses.dataclass(frozen=True)
class Keys:
    """What encrypts: settings by name, and settings that do not fit."""

    good: dict[str, Encryption]
    wrong: dict[str, Encryption]
    home: str


@pytest.fixture(scope="session")
def keys() -> Iterator[Keys]:
    folder = tempfile.mkdtemp(prefix="dbfleet-k-")  # short: gpg's sockets have a short limit
    homes = [os.path.join(folder, name) for name in ("h1", "h2")]
    fingerprints = []
    for number, home in enumerate(homes):
        os.mkdir(home, 0o700)
        gpg = ["gpg", "--homedir", home, "--batch", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-gen-key", f"k{number}@example.org"], check=True, capture_output=True)
        listing = subprocess.run([*gpg, "--with-colons", "-K"], check=True, capture_output=True, text=True).stdout
        fingerprints.append([line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr")][0])
    public = subprocess.run(["gpg", "--homedir", homes[0], "--export"], check=True, capture_output=True).stdout
    subprocess.run(["gpg", "--homedir", homes[1], "--import"], input=public, check=True, capture_output=True)
    recipients = []
    for name in ("i1", "i2"):
        subprocess.run(["age-keygen", "-o", f"{folder}/{name}"], check=True, capture_output=True)
        text = Path(folder, name).read_text()
        recipients.append(text.split("public key: ")[1].split()[0])
    for name, passphrase in (("p1", PASSPHRASE), ("p2", "wrong")):
        Path(folder, name).write_text(passphrase + "\nnot this line\n", encoding="utf-8")
    gpg_key = Encryption("gpg", recipients=("k0@example.org",), gpg_home=homes[0])
    age_key = Encryption("age", recipients=(recipients[0],), identity_file=f"{folder}/i1")
    yield Keys(
        good={
            "none": Encryption(),
            "symmetric": Encryption("gpg", passphrase_file=f"{folder}/p1"),
            "recipients": gpg_key,
            "age": age_key,
        },
        wrong={
            "symmetric": Encryption("gpg", passphrase_file=f"{folder}/p2"),
            "age": dataclasses.replace(age_key, identity_file=f"{folder}/i2"),
            "recipients": dataclasses.replace(gpg_key, gpg_home=homes[1]),
        },
        home=homes[0],
    )
    for home in homes:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    shutil.rmtree(folder)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    made = FileStore(str(tmp_path / "repository"))
    made.prepare()
    return made


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a script in the place of a tool, and makes the engine use the command for zstd."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(compressions, "_zstd_provider", lambda: "command")

    def make(name: str, script: str) -> None:
        (folder / name).write_text(PYTHON + script)
        (folder / name).chmod(0o755)

    return make


def send(store: FileStore, compression: Compression, encryption: Encryption, raw: bytes = RAW) -> StagedArtifact:
    return store_artifact(lambda sink: sink.write(raw), store, "a.sql", "sql", compression, encryption)


def read(store: FileStore, artifact: Artifact, encryption: Encryption) -> bytes:
    with read_artifact(store, artifact, encryption) as chunks:
        return b"".join(chunks)


def nothing_left(store: FileStore) -> bool:
    return list(store.entries()) == [] and store.leftovers("") == [] and tools_left() == []


METHODS = [Compression("zstd", 1, 1), Compression("zstd", -7, 2), Compression("gzip", 1, 2), Compression("none")]


@pytest.mark.parametrize("which", ["none", "symmetric", "recipients", "age"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method.method}{method.threads}")
def test_every_way_there_and_back_also_by_hand(
    keys: Keys, store: FileStore, method: Compression, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encryption = keys.good[which]
    encryptions.check(encryption)
    staged = send(store, method, encryption)
    assert list(store.entries()) == []
    staged.commit()
    artifact = staged.artifact
    assert read(store, artifact, encryption) == RAW
    assert check_stored(store, artifact) == []
    if which != "none":
        assert RAW[:200] not in store.read(artifact.file)
    by_hand = encryptions.decode_command(artifact.file, artifact.compression, artifact.encryption)
    home = keys.home
    if which == "symmetric":
        home = store.root  # a home whose settings answer the question for the passphrase
        Path(home, "gpg.conf").write_text(
            f"batch\npinentry-mode loopback\nno-autostart\npassphrase-file {encryption.passphrase_file}\n"
        )
    environment = {**os.environ, "GNUPGHOME": home, "AGE_IDENTITY": str(encryption.identity_file)}
    shell = subprocess.run(["sh", "-c", by_hand], cwd=store.root, env=environment, capture_output=True, check=True)
    assert shell.stdout == RAW
    assert tools_left() == []


@pytest.mark.parametrize("which", ["symmetric", "recipients", "age"])
def test_keys_that_do_not_fit_are_no_damage(keys: Keys, store: FileStore, which: str) -> None:
    for method in (Compression("none"), Compression("zstd", 1, 1)):
        staged = send(store, method, keys.good[which])
        staged.commit()
        with pytest.raises(KeyMaterialError) as caught:
            read(store, staged.artifact, keys.wrong[which])
        assert staged.artifact.file in caught.value.message
        assert "encryption." in caught.value.remedy
        store.remove(staged.artifact.file)


@pytest.mark.parametrize("which", ["none", "symmetric", "recipients", "age"])
@pytest.mark.parametrize("place", [0.0, 0.02, 0.5, 0.999])
@pytest.mark.parametrize("harm", ["flip", "cut"])
@pytest.mark.parametrize("forged", [False, True])
def test_tampered_bytes_are_damage(
    keys: Keys, store: FileStore, which: str, place: float, harm: str, forged: bool
) -> None:
    """``forged``: the manifest was altered too, so that only decryption and the raw digest can tell."""
    staged = send(store, Compression("zstd", 1, 1), keys.good[which])
    staged.commit()
    artifact = staged.artifact
    data = bytearray(store.read(artifact.file))
    where = int(len(data) * place)
    if harm == "flip":
        data[where] ^= 0x10
    else:
        del data[where:]
    store.remove(artifact.file)
    changed = keep_foreign(store, artifact.file, bytes(data), RAW, "zstd")
    if forged:
        artifact = dataclasses.replace(artifact, size_bytes=changed.size_bytes, sha256=changed.sha256)
    else:
        assert len(check_stored(store, artifact)) == 1
    # A damaged header of a forged file can look like somebody else's key; never like a success.
    expected: tuple[type[DbfleetError], ...] = (DamagedError,)
    if forged and which != "none" and place < 0.1:
        expected = (DamagedError, KeyMaterialError)
    with pytest.raises(expected) as caught:
        read(store, artifact, keys.good[which])
    assert artifact.file in caught.value.message
    assert tools_left() == []


@pytest.mark.parametrize(
    "settings, word",
    [
        (Encryption("gpg", recipients=("nobody@example.org",)), "nobody@example.org"),
        (Encryption("gpg", recipients=("--output=/tmp/x",)), "--output"),
        (Encryption("gpg", recipients=("-",)), "'-'"),
        (Encryption("gpg", recipients=("@example.org",)), "one gpg key"),
        (Encryption("gpg", recipients=("k0@example.org",), gpg_home="/nowhere"), "/nowhere"),
        (Encryption("gpg", passphrase_file="/nowhere"), "/nowhere"),
        (Encryption("age", recipients=("age1qqqqqqqq",)), "recipient"),
        (Encryption("age", recipients=("ssh-ed25519 AAAA",)), "recipient"),
    ],
)
def test_who_cannot_read_is_found_before_data_flows(
    keys: Keys, store: FileStore, settings: Encryption, word: str
) -> None:
    if settings.method == "gpg" and settings.recipients and settings.gpg_home is None:
        settings = dataclasses.replace(settings, gpg_home=keys.wrong["recipients"].gpg_home)
    with pytest.raises(KeyMaterialError) as caught:
        encryptions.check(settings)
    assert word in caught.value.message
    with pytest.raises(KeyMaterialError):
        send(store, Compression("none"), settings)
    assert nothing_left(store)


def test_keys_that_can_only_be_read_can_encrypt() -> None:
    """As an administrator gives them to the account of backups; gpg would bring its database of trust up to date."""
    home = Path(tempfile.mkdtemp(prefix="dbfleet-k-"))
    gpg = ["gpg", "--homedir", str(home), "--batch", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-gen-key", "k@example.org", "rsa2048", "encr"], check=True, capture_output=True)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    for path in (home, *home.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        in_child(lambda: encryptions.check(Encryption("gpg", ("k@example.org",), gpg_home=str(home))), nobody=True)
    finally:
        home.chmod(0o700)
        shutil.rmtree(home)


def test_the_manifest_names_keys_and_no_secret(keys: Keys) -> None:
    assert encryptions.describe(keys.good["symmetric"]) == {"method": "gpg", "mode": "symmetric", "cipher": "AES256"}
    described = encryptions.describe(keys.good["recipients"])
    assert described["mode"] == "recipients"
    (key,) = described["key_ids"]  # type: ignore[misc]
    assert len(key) == 40
    assert encryptions.describe(keys.good["age"])["recipients"] == list(keys.good["age"].recipients)


def test_symmetric_encryption_needs_no_home_and_leaves_none(
    keys: Keys, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("GNUPGHOME", "/nonexistent")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    staged = send(store, Compression("none"), keys.good["symmetric"])
    staged.commit()
    assert read(store, staged.artifact, keys.good["symmetric"]) == RAW
    with pytest.raises(KeyMaterialError):
        read(store, staged.artifact, keys.wrong["symmetric"])
    assert os.listdir(scratch) == []


def test_the_passphrase_is_in_no_argument_and_no_environment(
    keys: Keys, store: FileStore, fake: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("DBFLEET_SOURCE_URL", "postgresql://u:hunter2@h/d")
    record = tmp_path / "record"
    real = shutil.which("gpg", path="/usr/bin:/bin:/usr/local/bin")
    fake("gpg", f"import os, sys\nopen({str(record)!r}, 'w').write(repr((sys.argv, dict(os.environ))))\n"
                f"os.execv({real!r}, ['gpg', *sys.argv[1:]])\n")  # fmt: skip
    send(store, Compression("none"), keys.good["symmetric"]).commit()
    seen = record.read_text()
    assert "--passphrase-fd" in seen
    assert "battery" not in seen
    assert "hunter2" not in seen


READ_ALL = "import sys\ndata = sys.stdin.buffer.read()\n"
MISBEHAVIOUR = {
    "fails late": (READ_ALL + "sys.stdout.buffer.write(data[:99])\nsys.exit('disk on fire')", "disk on fire"),
    "fails at once": ("import sys\nsys.stderr.write('no')\nsys.exit(3)", "exit status 3"),
    "writes nothing": (READ_ALL, "wrote nothing"),
    "stops reading": ("print('x')", "stopped reading"),
    "is killed": (READ_ALL + "import os\nos.kill(os.getpid(), 9)", "signal 9"),
    "closes its output": (READ_ALL + "import os\nos.close(1)\nos._exit(4)", "exit status 4"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISBEHAVIOUR)
@pytest.mark.parametrize("tool", ["zstd", "gpg", "zstd before gpg"])
def test_a_tool_that_misbehaves_fails_the_backup_and_leaves_nothing(
    keys: Keys, store: FileStore, fake: Callable[[str, str], None], what: str, tool: str
) -> None:
    script, words = MISBEHAVIOUR[what]
    fake(tool.split()[0], script)
    compression = Compression("none") if tool == "gpg" else Compression("zstd", 1, 1)
    encryption = keys.good["none" if tool == "zstd" else "symmetric"]
    raw = os.urandom(8 * 2**20)  # more than all pipes hold
    with pytest.raises(ToolError) as caught:
        send(store, compression, encryption, raw)
    assert words in caught.value.message
    assert tool.split()[0] in caught.value.message
    assert nothing_left(store)


def test_a_tool_that_is_not_there_is_named_with_its_package(
    keys: Keys, store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for which, package in (("symmetric", "gnupg"), ("age", "age")):
        with pytest.raises(ToolError) as caught:
            send(store, Compression("none"), keys.good[which])
        assert f"install the package {package}" in caught.value.remedy
        assert nothing_left(store)


def test_a_failing_pump_kills_every_tool(keys: Keys, store: FileStore) -> None:
    def pump(sink: object) -> None:
        sink.write(RAW)  # type: ignore[attr-defined]
        raise SourceError("gone")

    before = set(threading.enumerate())  # a test before this one may have left some that are about to end
    with pytest.raises(SourceError):
        store_artifact(pump, store, "a.sql", "sql", METHODS[0], keys.good["symmetric"])
    assert nothing_left(store)
    assert set(threading.enumerate()) <= before


def test_a_reader_that_stops_early_kills_every_tool(keys: Keys, store: FileStore) -> None:
    staged = send(store, METHODS[0], keys.good["symmetric"], RAW * 20)
    staged.commit()
    before = set(threading.enumerate())
    with pytest.raises(KeyError), read_artifact(store, staged.artifact, keys.good["symmetric"]) as chunks:
        next(chunks)
        raise KeyError
    assert tools_left() == []
    assert set(threading.enumerate()) <= before


def test_a_killed_backup_leaves_no_orphan(keys: Keys, store: FileStore, tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom dbfleet.model import Compression, Encryption\n"
        "from dbfleet.stores.file import FileStore\nfrom dbfleet.stream import compression\n"
        "from dbfleet.stream.pipeline import store_artifact\n"
        "compression._zstd_provider = lambda: 'command'\n"
        "def pump(sink):\n    sink.write(b'x' * 5000000)\n    print('flowing', flush=True)\n    time.sleep(60)\n"
        "store_artifact(pump, FileStore(sys.argv[1]), 'a', 'sql', Compression(), "
        "Encryption('gpg', passphrase_file=sys.argv[2]))\n"
    )
    passphrase = keys.good["symmetric"].passphrase_file
    assert passphrase is not None
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script, store.root, passphrase]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"flowing\n"
        tools = children(child.pid)
        assert len(tools) == 2
        child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{tool}") for tool in tools):
        assert time.monotonic() < deadline, "a tool outlived its backup"
        time.sleep(0.02)
    assert list(store.entries()) == []
    assert len(store.leftovers("a")) == 1
