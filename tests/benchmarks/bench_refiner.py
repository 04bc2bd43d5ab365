"""Speed of the refiners: the paper's networks against PyTorch, `lite`, and the first step after a start.

    python -m tests.benchmarks.bench_refiner --peer_python=PATH_OF_A_PYTHON_WITH_TORCH [--identity=me]

Every number is a fastest run. PyTorch runs in a process of its own (peers/torch_refiner.py) and takes turns
with ours; `ratio` is its time over ours, above 1 we are faster. `slim` is the paper's step with an AdaIN
network of 512 hidden units, over PyTorch's step of the full network. With `--identity`, frames per second of
the loop that `generate` runs, without and with encoding.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from absl import app, flags

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.cli.heap import keep_freed_memory

# isort: split
import jax

from tests.benchmarks.refiner_cases import Case, lite_case, paper_case

_PEER = flags.DEFINE_string("peer_python", None, "a Python that has torch; without it only ours is timed")
_REPEATS = flags.DEFINE_integer("repeats", 10, "turns of each case", lower_bound=1)
_PAPER = flags.DEFINE_list(
    "paper", ["forward 1", "forward 4", "backward 1", "gan step 1", "slim gan step 1"], "cases of the paper's"
)
_LITE = flags.DEFINE_list("lite_sizes", ["256", "416"], "sides of pictures for lite inference alone")
_FIRST = flags.DEFINE_list(
    "first_steps", ["lite", "paper"], "presets whose first step after a start is timed"
)
_CHILD = flags.DEFINE_string("child_first_step", None, "make one step of a preset and end (used by itself)")
_IDENTITY = flags.DEFINE_string("identity", None, "a fine-tuned identity, for the loop of generate")
_DIR = flags.DEFINE_string("identities_dir", None, "folder of all identities")
_FRAMES = flags.DEFINE_integer("frames", 100, "frames of the loop")

TARGETS = {
    "forward 1": 1.3,
    "forward 4": 1.5,
    "backward 1": 0.85,
    "gan step 1": 1.3,
    "slim gan step 1": 1.7,
}
PARAMETERS = {"generator": 259_055_556, "discriminator": 2_774_849}


class Peer:
    """PyTorch in another process; it measures itself and is idle unless asked."""

    def __init__(self, python: str):
        script = pathlib.Path(__file__).with_name("peers") / "torch_refiner.py"
        self._process = subprocess.Popen(
            [python, str(script), "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        version, *counts = self._line().split()
        assert [int(n) for n in counts] == list(PARAMETERS.values()), counts
        print(f"torch {version}: {counts[0]} and {counts[1]} parameters")

    def milliseconds(self, case: str) -> float:
        assert self._process.stdin
        print(case, file=self._process.stdin, flush=True)
        return float(self._line())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


def runner(case: Case) -> Callable[[], Any]:
    """The compiled case as a call; a step goes on from its own state."""
    compiled = case.compiled()
    state, batch, constants = case.arguments()
    if not case.donated:
        return lambda: compiled(state, batch, constants)
    holder = [state]

    def step() -> Any:
        holder[0], metrics = compiled(holder[0], batch, constants)
        return metrics

    return step


def milliseconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return 1000 * (time.perf_counter() - start)


def check_parameters() -> None:
    """The same networks on both sides, as far as numbers of parameters tell."""
    state = jax.eval_shape(paper_case("gan step", 1, "float32").state)
    for name, tree in (("generator", state.params), ("discriminator", state.discriminator)):
        count = sum(leaf.size for leaf in jax.tree.leaves(tree))
        assert count == PARAMETERS[name], (name, count)


def paper_table() -> None:
    check_parameters()
    peer = Peer(_PEER.value) if _PEER.value else None
    for case in _PAPER.value:
        slim, name = case.startswith("slim "), case.removeprefix("slim ")
        kind, _, batch = name.rpartition(" ")
        run = runner(paper_case(kind, int(batch), "float32", slim=slim))
        ours = theirs = float("inf")
        for turn in range(_REPEATS.value + 1):  # the first one warms up
            taken = milliseconds(run), peer.milliseconds(name) if peer else float("nan")
            if turn:
                ours, theirs = min(ours, taken[0]), min(theirs, taken[1])
        text = f"{case:<18}{ours:10.1f} ms"
        if peer:
            wanted = TARGETS.get(case)
            text += f"{theirs:10.1f} ms torch   ratio {theirs / ours:5.2f}"
            text += f"   wanted {wanted}" if wanted else ""
        print(text, flush=True)
        del run
    if peer:
        peer.close()


def lite_table() -> None:
    for size in map(int, _LITE.value):
        run = runner(lite_case("infer", 1, "float32", size))
        milliseconds(run)
        best = min(milliseconds(run) for _ in range(5 * _REPEATS.value))
        print(f"lite inference, {size} px{best:14.2f} ms{1000 / best:10.0f} frames/s", flush=True)


def first_step_table() -> None:
    """Whole process from its start to the end of the first step, without and with a warm compile cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        for preset in _FIRST.value:
            words = [sys.executable, "-m", "tests.benchmarks.bench_refiner", f"--child_first_step={preset}"]
            seconds = []
            for _ in range(4):
                start = time.perf_counter()
                subprocess.run(words, env=environment, check=True, stderr=subprocess.DEVNULL)
                seconds.append(time.perf_counter() - start)
            cold, warm = seconds[0], min(seconds[1:])
            print(f"first step, {preset}: {warm:.1f} s with a warm cache, {cold:.1f} s without", flush=True)


def first_step(preset: str) -> None:
    case = (lite_case if preset == "lite" else paper_case)("gan step", 1, "float32")
    state, batch, constants = case.arguments()
    step = jax.jit(case.function, donate_argnums=0)
    jax.block_until_ready(step(state, batch, constants))


def loop_table() -> None:
    """Frames per second of the loop of `generate` on the identity's own training motion."""
    from talkjax.infer.personal import open_person
    from talkjax.infer.personal_refiner import load_refiner
    from talkjax.infer.synthesis import pictures
    from talkjax.infer.training_data import own_motion
    from talkjax.media.writer import VideoWriter
    from talkjax.track.identity import Identity

    identity = Identity.open(_IDENTITY.value, _DIR.value)
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    person = open_person(identity, all_frames=refiner.all_frames)
    motion = own_motion(person.train)
    for encoded in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            video = VideoWriter(pathlib.Path(folder) / "x.mp4", person.width, person.height)
            with video:
                stream = pictures(person, refiner, motion, person.train)
                video.write(next(stream).result)
                marks = [time.perf_counter()]
                for picture, _ in zip(stream, range(_FRAMES.value), strict=False):
                    if encoded:
                        video.write(picture.result)
                    marks.append(time.perf_counter())
                stream.close()
        mean = (len(marks) - 1) / (marks[-1] - marks[0])
        best = max(20 / (b - a) for a, b in zip(marks[:-20], marks[20:], strict=True))
        what = "with render, compose and encoding" if encoded else "with render and compose"
        size = f"{person.width}x{person.height}, crop {person.crop_size}"
        print(f"lite {what}, {size}: {mean:.1f} frames/s, best 20 frames {best:.1f}", flush=True)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    keep_freed_memory()
    if _CHILD.value:
        first_step(_CHILD.value)
        return
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores")
    lite_table()
    if _IDENTITY.value:
        loop_table()
    first_step_table()
    paper_table()


if __name__ == "__main__":
    app.run(main)
