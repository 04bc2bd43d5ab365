"""Kills and stops in the middle of real work, held-out frames made unreadable, two processes at once."""

from __future__ import annotations

import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from talkjax.errors import EXIT_RESUMABLE
from talkjax.track.identity import Identity
from talkjax.track.stage_cache import damaged_files
from talkjax.train.params_file import load_params
from tests.flow.conftest import FINETUNE, TRAIN_FRAMES, World, wait_for

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

HELD_OUT = ("heldout", "heldout_track")


def _kill(child: subprocess.Popen[str]) -> None:
    child.send_signal(signal.SIGKILL)
    child.communicate()


def test_prepare_killed_again_and_again_gives_the_same_identity(prepared: World):
    """Killed in the middle of three stages; in between, a second process is turned away."""
    words = ("prepare", prepared.clip, "--identity=killed", f"--train_frames={TRAIN_FRAMES}")
    root = prepared.identities / "killed"
    shutil.rmtree(root, ignore_errors=True)
    stages = ("clip", "track", "texture")
    shutil.copytree(
        prepared.identities / "me",
        root,
        ignore=shutil.ignore_patterns(*stages, "mapping*", "motion*", "refiner*"),
    )
    identity = Identity.open("killed", prepared.identities)
    for stage in stages:
        child = prepared.start(*words)
        half = root / f"{stage}.tmp-{child.pid}"
        begun = half / "frames" / "00010.jpg" if stage == "clip" else half
        wait_for(begun.exists, child, stage)
        child.send_signal(signal.SIGSTOP)  # it keeps its lock and waits
        if stage == "clip":
            said = prepared.refused("finetune", "--identity=killed")
            assert f"in use by pid {child.pid}" in said
        _kill(child)
        assert half.exists() and not identity.has_stage(stage)
    said = prepared.refused("finetune", "--identity=killed")  # half a texture is not taken for one
    assert "talkjax prepare" in said and "texture" in said
    prepared.run(*words)
    whole = Identity.open("me", prepared.identities)
    for stage in (*stages, *HELD_OUT):
        assert identity.stage_files(stage) == whole.stage_files(stage), stage
        assert not damaged_files(root / stage)
    assert not [path for path in root.iterdir() if ".tmp" in path.name or ".old" in path.name]
    shutil.rmtree(root)


def _garbage(folder: pathlib.Path) -> None:
    """Every file of the folder keeps its name and size and loses its content."""
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "stage.json":
            path.write_bytes(b"\xff" * path.stat().st_size)


@pytest.fixture(scope="module")
def blind(finetuned: World) -> Identity:
    """A copy of the person without networks, whose held-out frames nobody can read."""
    root = finetuned.identities / "blind"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(finetuned.identities / "me", root)
    for name in ("mapping", "motion", "refiner"):
        shutil.rmtree(root / name)
    _garbage(root / HELD_OUT[0])
    shutil.rmtree(root / HELD_OUT[1])
    return Identity.open("blind", finetuned.identities)


def _weights(root: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """Flat name -> array of a finished network."""
    flat: dict[str, np.ndarray] = {}

    def walk(prefix: str, node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(f"{prefix}/{key}", value)
        else:
            flat[prefix] = np.asarray(node)

    walk("", load_params(root / name / f"{name}.npz")[0])
    return flat


def test_finetune_sees_no_held_out_frame_and_survives_kill_and_stop(finetuned: World, blind: Identity):
    words = ("finetune", "--identity=blind", "--progress", *FINETUNE)
    child = finetuned.start(*words)
    wait_for((blind.root / "mapping.partial").exists, child, "the mapping began")
    _kill(child)
    assert not blind.has_stage("mapping") and not blind.has_stage("refiner")

    child = finetuned.start(*words)
    assert child.stderr is not None
    said = ""
    while "refiner " not in said:  # its bar: the first step is being compiled, or running
        line = child.stderr.read(1)
        assert line, f"ended before the refiner began: {said}"
        said += line
    time.sleep(0.3)  # from its bar to its handler of signals
    child.terminate()
    _, rest = child.communicate()
    assert child.returncode == EXIT_RESUMABLE, rest
    assert "run the same command again" in rest and "Traceback" not in rest
    assert blind.has_stage("mapping") and not blind.has_stage("refiner")
    assert list((blind.root / "refiner.partial" / "checkpoints").iterdir())

    finetuned.run(*words)
    me = finetuned.identities / "me"
    for name in ("mapping", "motion", "refiner"):
        there, here = _weights(me, name), _weights(blind.root, name)
        assert there.keys() == here.keys() and len(there) > 10
        for key, value in there.items():
            np.testing.assert_array_equal(value, here[key], err_msg=f"{name}{key}")
    assert not list(blind.root.glob("*.partial")) and not (blind.root / "refiner" / "checkpoints").exists()


def test_evaluate_refuses_held_out_frames_that_are_damaged(finetuned: World, blind: Identity):
    said = finetuned.refused("evaluate", "--identity=blind")
    assert "talkjax prepare" in said
