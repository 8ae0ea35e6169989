"""The command in one file: the same bytes from the same source, on any Python, and quick to start."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "build_pyz.py"
PYTHONS = [sys.executable, *filter(None, map(shutil.which, ["/usr/bin/python3", "python3"]))]


def build(target: Path, python: str = sys.executable, **environ: str) -> bytes:
    subprocess.run([python, str(SCRIPT), str(target)], check=True, env={**os.environ, **environ})
    return target.read_bytes()


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pyz") / "dbfleet.pyz"
    build(path)
    return path


def test_the_same_source_gives_the_same_bytes(pyz: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "plugins" / "module_utils" / "dbfleet", copy / "plugins" / "module_utils" / "dbfleet")
    (copy / "scripts").mkdir()
    shutil.copy(SCRIPT, copy / "scripts")
    for path in copy.rglob("*.py"):  # other times and modes, other line ends: not other sources
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        os.utime(path, (1, 1))
        path.chmod(0o600)
    for number, python in enumerate(PYTHONS):
        target = tmp_path / f"{number}.pyz"
        subprocess.run(
            [python, str(copy / "scripts" / "build_pyz.py"), str(target)],
            check=True,
            env={**os.environ, "TZ": "JST-9"},
        )
        assert target.read_bytes() == pyz.read_bytes()


def test_it_holds_sources_and_nothing_of_this_machine(pyz: Path) -> None:
    assert str(ROOT).encode() not in pyz.read_bytes()
    with zipfile.ZipFile(pyz) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert names == ["__main__.py", *sorted(names[1:])]
    assert all(name.endswith(".py") for name in names)
    assert "dbfleet/cli.py" in names


def test_it_can_be_called_by_its_name(pyz: Path) -> None:
    assert stat.S_IMODE(pyz.stat().st_mode) == 0o755
    assert pyz.read_bytes().startswith(b"#!/usr/bin/env python3\n")
    done = subprocess.run([str(pyz), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("dbfleet ")


def test_an_aborted_build_leaves_the_old_file(pyz: Path, tmp_path: Path) -> None:
    target = tmp_path / "dbfleet.pyz"
    target.write_text("old")
    tmp_path.chmod(0o755)
    broken = tmp_path / "scripts"
    broken.mkdir()
    shutil.copy(SCRIPT, broken)  # a tree whose package cannot be read
    (tmp_path / "plugins" / "module_utils" / "dbfleet" / "a.py").mkdir(parents=True)
    line = [sys.executable, str(broken / "build_pyz.py"), str(target)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert target.read_text() == "old"
    assert not list(tmp_path.glob(".dbfleet*"))


def test_a_listing_loads_little(pyz: Path, tmp_path: Path) -> None:
    """A zipapp is compiled at every start, so a start costs what it loads. Counted: clocks depend on the machine."""
    (tmp_path / "backups").mkdir()
    python = shutil.which("/usr/bin/python3") or sys.executable
    program = (
        "import sys, runpy, atexit\n"
        "atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    line = [python, "-S", "-c", program, str(pyz), "list", "--repository", str(tmp_path / "backups")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("no backups")
    loaded = set(done.stderr.split())
    heavy = "argparse subprocess difflib sqlite3 shutil tempfile pathlib asyncio concurrent socket ssl logging zipfile"
    assert not loaded & set(heavy.split())
    with zipfile.ZipFile(pyz) as archive:
        sizes = {entry.filename[:-3].replace("/", "."): entry.file_size for entry in archive.infolist()}
    ours = {name: size for name, size in sizes.items() if name in loaded}
    assert not [name for name in ours if name.startswith(("dbfleet.databases", "dbfleet.stream"))]
    assert sum(ours.values()) < 180_000, ours


@pytest.fixture
def installed(pyz: Path, tmp_path: Path) -> Path:
    """A copy that byte code can be kept beside."""
    return Path(shutil.copy(pyz, tmp_path / "it's.pyz"))


def run(pyz: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, str(pyz), *words], capture_output=True, text=True, check=True)
    return done.stdout


def loaded_from(pyz: Path) -> str:
    """The file that the modules of a start come from."""
    line = [sys.executable, "-v", str(pyz), "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return next(line for line in done.stderr.splitlines() if line.startswith("import 'dbfleet.cli'"))


def test_byte_code_is_kept_beside_it_once(installed: Path, pyz: Path) -> None:
    assert run(installed, "--compile").startswith("made ")
    [made] = installed.parent.glob("it's.pyz.*")
    assert made.name.endswith("." + sys.implementation.cache_tag)
    assert stat.S_IMODE(made.stat().st_mode) == 0o644
    assert made.name in loaded_from(installed)
    assert run(installed, "--compile") == "it is compiled already\n"
    assert run(installed, "--help") == run(pyz, "--help")
    link = installed.with_name("link.pyz")
    link.symlink_to(installed.name)
    assert made.name in loaded_from(link)
    trace = subprocess.run([sys.executable, str(link), "x", "-v"], capture_output=True, text=True, check=False)
    assert "raise UsageError(" in trace.stderr, "a traceback shows its lines"


def test_byte_code_of_others_goes_and_is_not_used(installed: Path) -> None:
    strangers = [installed.with_name(f"{installed.name}.{'0' * 16}.{tag}") for tag in ("cpython-311", "cpython-399")]
    kept = [
        installed.with_name(name) for name in (f"{installed.name}.bak", f"{installed.name}.{'0' * 16}.txt", "a.pyz")
    ]
    for path in (*strangers, *kept):
        path.write_bytes(b"anything")
    assert installed.name in loaded_from(installed)
    run(installed, "--compile")
    assert not any(path.exists() for path in strangers) and all(path.exists() for path in kept)


@pytest.mark.parametrize("spoil", ["writable", "owner", "link", "damaged"])
def test_byte_code_that_others_could_have_written_is_not_used(installed: Path, spoil: str) -> None:
    run(installed, "--compile")
    [made] = installed.parent.glob("it's.pyz.*")
    if spoil == "writable":
        made.chmod(0o664)
    elif spoil == "owner":
        if os.geteuid() != 0:
            pytest.skip("only root gives files away")
        os.chown(made, 12345, -1)
    elif spoil == "link":
        made.rename(made.with_name("elsewhere"))
        made.symlink_to("elsewhere")
    else:
        made.write_bytes(made.read_bytes()[:1000])
    assert run(installed, "--version").startswith("dbfleet ")
    assert made.name not in loaded_from(installed)


def test_a_file_that_cannot_be_written_is_told(installed: Path) -> None:
    run(installed, "--compile")
    [made] = installed.parent.glob("it's.pyz.*")
    made.unlink()
    (made / "in the way").mkdir(parents=True)
    line = [sys.executable, str(installed), "--compile"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{made} cannot be written" in done.stderr and "remedy: " in done.stderr
    assert sorted(installed.parent.iterdir()) == [installed, made]


def test_without_a_zipapp_there_is_nothing_to_keep() -> None:
    package = ROOT / "plugins" / "module_utils"
    line = [sys.executable, "-m", "dbfleet", "--compile"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=package)
    assert done.returncode == 2 and "no zipapp" in done.stderr
