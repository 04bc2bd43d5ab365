"""Where the time of an output frame goes, for a fine-tuned identity. Not a test: prints a table.

    python -m tests.benchmarks.bench_frame --identity=me [--identities_dir=DIR] [--repeats=20]

Minima over repeats, milliseconds per frame, one process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

FLAGS = flags.FLAGS
flags.DEFINE_string("identity", None, "a fine-tuned identity", required=True)
flags.DEFINE_string("identities_dir", None, "folder of all identities")
flags.DEFINE_integer("repeats", 20, "runs of each part; the fastest counts", lower_bound=1)


def _fastest(part: Callable[[], object]) -> float:
    part()  # compiles
    times = []
    for _ in range(FLAGS.repeats):
        start = time.perf_counter()
        part()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main(argv: list[str]) -> None:
    del argv
    from talkjax.infer import compose
    from talkjax.infer.layers import FrameLayers
    from talkjax.infer.personal import open_person
    from talkjax.infer.personal_refiner import load_refiner
    from talkjax.infer.synthesis import pictures
    from talkjax.infer.training_data import own_motion
    from talkjax.media.writer import VideoWriter
    from talkjax.track.identity import Identity

    identity = Identity.open(FLAGS.identity, FLAGS.identities_dir)
    refiner = load_refiner(identity.require_stage("refiner", verb="finetune"))
    person = open_person(identity, all_frames=refiner.all_frames)
    motion = own_motion(person.train)
    layers_of = FrameLayers(person, motion, person.train, refiner.appearance)
    host = layers_of.host_part(0)
    layers = layers_of(0, host)
    refine = refiner.sequence(person.features)
    rows = {
        "read background, mix textures (own thread)": _fastest(lambda: layers_of.host_part(0)),
        "render": _fastest(lambda: layers_of(0, host)),
        "refine": _fastest(lambda: refine(0, layers)),
        "composite": _fastest(lambda: compose.composite(layers.bare, layers.background, layers.alpha)),
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        VideoWriter(Path(folder) / "x.mp4", person.width, person.height) as video,
    ):
        rows["encode"] = _fastest(lambda: video.write(host.full))
    stream = pictures(person, refiner, motion, person.train)
    next(stream)
    start = time.perf_counter()
    for _ in range(FLAGS.repeats):
        next(stream)
    rows["all but encoding, as generate does it"] = 1000 * (time.perf_counter() - start) / FLAGS.repeats
    print(f"{person.width} x {person.height}, crop {person.crop_size}")
    for name, value in rows.items():
        print(f"{name:<44} {value:8.1f} ms")


if __name__ == "__main__":
    app.run(main)
