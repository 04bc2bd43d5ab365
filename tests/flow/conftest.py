"""One drawn person, prepared and fine-tuned once by the real command line, for all end-to-end tests.

Workers of a parallel run share it. TALKJAX_FLOW_DIR names a folder to keep it in between runs (for whoever
works on these tests: it saves minutes, and shows the state of the code that made it).
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from talkjax.assets.mediapipe import landmark_model_files
from talkjax.errors import InputError
from talkjax.track.lock import file_lock
from tests.media.clips import write_wav

TRAIN_FRAMES = 60
FINETUNE = ("--mapping_steps=4", "--refiner_steps=4")
_MAIN = "import sys; from talkjax.cli.main import run; sys.exit(run())"


@dataclass(frozen=True)
class World:
    """A folder with the clip and the identities, and the command line in processes of its own."""

    folder: pathlib.Path

    @property
    def clip(self) -> pathlib.Path:
        return self.folder / "clip.mp4"

    @property
    def identities(self) -> pathlib.Path:
        return self.folder / "identities"

    def start(self, *words: object) -> subprocess.Popen[str]:
        environment = os.environ | {
            "TALKJAX_IDENTITIES": str(self.identities),
            "JAX_COMPILATION_CACHE_DIR": str(self.folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
            "TMPDIR": str(self.folder),
        }
        return subprocess.Popen(
            [sys.executable, "-c", _MAIN, *map(str, words)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: object, code: int = 0) -> str:
        """Runs to the end, expects the exit code, returns what was printed."""
        child = self.start(*words)
        out, err = child.communicate()
        assert child.returncode == code, f"{words} ended with {child.returncode}\n{out}\n{err[-3000:]}"
        return out + err

    def refused(self, *words: object) -> str:
        """Runs a command that must end with exit code 2 and one line that says why; returns the line."""
        said = self.run(*words, code=2)
        lines = [line for line in said.splitlines() if line.startswith("talkjax: ")]
        assert len(lines) == 1 and "Traceback" not in said, said
        return lines[0]

    def once(self, name: str, make: Callable[[], object]) -> None:
        """Makes something that all workers share."""
        with file_lock(self.folder / f"{name}.lock", wait=True):
            done = self.folder / f"{name}.done"
            if not done.exists():
                make()
                done.touch()


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    """The shared folder; skips, with the reason, where the face models cannot be had."""
    try:
        landmark_model_files()
    except InputError as error:
        pytest.skip(f"face models cannot be had: {error}")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = pathlib.Path(os.environ.get("TALKJAX_FLOW_DIR", shared / "flow"))
    folder.mkdir(parents=True, exist_ok=True)
    return World(folder)


@pytest.fixture(scope="session")
def clip(world: World) -> pathlib.Path:
    """4 s of the drawn person, 192 x 192, speaking."""
    from talkjax.data.synthetic_person import synthesize_clip

    world.once("clip", lambda: synthesize_clip(world.clip, seconds=4.0, size=(192, 192), overwrite=True))
    return world.clip


@pytest.fixture(scope="session")
def prepared(world: World, clip: pathlib.Path) -> World:
    """The identity `me`, prepared: 60 frames to train, 40 held out."""
    words = ("prepare", clip, "--identity=me", f"--train_frames={TRAIN_FRAMES}", "--consent=self")
    world.once("prepared", lambda: world.run(*words))
    return world


@pytest.fixture(scope="session")
def finetuned(prepared: World) -> World:
    """The identity `me`, fine-tuned for a few steps."""
    prepared.once("finetuned", lambda: prepared.run("finetune", "--identity=me", *FINETUNE))
    return prepared


@pytest.fixture(scope="session")
def voice(world: World) -> pathlib.Path:
    """A second of the embedded voice as 8 kHz stereo, in 16 bits."""
    from talkjax.data.synthetic_voice import load_voice

    path = world.folder / "voice.wav"
    wav = load_voice("voice_drive").wav[4000:20000].reshape(-1, 2).mean(1)
    both = np.stack([wav, 0.3 * wav], 1)
    world.once("voice", lambda: write_wav(path, (both * 30_000).astype(np.int16), 8000))
    return path


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[str], what: str) -> None:
    """Waits until something happens in a running child."""
    while not condition():
        if child.poll() is not None:
            out, err = child.communicate()
            raise AssertionError(f"ended with {child.returncode} before {what}\n{out}\n{err[-3000:]}")
        time.sleep(0.02)
