"""A module that runs with async is in the process group that Ansible's watcher kills."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

# As async_wrapper does it, with the race always lost: the module runs before its parent leads a group.
WATCHER = """
import os, subprocess, sys, time
reader, writer = os.pipe()
parent = os.fork()
if parent == 0:
    os.close(reader)
    subprocess.run([sys.executable, "-c", sys.argv[1], str(writer)], pass_fds=[writer])
    os._exit(0)
os.close(writer)
time.sleep(float(sys.argv[2]))
os.setpgid(parent, parent)
said = os.read(reader, 100).decode()
os.killpg(parent, 9)
print(parent, said, os.read(reader, 100) == b"")
"""
MODULE = """
import os, sys, time
from module_utils._module import join_watched_group
join_watched_group(os.environ)
os.write(int(sys.argv[1]), str(os.getpgrp()).encode())
time.sleep(600)
"""


@pytest.mark.parametrize("late", ["0", "1"])
def test_it_joins_the_group_of_its_parent(late: str) -> None:
    environ = {
        **os.environ,
        "ANSIBLE_ASYNC_DIR": "~/.ansible_async",
        "PYTHONPATH": os.pathsep.join([str(PLUGINS), *sys.path]),
    }
    command = [sys.executable, "-c", WATCHER, MODULE, late]
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    parent, group, ended = done.stdout.split()
    assert (group, ended) == (parent, "True")
