"""Builds corpora for pretraining; docs/corpora.md.

    python -m launch.prepare_corpus lrw              --source=LRW  --out=DIR --workers=16
    python -m launch.prepare_corpus voxceleb2        --source=VOX2 --out=DIR --workers=64
    python -m launch.prepare_corpus hdtf             --source=HDTF --out=DIR [--frames]
    python -m launch.prepare_corpus video_folder     --source=CLIPS --out=DIR [--frames]
    python -m launch.prepare_corpus generated_speech --source=DIR_OF_BUILD_CORPUS --out=DIR
    python -m launch.prepare_corpus synthetic_people --out=DIR --count=8 --n_frames=60 --size=256

Every clip is a job of an Apache Beam pipeline, its result is kept in OUT/prepared, and the corpus is
written from the results; a run that was stopped or killed goes on with the same command. Clips that cannot be
used are in OUT/rejects.jsonl. `--runner=DataflowRunner` (or another) and that runner's own flags work on a
cluster.
Exit codes as in the README.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

# One clip per core: OpenBLAS's own threads wait for each other on these small matrices, busily. A clip of LRW
# takes 4 CPU seconds with them and 1.1 without (docs/corpora.md). Before numpy; workers inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from absl import app, flags

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)
from talkjax.errors import EXIT_INTERRUPTED, InputError, TalkjaxError
from talkjax.track.lock import file_lock

_SOURCE = flags.DEFINE_string("source", None, "Folder of the clips, in the layout of the corpus.")
_OUT = flags.DEFINE_string("out", None, "Folder of the corpus; prepared clips are kept there.")
_RUNNER = flags.DEFINE_string("runner", "DirectRunner", "Beam runner; its own flags may follow.")
_WORKERS = flags.DEFINE_integer("workers", 1, "DirectRunner: processes on this machine.")
_RATIO = flags.DEFINE_float("max_reject_ratio", 0.2, "Share of the clips that may be rejected.")
_MANIFEST = flags.DEFINE_string("manifest", None, "Text file: the clips that there should be, one a line.")
_FRAMES = flags.DEFINE_bool("frames", False, "hdtf, video_folder: frames for the refiner, not utterances.")
_SIZE = flags.DEFINE_integer("size", 256, "Frames: side of the crop in pixels.")
_N_FRAMES = flags.DEFINE_integer("n_frames", 300, "Frames: how many of each person.")
_PICTURES = flags.DEFINE_enum(
    "pictures", "jpeg", ["jpeg", "small", "raw"], "Frames: how pictures are stored."
)
_PEOPLE = flags.DEFINE_string("people", None, "Frames: folder that keeps prepared people for other sizes.")
_COUNT = flags.DEFINE_integer("count", 8, "synthetic_people: how many.")
_FIRST_SEED = flags.DEFINE_integer("first_seed", 0, "synthetic_people: seed of the first.")
_CLIP_SIZE = flags.DEFINE_integer("clip_size", 480, "synthetic_people: side of the drawn clips in pixels.")


def _builder(name: str) -> Any:
    from talkjax.data.corpora import builder_class

    options: dict[str, Any] = {"data_dir": _OUT.value}
    if _SOURCE.value:
        options["source"] = _SOURCE.value
    cls = builder_class(name, frames=_FRAMES.value)
    if hasattr(cls, "jobs"):
        options |= {"manifest": _MANIFEST.value, "max_reject_ratio": _RATIO.value}
    if cls.KIND == "refiner":
        options |= {"size": _SIZE.value, "n_frames": _N_FRAMES.value, "pictures": _PICTURES.value}
        options["people"] = _PEOPLE.value
    if name == "synthetic_people":
        options |= {"count": _COUNT.value, "first_seed": _FIRST_SEED.value, "clip_size": _CLIP_SIZE.value}
    return cls(**options)


def run(name: str, runner_flags: list[str]) -> dict[str, Any]:
    """Prepares and writes one corpus; returns what is to be said of it.

    Raises:
      InputError: unknown builder, folder or flag, or too many rejects.
    """
    if not _OUT.value:
        raise InputError("--out is missing", expected="--out=DIR")
    out = Path(_OUT.value)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with file_lock(out / ".lock", what=str(out)):
            return _build(name, runner_flags)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}", code="read_only") from None


def _build(name: str, runner_flags: list[str]) -> dict[str, Any]:
    builder = _builder(name)
    begin = time.monotonic()
    summary: dict[str, Any] = {}
    if hasattr(builder, "jobs"):
        from talkjax.data.preparation import settle
        from talkjax.data.preparation_beam import prepare_persistently

        root = builder.root()
        jobs, missing = builder.jobs(root)
        preparer = builder.preparer(root)
        preparer.ready()
        prepare_persistently(preparer, builder.out, jobs, _RUNNER.value, _WORKERS.value, runner_flags)
        summary = settle(builder.out, jobs, missing, builder.max_reject_ratio)
        summary["prepare_seconds"] = round(time.monotonic() - begin, 1)
    elif runner_flags:
        raise InputError(f"unknown flags {' '.join(runner_flags)}", fix="--help lists all")
    summary["corpus"] = str(builder.build())
    summary["seconds"] = round(time.monotonic() - begin, 1)
    return summary


def main(argv: list[str]) -> None:
    try:
        if len(argv) < 2 or argv[1].startswith("-"):
            raise InputError("no corpus is named", expected="lrw, voxceleb2, hdtf, video_folder, ...")
        print(json.dumps(run(argv[1], argv[2:])))
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _flags(argv: list[str]) -> list[str]:
    return list(flags.FLAGS(argv, known_only=True))  # the rest belongs to the runner


if __name__ == "__main__":
    app.run(main, flags_parser=_flags)
