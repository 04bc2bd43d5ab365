"""The verbs for Python: `talkjax.prepare(...)`, `finetune`, `generate`, `evaluate`, `doctor`.

The command line is a thin layer over these. Each checks what can be checked before any work starts, takes
the identity's lock, and leaves the work to the stage modules.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from talkjax.config import (
    Config,
    EvaluateConfig,
    ExportConfig,
    FinetuneConfig,
    GenerateConfig,
    PrepareConfig,
    TrackConfig,
)
from talkjax.errors import InputError
from talkjax.media.container import check_file
from talkjax.media.layer_writer import check_layer_output
from talkjax.media.output_folder import check_output_folder
from talkjax.media.writer import check_output
from talkjax.progress import SILENT, Progress
from talkjax.results import EvaluateResult, ExportResult, GenerateResult, TrackResult
from talkjax.track.identity import Identity, delete_identity
from talkjax.track.identity_record import identity_folder, read_consent

if TYPE_CHECKING:
    from talkjax.infer.motion_track import MotionTrack
    from talkjax.track.doctor import DoctorReport

PathLike = str | os.PathLike[str]
_ConfigT = TypeVar("_ConfigT", bound=Config)


def doctor(
    clip: PathLike, *, train_frames: int | None = None, progress: Progress | None = None
) -> DoctorReport:
    """Says before any work whether a clip can be used (`ok`, `repairable`, `refused`), and why."""
    from talkjax.track.doctor import examine

    return examine(clip, train_frames=train_frames, progress=progress or SILENT)


def prepare(
    clip: PathLike,
    identity: str,
    *,
    identities_dir: PathLike | None = None,
    consent: PathLike | None = None,
    config: PrepareConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Identity:
    """Landmarks, 3D tracking, texture and backgrounds of a clip, kept as an identity.

    Args:
      clip: a video of one person, with sound.
      identity: name of the identity, made where it does not exist.
      identities_dir: folder of all identities.
      consent: `"self"`, or a text file with the person's statement; None leaves
        what is recorded for this clip.
      config: all settings; `settings` replaces single ones, e.g. `train_frames=300`.
      progress: see `talkjax.progress`.

    Raises:
      InputError: the clip cannot be used, or another process works on this identity.
    """
    path = Path(check_file(clip))
    checked = _with_settings(config or PrepareConfig(), settings)
    statement = None if consent is None else read_consent(consent)
    is_new = not identity_folder(identity, identities_dir).exists()
    from talkjax.track.prepare import run

    person = Identity.create(identity, identities_dir)
    try:
        with person.lock():
            run(person, path, checked, progress or SILENT)
            if statement is not None:  # after the run: a new clip forgets the consent given for the old one
                person.set_consent(statement)
    except InputError:
        if is_new and not person.record.stages:  # a refused clip leaves nothing behind
            delete_identity(identity, identities_dir)
        raise
    return person


def finetune(
    identity: str,
    *,
    identities_dir: PathLike | None = None,
    config: FinetuneConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Identity:
    """Fits both networks to a prepared identity, e.g. `finetune("me", all_frames=True)`.

    Raises:
      InputError: not prepared, no sound, or in use by another process.
      DivergedError: training left the finite numbers.
    """
    checked = _with_settings(config or FinetuneConfig(), settings)
    person = Identity.open(identity, identities_dir)
    from talkjax.infer.personal import finetune as run

    with person.lock():
        run(person, checked, progress or SILENT)
    return person


def generate(
    identity: str,
    audio: PathLike,
    out: PathLike,
    *,
    identities_dir: PathLike | None = None,
    config: GenerateConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> GenerateResult:
    """Writes a video of the identity speaking the words of `audio`, and a JSON sidecar beside it.

    With `layer="face"`, `"mask"` or `"background"` it writes that layer instead, for editors; the record of a
    folder of PNG files lies inside it.

    Args:
      identity: a fine-tuned identity.
      audio: sound, or a video with sound.
      out: path of the mp4, or of a layer: .mov, .webm or a folder; replaced only with `overwrite=True`.
      config: all settings; `settings` replaces single ones, e.g. `pose="generated"`.

    Raises:
      InputError: not fine-tuned, unusable audio, or `out` cannot be written.
    """
    checked = _with_settings(config or GenerateConfig(), settings)
    person = Identity.open(identity, identities_dir)
    sound = Path(check_file(audio))
    if checked.layer == "none":
        target = writable_output(out, checked.overwrite, inputs=(sound,))
    else:
        _not_an_input(Path(out), (sound,))
        target = check_layer_output(out, overwrite=checked.overwrite)
    from talkjax.infer.generate import run

    with person.lock(shared=True):
        result = run(person, sound, target, checked, progress or SILENT)
        person.add_output(result.path)
    return result


def motion(
    identity: str,
    audio: PathLike,
    out: PathLike | None = None,
    *,
    identities_dir: PathLike | None = None,
    config: GenerateConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> MotionTrack:
    """The motion that `generate` would show, without pictures; written to `out` (CSV) where given.

    Args:
      identity: a fine-tuned identity.
      audio: sound, or a video with sound.
      config: settings of `generate`; `settings` replaces single ones, e.g. `pose="generated", seed=3`.

    Raises:
      InputError: not fine-tuned, unusable audio, or `out` cannot be written.
    """
    checked = _with_settings(config or GenerateConfig(pose="generated"), settings)
    person = Identity.open(identity, identities_dir)
    sound = Path(check_file(audio))
    target = None
    if out is not None:
        target = Path(check_output(Path(out), overwrite=checked.overwrite, suffixes=(".csv",)))
    from talkjax.infer.generate import motion_of

    with person.lock(shared=True):
        track = motion_of(person, sound, checked, progress or SILENT)
        if target is not None:
            from talkjax.infer.motion_files import write_track

            write_track(target, track)
            person.add_output(target)
    return track


def evaluate(
    identity: str,
    *,
    identities_dir: PathLike | None = None,
    config: EvaluateConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> EvaluateResult:
    """Measures a fine-tuned identity on its held-out frames; writes `<identity>/evaluation/`.

    Raises:
      InputError: not fine-tuned, nothing held out, or in use by another process.
    """
    checked = _with_settings(config or EvaluateConfig(), settings)
    person = Identity.open(identity, identities_dir)
    from talkjax.evaluate.run import run

    with person.lock():
        return run(person, checked, progress or SILENT)


def export(
    identity: str,
    out: PathLike | None = None,
    *,
    identities_dir: PathLike | None = None,
    config: ExportConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> ExportResult:
    """Writes a fine-tuned identity as one file that `talkjax.load` opens (docs/export.md).

    Args:
      out: path ending in .talkjax; an existing file is replaced only with `overwrite=True`. None: only the
        networks that `onnx=DIR` asks for.

    Raises:
      InputError: not fine-tuned, nothing asked for, or `out` cannot be written.
    """
    checked = _with_settings(config or ExportConfig(), settings)
    if out is None and checked.onnx is None:
        raise InputError("nothing to export", expected="--out=NAME.talkjax, --onnx=DIR or both", code="usage")
    person, target = Identity.open(identity, identities_dir), None if out is None else Path(out)
    if target is not None:
        with contextlib.suppress(OSError):  # if this fails, the check below says why
            target.parent.mkdir(parents=True, exist_ok=True)
        check_output(target, overwrite=checked.overwrite, suffixes=(".talkjax",))
    from talkjax.infer.export import run

    with person.lock(shared=True):
        return run(person, target, checked, progress or SILENT)


def track(
    clip: PathLike,
    out: PathLike,
    *,
    config: TrackConfig | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> TrackResult:
    """Head pose, expression, mesh and texture of a clip as files of a folder (docs/track.md).

    Args:
      clip: a video of one person; sound is not needed.
      out: the folder to write; an earlier run's is replaced only with `overwrite=True`.
      config: all settings; `settings` replaces single ones, e.g. `model="face.npz", obj_sequence=True`.

    Raises:
      InputError: the clip shows no face or too little of it, no such model, or `out` cannot be written.
    """
    checked = _with_settings(config or TrackConfig(), settings)
    path = Path(check_file(clip))
    from talkjax.track.clip_track import SUMMARY, run

    folder = check_output_folder(out, marker=SUMMARY, overwrite=checked.overwrite)
    return run(path, folder, checked, progress or SILENT)


def writable_output(out: PathLike, overwrite: bool, inputs: tuple[Path, ...] = ()) -> Path:
    """The path of an mp4 that can be written, tried now and not after minutes of work.

    Missing folders are made.

    Raises:
      InputError: not an .mp4, a folder, an input file, existing without `overwrite`, or read-only.
    """
    path = Path(out)
    _not_an_input(path, inputs)
    if path.is_file() and not overwrite:
        raise InputError(f"{path} exists", fix="choose another --out, or add --overwrite", code="exists")
    with contextlib.suppress(OSError):  # if this fails, the check below says why
        path.parent.mkdir(parents=True, exist_ok=True)
    return Path(check_output(path, overwrite=overwrite, suffixes=(".mp4",)))


def _not_an_input(path: Path, inputs: tuple[Path, ...]) -> None:
    if path.exists() and any(path.samefile(entry) for entry in inputs):
        raise InputError(f"--out={path} is an input file", fix="choose another name", code="bad_output")


def _with_settings(config: _ConfigT, settings: dict[str, Any]) -> _ConfigT:
    return dataclasses.replace(config, **settings).validate()
