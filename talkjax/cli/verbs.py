"""The verbs of one clip: doctor, prepare, finetune, generate, evaluate."""

from __future__ import annotations

import json
import time

from talkjax.cli.command import IDENTITIES_DIR, IDENTITY, Arguments, Command, Flag
from talkjax.cli.session import begin
from talkjax.config import EvaluateConfig, ExportConfig, FinetuneConfig, GenerateConfig, PrepareConfig
from talkjax.errors import EXIT_INPUT, EXIT_OK

_CLIP = {"clip": "a video of one person who speaks, seen from the front, with sound; 15-60 s are good"}


def _doctor(arguments: Arguments) -> int:
    progress = begin(arguments)
    from talkjax import api

    report = api.doctor(arguments["clip"], train_frames=arguments["train_frames"], progress=progress)
    if arguments["json"]:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        print(f"{report.verdict}: {report.clip}")
        if (info := report.info) is not None:
            sound = f"sound {info.audio_rate} Hz" if info.has_audio else "no sound"
            print(f"  {info.width}x{info.height}, {info.duration:.1f} s, {info.fps:.2f} frames/s, {sound}")
        for finding in report.findings:
            print(f"  {finding.severity}: {finding.text} [{finding.code}]")
            if finding.fix:
                print(f"    fix: {finding.fix}")
    return EXIT_INPUT if report.verdict == "refused" else EXIT_OK


def _prepare(arguments: Arguments) -> int:
    progress, start = begin(arguments), time.monotonic()
    from talkjax import api

    person = api.prepare(
        arguments["clip"],
        arguments["identity"],
        identities_dir=arguments["identities_dir"],
        consent=arguments["consent"],
        config=arguments.config,
        progress=progress,
    )
    record = person.record
    print(f"prepared {person.root} in {time.monotonic() - start:.1f} s")
    print(f"  {record.n_frames} frames, {record.train_frames} to train; consent: {record.consent['status']}")
    if record.sound_repair:
        late = "late" if record.sound_repair > 0 else "early"
        print(f"  the sound comes {abs(record.sound_repair):.1f} frames {late}: repaired from here on")
    print(f"  next: talkjax finetune --identity={person.name}")
    return EXIT_OK


def _finetune(arguments: Arguments) -> int:
    progress, start = begin(arguments), time.monotonic()
    from talkjax import api

    person = api.finetune(
        arguments["identity"],
        identities_dir=arguments["identities_dir"],
        config=arguments.config,
        progress=progress,
    )
    print(f"fine-tuned {person.name} in {time.monotonic() - start:.1f} s")
    print(f"  next: talkjax generate --identity={person.name} --audio=voice.wav --out={person.name}.mp4")
    return EXIT_OK


def _generate(arguments: Arguments) -> int:
    progress = begin(arguments)
    from talkjax import api

    result = api.generate(
        arguments["identity"],
        arguments["audio"],
        arguments["out"],
        identities_dir=arguments["identities_dir"],
        config=arguments.config,
        progress=progress,
    )
    print(f"wrote {result.path} ({result.frames} frames, {result.frames / 25:.1f} s)")
    print(f"wrote {result.sidecar} (marked as synthetic)")
    for stage, seconds in result.seconds.items():
        print(f"  {stage:<24}{seconds:8.1f} s")
    return EXIT_OK


def _evaluate(arguments: Arguments) -> int:
    progress = begin(arguments)
    from talkjax import api

    result = api.evaluate(
        arguments["identity"],
        identities_dir=arguments["identities_dir"],
        config=arguments.config,
        progress=progress,
    )
    print(result.table)
    print(f"wrote {result.report}")
    return EXIT_OK


def _export(arguments: Arguments) -> int:
    progress = begin(arguments)
    from talkjax import api

    result = api.export(
        arguments["identity"],
        arguments["out"],
        identities_dir=arguments["identities_dir"],
        config=arguments.config,
        progress=progress,
    )
    for name, difference in result.networks.items():
        print(f"wrote {arguments['onnx']}/{name}.onnx (onnxruntime differs by {difference:.1e})")
    if result.path is None:
        return EXIT_OK
    print(f"wrote {result.path} ({result.size / 1e6:.1f} MB) in {result.seconds:.1f} s")
    print(
        '  use it: python -c "import talkjax; '
        f"talkjax.load({str(result.path)!r}).write('voice.wav', 'out.mp4')\""
    )
    return EXIT_OK


DOCTOR = Command(
    name="doctor",
    summary="say whether a clip can be used, and why not, before any work",
    example="talkjax doctor clip.mp4",
    run=_doctor,
    positional=_CLIP,
    flags=(
        Flag("train_frames", int, None, "as for prepare", group="settings"),
        Flag("json", bool, False, "print JSON for machines", group="output"),
    ),
    notes="Exit code 0 for ok and repairable, 2 for refused.",
)

PREPARE = Command(
    name="prepare",
    summary="clip -> landmarks, 3D tracking, texture, backgrounds of an identity",
    example="talkjax prepare clip.mp4 --identity=me --consent=self",
    run=_prepare,
    positional=_CLIP,
    flags=(
        IDENTITY,
        IDENTITIES_DIR,
        Flag(
            "consent",
            str,
            None,
            "the person's agreement: 'self', or a text file with their statement; without it, the "
            "identity and its videos say that consent is not recorded",
            placeholder="self|FILE",
        ),
    ),
    config=PrepareConfig,
    notes="Finished stages are kept and reused while clip and settings are the same.",
)

FINETUNE = Command(
    name="finetune",
    summary="fit both networks, sound to face and face to photo, to an identity",
    example="talkjax finetune --identity=me",
    run=_finetune,
    flags=(IDENTITY, IDENTITIES_DIR),
    config=FinetuneConfig,
    notes="Can be stopped at any time (Ctrl-C); the same command goes on from the last saved step.",
)

GENERATE = Command(
    name="generate",
    summary="voice -> video of the identity speaking it",
    example="talkjax generate --identity=me --audio=voice.wav --out=me.mp4",
    run=_generate,
    flags=(
        IDENTITY,
        IDENTITIES_DIR,
        Flag(
            "audio",
            str,
            None,
            "the voice: wav, mp3, flac, m4a, ogg, or a video with sound",
            placeholder="FILE",
            required=True,
        ),
        Flag(
            "out",
            str,
            None,
            "the mp4 to write; a layer (below): .mov, .webm or a folder",
            placeholder="FILE",
            required=True,
        ),
    ),
    config=GenerateConfig,
    notes="The video is marked as synthetic in its metadata and in a JSON file beside it.",
)

EVALUATE = Command(
    name="evaluate",
    summary="measure an identity on its held-out frames: table, report, two videos",
    example="talkjax evaluate --identity=me",
    run=_evaluate,
    flags=(IDENTITY, IDENTITIES_DIR),
    config=EvaluateConfig,
    notes="Writes metrics.json, report.html, heldout_tracked.mp4 and heldout_audio.mp4 to "
    "identities/<name>/evaluation/.",
)

EXPORT = Command(
    name="export",
    summary="identity -> one file that speaks without the rest of talkjax (talkjax.load)",
    example="talkjax export --identity=me --out=me.talkjax",
    run=_export,
    flags=(
        IDENTITY,
        IDENTITIES_DIR,
        Flag("out", str, None, "the file to write, NAME.talkjax", placeholder="FILE"),
    ),
    config=ExportConfig,
    notes="The file holds the person's face, pictures of their clip and the record of their consent: keep it "
    "as private as the clip. talkjax identity delete names it.",
)
