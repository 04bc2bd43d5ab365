"""Builds speech corpora for the general mapping; docs/corpus.md.

    python -m launch.build_corpus generated    --out=DIR --hours=6 --seed=0 --workers=2
    python -m launch.build_corpus video_folder --clips=DIR --out=DIR
    python -m launch.build_corpus lrw          --root=DIR --out=DIR

`generated` needs flite, festival (with the voices listed in docs/corpus.md) and espeak-ng of the system. All
three can be stopped at any time and run again; what is finished is kept. Exit codes as in the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app, flags

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)
from talkjax.cli.progress import terminal_progress
from talkjax.data.generated_corpus import GeneratedConfig, build_generated
from talkjax.data.synthesizers import SYNTHESIZERS
from talkjax.errors import EXIT_INTERRUPTED, InputError, TalkjaxError

_OUT = flags.DEFINE_string("out", None, "Folder of the corpus.")
_HOURS = flags.DEFINE_float("hours", 6.0, "generated: least length.")
_SEED = flags.DEFINE_integer("seed", 0, "generated: everything random.")
_WORKERS = flags.DEFINE_integer("workers", 2, "generated: processes; does not change the result.")
_SHARD = flags.DEFINE_integer("shard_size", 60, "Utterances per shard.")
_CLIPS = flags.DEFINE_string("clips", None, "video_folder: folder of talking videos, searched through.")
_ROOT = flags.DEFINE_string("root", None, "lrw: the folder that holds the WORD folders.")
_SYNTHESIZERS = flags.DEFINE_list("synthesizers", list(SYNTHESIZERS), "generated: which may speak.")

VERBS = ("generated", "video_folder", "lrw")


def _out() -> Path:
    if not _OUT.value:
        raise InputError("--out is missing", expected="--out=DIR")
    return Path(_OUT.value)


def _summary(manifest: dict) -> None:
    splits = ", ".join(f"{name} {hours:.2f} h" for name, hours in manifest["hours_by"]["split"].items())
    for code, count in sorted(manifest.get("quarantine_counts", {}).items()):
        print(f"quarantined, {code}: {count}")
    print(f"{manifest['hours']:.2f} h in {len(manifest['shards'])} shards: {splits}")


def main(argv: list[str]) -> None:
    try:
        if len(argv) != 2 or argv[1] not in VERBS:
            raise InputError(f"verb {' '.join(argv[1:]) or '(none)'}", expected=" or ".join(VERBS))
        if _WORKERS.value < 1:
            raise InputError(f"--workers={_WORKERS.value}", expected="at least 1")
        if argv[1] == "generated":
            config = GeneratedConfig(_HOURS.value, _SEED.value, _SHARD.value, tuple(_SYNTHESIZERS.value))
            _summary(build_generated(_out(), config, _WORKERS.value, terminal_progress()))
        else:
            from talkjax.data.video_corpus import build_video  # brings JAX, which speaking does not need

            flag, folder = ("clips", _CLIPS.value) if argv[1] == "video_folder" else ("root", _ROOT.value)
            if not folder:
                raise InputError(f"--{flag} is missing", expected=f"--{flag}=DIR")
            manifest = build_video(
                Path(folder), _out(), argv[1], shard_size=_SHARD.value, workers=_WORKERS.value,
                progress=terminal_progress(),
            )  # fmt: skip
            _summary(manifest)
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    app.run(main)
