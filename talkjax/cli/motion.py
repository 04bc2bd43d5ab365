"""`talkjax motion ...`: make a motion track without pictures, and plot tracks."""

from __future__ import annotations

import time
from pathlib import Path

from talkjax.cli.command import IDENTITIES_DIR, IDENTITY, Arguments, Command, Flag
from talkjax.cli.session import begin
from talkjax.config import GenerateConfig
from talkjax.errors import EXIT_OK, InputError

_AUDIO = Flag(
    "audio", str, None, "the voice: wav, mp3, flac, m4a, ogg, or a video", placeholder="FILE", required=True
)


def _generate(arguments: Arguments) -> int:
    progress, start = begin(arguments), time.monotonic()
    from talkjax import api

    track = api.motion(
        arguments["identity"],
        arguments["audio"],
        arguments["out"],
        identities_dir=arguments["identities_dir"],
        config=arguments.config,
        progress=progress,
    )
    print(f"wrote {arguments['out']} ({len(track)} frames) in {time.monotonic() - start:.1f} s")
    print(f"  next: talkjax motion plot {arguments['out']} --out=motion.png")
    print(f"  next: talkjax generate ... --pose=track:{arguments['out']}")
    return EXIT_OK


def _plot(arguments: Arguments) -> int:
    begin(arguments)
    from talkjax.media.writer import check_output

    out = Path(check_output(Path(arguments["out"]), overwrite=arguments["overwrite"], suffixes=(".png",)))
    from talkjax.evaluate.plots import plot_track
    from talkjax.infer.motion_files import read_track

    names = [name for name in arguments["tracks"].split(",") if name]
    if not names or len(names) > 4:
        raise InputError(f"{len(names)} tracks", expected="one to four, with commas between", code="usage")
    out.write_bytes(plot_track({Path(name).stem: read_track(Path(name)) for name in names}))
    print(f"wrote {out}")
    return EXIT_OK


MOTION_GENERATE = Command(
    name="motion generate",
    summary="voice -> motion track (CSV) of an identity, without making pictures",
    example="talkjax motion generate --identity=me --audio=voice.wav --out=motion.csv --seed=3",
    run=_generate,
    flags=(
        IDENTITY,
        IDENTITIES_DIR,
        _AUDIO,
        Flag("out", str, None, "the CSV to write", placeholder="FILE", required=True),
    ),
    config=GenerateConfig,
    config_defaults={"pose": "generated"},
    notes="The same settings and seed give the motion of `talkjax generate`. docs/motion.md has the format.",
)

MOTION_PLOT = Command(
    name="motion plot",
    summary="draw the angles, lids and gaze of one to four motion tracks",
    example="talkjax motion plot seed1.csv,seed2.csv --out=motion.png",
    run=_plot,
    positional={"tracks": "motion tracks, with commas between"},
    flags=(
        Flag("out", str, None, "the PNG to write", placeholder="FILE", required=True),
        Flag("overwrite", bool, False, "replace an existing file", group="output"),
    ),
)
