"""Preparation of a corpus, harmed: killed in the middle, and by a clip that ends its worker."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from talkjax.data.preparation import Job, settle
from talkjax.data.preparation_beam import prepare_persistently
from talkjax.errors import InputError

pytestmark = pytest.mark.faults
ROOT = pathlib.Path(__file__).parents[2]
CLIP = ROOT / "tests" / "goldens" / "synthetic_person.mp4"


def _session(pid: int) -> list[int]:
    """Processes of a session that are still there."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_killed_preparation_goes_on(tmp_path):
    """kill -9 after the first clip: nothing stays behind, and the next run does only the rest."""
    from talkjax.assets.mediapipe import landmark_model_files  # here: workers import this module
    from talkjax.data.corpora.corpus import SpeechItems

    try:
        landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    for word in ("ABOUT", "MAYBE", "WORLD"):
        path = tmp_path / "lrw" / word / "train" / f"{word}_00001.mp4"
        path.parent.mkdir(parents=True)
        shutil.copy(CLIP, path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "launch.prepare_corpus", "lrw", f"--source={tmp_path / 'lrw'}"]
    command += [f"--out={out}", "--workers=1"]
    child = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not (done := list(out.glob("prepared/*/*.json"))):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 30
    while _session(child.pid):
        assert time.monotonic() < deadline, "workers outlive the killed run"
        time.sleep(0.2)
    before = {path: path.stat().st_mtime_ns for path in done}
    assert not list(out.glob("lrw/*/index.json"))
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in done} == before
    summary = json.loads(again.stdout.splitlines()[-1])
    assert (summary["clips"], summary["prepared"], summary["rejected"]) == (3, 3, {})
    items = SpeechItems(out)
    assert [items.utterance(k).text for k in range(3)] == ["about", "maybe", "world"]


@dataclasses.dataclass(frozen=True)
class Crashing:
    """The clip `bad` ends its process, as a decoder does that reads where it must not."""

    def ready(self) -> None:
        pass

    def key(self, job: Job) -> str:
        return job.name

    def prepare(self, job: Job, result: pathlib.Path, key: str) -> int:
        if job.name == "bad":
            os.kill(os.getpid(), signal.SIGSEGV)
        result.write_bytes(b"done")
        return 1

    def intact(self, result: pathlib.Path, key: str) -> bool:
        return result.exists()


def test_a_clip_that_crashes_its_worker_is_set_aside(tmp_path):
    """Beam's local runner would wait for the lost worker for ever."""
    jobs = [Job(name, "train") for name in ("a", "b", "bad", "c", "d")]
    prepare_persistently(Crashing(), tmp_path, jobs, "DirectRunner", 2, [])
    counts = settle(tmp_path, jobs, [], 0.2)
    assert (counts["prepared"], counts["rejected"]) == (4, {"crashes": 1})
