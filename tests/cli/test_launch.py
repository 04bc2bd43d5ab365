"""The wrappers in launch/, with stand-ins for Python and pip: what they find, reuse and say."""

from __future__ import annotations

import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = [*sorted((ROOT / "launch").glob("*.sh")), ROOT / ".ci" / "run"]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="bash scripts")

# A Python whose venv module makes an environment in which `pip install` only leaves a mark.
_STAND_IN = """#!/bin/bash
if [ "$1 $2" = "-m venv" ]; then
  {venv}
  mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; exit 0
fi
if [ "$1 $2" = "-m virtualenv" ]; then exit 1; fi
if [ "$1 $2 $3" = "-m pip install" ]; then echo "${{@: -5}}" >> {log}; {pip}; fi
if [ "$1 $2" = "-m pip" ]; then exit 0; fi
exec {python} "$@"
"""


@pytest.fixture
def project(tmp_path):
    """A project folder with the real launch scripts and nothing else."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "launch", root / "launch")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    return root


def _python(path: pathlib.Path, *, venv: str = ":", pip: str = "exit 0") -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    log = path.parent / "pip.log"
    path.write_text(_STAND_IN.format(python=sys.executable, log=log, venv=venv, pip=pip))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _ensure(project: pathlib.Path, extras: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    tools = os.pathsep.join(
        sorted({str(pathlib.Path(shutil.which(name) or "/bin/sh").parent) for name in ("bash", "rm")})
    )
    return subprocess.run(
        ["bash", "-c", f"source launch/common.sh; ensure_env '{extras}'"],
        cwd=project,
        env={"PATH": tools, "HOME": str(project)} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse(script):
    assert SCRIPTS and subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_environment_is_made_once_and_reused_while_nothing_changes(project, tmp_path):
    python = _python(tmp_path / "bin" / "python3.12")
    log = tmp_path / "bin" / "pip.log"

    def installs(extras: str = "") -> list[str]:
        before = log.read_text().splitlines() if log.exists() else []
        done = _ensure(project, extras, PYTHON=str(python))
        assert done.returncode == 0, done.stderr
        return log.read_text().splitlines()[len(before) :]

    (line,) = installs()
    assert f"--editable {project} --constraint {project}/constraints.txt" in line
    assert installs() == []
    (line,) = installs("dev")
    assert f"{project}[dev]" in line
    assert installs("dev") == installs() == []  # an environment for the tests serves the demo too
    with open(project / "constraints.txt", "a") as f:
        f.write("# changed\n")
    assert len(installs()) == 1 and installs() == []
    (project / ".venv" / "bin" / "python").write_text("broken")
    assert len(installs()) == 1 and installs() == []


def test_unfinished_installation_is_not_taken_for_a_finished_one(project, tmp_path):
    python = _python(tmp_path / "bin" / "python3.12", pip="exit 1")
    for _ in range(2):
        done = _ensure(project, "dev", PYTHON=str(python))
        assert done.returncode == 2
        assert "Offline?" in done.stderr and "PIP_FIND_LINKS" in done.stderr and "pip download" in done.stderr
        assert not list((project / ".venv").glob(".talkjax-*"))


def test_missing_venv_module_gets_a_hint(project, tmp_path):
    python = _python(tmp_path / "bin" / "python3.11", venv="echo 'ensurepip is not available'; exit 1")
    done = _ensure(project, PYTHON=str(python))
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr and "virtualenv" in done.stderr
    assert not (project / ".venv").exists()


def test_unusable_python_is_named(project, tmp_path):
    done = _ensure(project, PYTHON="/nowhere/python3.12")
    assert done.returncode == 2 and "PYTHON=/nowhere/python3.12 is not a working Python" in done.stderr
    old = tmp_path / "bin" / "python3"
    old.parent.mkdir()
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "rm", "cat", "dirname"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = _ensure(project, PATH=f"{old.parent}:{tools}")
    assert done.returncode == 2 and "No Python 3.11, 3.12 or 3.13 was found" in done.stderr


def test_constraints_pin_every_direct_dependency_and_name_no_index():
    text = (ROOT / "constraints.txt").read_text()
    pins = {line.split("==")[0] for line in text.splitlines() if line and not line.startswith("#")}
    assert "://" not in text and "--" not in text
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("talkjax") or []]
    names = {
        entry.name.replace("_", "-").lower()
        for entry in wanted
        if not any(extra in str(entry.marker) for extra in ("cuda", "tpu", "onnx")) and entry.name != "talkjax"
    }
    assert names and names <= pins, sorted(names - pins)
