"""Speaks the generated corpus for the general mapping; docs/corpus.md.

    python -m launch.build_corpus generated --out=DIR --hours=6 --seed=0 --workers=2

Needs flite, festival (with the voices listed in docs/corpus.md) and espeak-ng of the system. Can be stopped
at any time and run again; what is finished is kept. Corpora of real videos: launch/prepare_corpus.py. Exit
codes as in the README.
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
_HOURS = flags.DEFINE_float("hours", 6.0, "Least length.")
_SEED = flags.DEFINE_integer("seed", 0, "Everything random.")
_WORKERS = flags.DEFINE_integer("workers", 2, "Processes; does not change the result.")
_SHARD = flags.DEFINE_integer("shard_size", 60, "Utterances per shard.")
_SYNTHESIZERS = flags.DEFINE_list("synthesizers", list(SYNTHESIZERS), "Which may speak.")


def _out() -> Path:
    if not _OUT.value:
        raise InputError("--out is missing", expected="--out=DIR")
    return Path(_OUT.value)


def _summary(manifest: dict) -> None:
    splits = ", ".join(f"{name} {hours:.2f} h" for name, hours in manifest["hours_by"]["split"].items())
    print(f"{manifest['hours']:.2f} h in {len(manifest['shards'])} shards: {splits}")


def main(argv: list[str]) -> None:
    try:
        if argv[1:] != ["generated"]:
            raise InputError(
                f"verb {' '.join(argv[1:]) or '(none)'}",
                expected="generated",
                fix="for real videos: python -m launch.prepare_corpus",
            )
        if _WORKERS.value < 1:
            raise InputError(f"--workers={_WORKERS.value}", expected="at least 1")
        config = GeneratedConfig(_HOURS.value, _SEED.value, _SHARD.value, tuple(_SYNTHESIZERS.value))
        _summary(build_generated(_out(), config, _WORKERS.value, terminal_progress()))
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    app.run(main)
