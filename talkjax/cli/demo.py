"""`talkjax demo`: the whole path on the embedded synthetic person, with the code that a user's clip runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from talkjax import __version__
from talkjax.cli.command import Arguments, Command, Flag
from talkjax.cli.session import begin
from talkjax.config import FPS, EvaluateConfig, FinetuneConfig, GenerateConfig, PrepareConfig
from talkjax.errors import EXIT_OK, InputError
from talkjax.progress import Progress, Ticker
from talkjax.track.durable import file_sha256, read_json, write_json

IDENTITY = "demo"
TRAIN_FRAMES = 300  # 12 s of the 18 s train, 6 s are held out
VOICE = "voice_drive"  # says other words than the clip does
CONSENT = "This person does not exist: talkjax drew the face and a speech synthesizer made the voice."


def _demo(arguments: Arguments) -> int:
    progress, start = begin(arguments), time.monotonic()
    from talkjax import api
    from talkjax.data.synthetic_voice import voice_path

    out_dir = Path(arguments["out_dir"])
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        statement = out_dir / "consent.txt"
        statement.write_text(CONSENT + "\n")
    except OSError as error:
        raise InputError(
            f"--out_dir={out_dir} cannot be written: {error.strerror}", code="read_only"
        ) from None
    clip, identities = out_dir / "person.mp4", out_dir / "identities"

    _say("1/5 drawing a person who does not exist")
    _synthesize(clip, arguments["seed"], arguments["seconds"], progress)
    _say("2/5 preparing: landmarks, 3D tracking, texture, backgrounds")
    train_frames = min(TRAIN_FRAMES, int(arguments["seconds"] * FPS * 2 / 3))
    api.prepare(
        clip,
        IDENTITY,
        identities_dir=identities,
        consent=statement,
        config=PrepareConfig(train_frames=train_frames),
        progress=progress,
    )
    _say("3/5 fine-tuning, with fewer steps than a real person gets")
    api.finetune(IDENTITY, identities_dir=identities, config=arguments.config, progress=progress)
    _say("4/5 generating a video with a new voice")
    result = api.generate(
        IDENTITY,
        voice_path(VOICE),
        out_dir / "talking.mp4",
        identities_dir=identities,
        config=GenerateConfig(overwrite=True),
        progress=progress,
    )
    _say("5/5 evaluating on the held-out frames")
    evaluation = api.evaluate(
        IDENTITY, identities_dir=identities, config=EvaluateConfig(free_seconds=3.0), progress=progress
    )
    print(evaluation.table)
    print(f"\ndone in {(time.monotonic() - start) / 60:.1f} min; look at")
    print(f"  {result.path}    the person saying new words")
    print(f"  {clip}    what the system learned from")
    print(f"  {evaluation.report}    how well it went")
    return EXIT_OK


def _synthesize(clip: Path, seed: int, seconds: float, progress: Progress) -> None:
    """Draws the clip, unless the very same one is there from an earlier run."""
    recipe_file = clip.with_suffix(".json")
    recipe = {"seed": seed, "seconds": seconds, "talkjax": __version__}
    if clip.is_file() and recipe_file.is_file():
        try:
            if read_json(recipe_file) == recipe | {"sha256": file_sha256(clip)}:
                return
        except InputError:
            pass
    from talkjax.data.synthetic_person import synthesize_clip

    made = clip.with_name(f"{clip.stem}-{os.getpid()}.mp4")  # never half a clip under the real name
    try:
        with progress("drawing", round(seconds * FPS)) as ticker:
            synthesize_clip(made, seed=seed, seconds=seconds, progress=lambda done, total: _tick(ticker))
        made.replace(clip)
    finally:
        made.unlink(missing_ok=True)
    write_json(recipe_file, recipe | {"sha256": file_sha256(clip)})


def _tick(ticker: Ticker) -> None:
    ticker.update(1)


def _say(text: str) -> None:
    print(text, flush=True)


DEMO = Command(
    name="demo",
    summary="all of it on the embedded synthetic person and voice, in about ten minutes",
    example="talkjax demo",
    run=_demo,
    flags=(
        Flag("out_dir", str, "demo_output", "folder for everything the demo makes", placeholder="DIR"),
        Flag("seconds", float, 18.0, "length of the synthetic clip", group="person"),
    ),
    config=FinetuneConfig,
    config_defaults={"mapping_steps": 300, "refiner_steps": 700},
    notes="Runs the same code as prepare, finetune, generate and evaluate on a real clip, with fewer "
    "training steps. A second run reuses what is there. The seed also chooses the person.",
)
