"""`talkjax track`: a clip's head pose, expression, mesh and texture as files."""

from __future__ import annotations

from talkjax.cli.command import Arguments, Command, Flag
from talkjax.cli.session import begin
from talkjax.config import TrackConfig
from talkjax.errors import EXIT_OK


def _track(arguments: Arguments) -> int:
    progress = begin(arguments)
    from talkjax import api

    result = api.track(arguments["clip"], arguments["out"], config=arguments.config, progress=progress)
    error = result.figures["landmark_error_percent_of_eye_distance"]
    print(f"wrote {result.folder} ({result.frames} frames, {result.valid} with a face)")
    print("  landmark fit, % of the eye distance: " + ", ".join(f"{k} {v:.2f}" for k, v in error.items()))
    for stage, seconds in result.seconds.items():
        print(f"  {stage:<24}{seconds:8.1f} s")
    return EXIT_OK


TRACK = Command(
    name="track",
    summary="clip -> head pose, expression, mesh, texture as files (npz, mat, glb, obj, csv)",
    example="talkjax track clip.mp4 --out=tracked",
    run=_track,
    positional={"clip": "a video of one person, seen from the front; sound is not needed"},
    flags=(Flag("out", str, None, "the folder to write", placeholder="FOLDER", required=True),),
    config=TrackConfig,
    notes="docs/track.md says what each file is, with units and axes. face.glb opens in Blender, animated; "
    "pose.csv is a pose source: talkjax generate --pose=track:FOLDER/pose.csv. The folder appears whole or "
    "not at all.",
)
