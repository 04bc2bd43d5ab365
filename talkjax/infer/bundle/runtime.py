"""`talkjax.load("me.talkjax")`: a person's talking picture from one file.

Needs jax, numpy and the media readers only; nothing else of talkjax is imported as long as the file's
StableHLO suits the installed JAX.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from talkjax import __version__
from talkjax.config import FPS
from talkjax.errors import InputError
from talkjax.infer.bundle import tensors
from talkjax.infer.bundle.archive import Archive
from talkjax.infer.bundle.layout import CONVENTION, PROGRAMS, BundleConfig
from talkjax.infer.bundle.play import Play
from talkjax.infer.bundle.programs import Programs, platform_name
from talkjax.infer.bundle.session import Session
from talkjax.infer.marks import synthetic_tags
from talkjax.media.jpeg import decode_jpeg
from talkjax.media.reader import file_sha256, read_audio
from talkjax.media.writer import VideoWriter
from talkjax.results import GenerateResult
from talkjax.track.durable import write_json

SAMPLE_RATE = 16_000
OUTPUT_RATE = 48_000
GROUPS = ("mapping", "face", "look", "bank", "refiner")
Voice = str | os.PathLike[str] | np.ndarray


class Talker:
    """A person from an exported file. Make one with `talkjax.load`.

    Attributes:
      manifest: everything that the file says of itself: identity, consent, versions, digests.
    """

    def __init__(self, archive: Archive, *, lower_again: bool = False):
        self._archive, self.manifest = archive, archive.manifest
        try:
            if self.manifest["convention"] != CONVENTION:
                lower_again = True
            self.config = _config(self.manifest["config"])
            arrays = {name: self._tensors(f"arrays/{name}.safetensors") for name in GROUPS}
            self._motion = self._tensors("arrays/motion.safetensors")
            self._starts = {
                name: self._tensors(f"arrays/start_{name}.safetensors")
                for name in PROGRAMS
                if PROGRAMS[name][1]
            }
            exported = self._exported(platform_name())
            self.n_clip = len(self._motion["exp"])
            self.name = str(self.manifest["identity"]["name"])
            self.consent = str(self.manifest["consent"].get("status", "not recorded"))
        except InputError:
            raise
        except Exception as error:  # digests are right, so another program wrote it
            raise InputError(
                f"{archive.name} cannot be used: {type(error).__name__} {str(error)[:120]}",
                expected="a file that talkjax export made",
                code="not_an_export",
            ) from error
        self.programs = Programs(self.config, arrays, exported, lower_again=lower_again)

    def session(self, pose: str = "clip", seed: int = 0) -> Session:
        """A voice as it comes; see `Session`.

        Args:
          pose: `clip` (the person's own motion, forth and back) or `fixed` (a still head; lids and gaze
          live). seed: where the clip begins; how the eyes move over a still head.
        """
        return Session(self.programs, self._starts, Play(self._motion, pose, seed), self.background)

    def generate(self, voice: Voice, pose: str = "clip", seed: int = 0) -> Iterator[np.ndarray]:
        """Frames `[h w 3]` uint8 at 25 per second, one after the other: the same as a session gives.

        Args:
          voice: a sound or video file, or `[n]` float in [-1, 1] at 16 kHz.
          pose, seed: see `session`.

        Raises:
          InputError: unusable sound.
        """
        wav = voice if isinstance(voice, np.ndarray) else read_audio(os.fspath(voice), SAMPLE_RATE)
        return self._frames(np.asarray(wav, np.float32), self.session(pose, seed))

    def _frames(self, wav: np.ndarray, session: Session) -> Iterator[np.ndarray]:
        for begin in range(0, len(wav), SAMPLE_RATE):  # a long voice is not held in pictures
            for frames in session.push(wav[begin : begin + SAMPLE_RATE]):
                yield from frames
        for frames in session.finish():
            yield from frames

    def write(
        self,
        voice: str | os.PathLike[str],
        out: str | os.PathLike[str],
        pose: str = "clip",
        seed: int = 0,
        *,
        crf: int = 18,
        overwrite: bool = False,
    ) -> GenerateResult:
        """Writes an mp4 with sound, marked as synthetic, and a JSON file beside it, as `talkjax.generate`
        does.

        Raises:
          InputError: unusable sound, or `out` cannot be written.
        """
        begin, source, target = time.perf_counter(), Path(voice), Path(out)
        wav = read_audio(source, SAMPLE_RATE)
        sound = read_audio(source, OUTPUT_RATE)
        tags = synthetic_tags(self.name, self.consent, file_sha256(source))
        size = (self.config.width, self.config.height)
        options: dict[str, Any] = {"audio": (sound, OUTPUT_RATE), "crf": crf, "metadata": tags}
        count = 0
        with VideoWriter(target, *size, overwrite=overwrite, **options) as video:
            for frame in self.generate(wav, pose, seed):
                video.write(frame)
                count += 1
        sidecar, seconds = target.with_name(target.name + ".json"), time.perf_counter() - begin
        record = {
            **tags,
            "created_with": f"talkjax {__version__}",
            "audio": {"file": source.name, "sha256": tags["talkjax_audio_sha256"]},
            "output": {"file": target.name, "sha256": file_sha256(target), "frames": count, "fps": FPS},
            "identity_source": self.manifest["identity"].get("source", {}),
            "consent_record": self.manifest["consent"],
            "export": {"file": Path(self._archive.name).name, "created": self.manifest.get("created")},
            "settings": {"pose": pose, "seed": seed, "crf": crf},
            "seconds": {"all": round(seconds, 3)},
        }
        write_json(sidecar, record)
        return GenerateResult(path=target, sidecar=sidecar, seconds={"all": seconds}, frames=count)

    def background(self, k: int) -> np.ndarray:
        """Frame k of the clip, `[h w 3]` uint8."""
        name = f"frames/{k:05d}.jpg"
        image = decode_jpeg(self._archive.read(name), f"{self._archive.name}: {name}")
        if image.shape != (self.config.height, self.config.width, 3):
            raise InputError(f"{self._archive.name}: {name} has another size", code="damaged_export")
        return image

    def close(self) -> None:
        """Ends reading the file."""
        self._archive.close()

    def _tensors(self, name: str) -> dict[str, np.ndarray]:
        return tensors.decode(self._archive.read(name))

    def _exported(self, platform: str) -> dict[str, bytes]:
        return {
            entry["name"]: self._archive.read(entry["file"])
            for entry in self.manifest["programs"]
            if platform in entry["platforms"]
        }


def _config(data: dict[str, Any]) -> BundleConfig:
    known = {field.name for field in dataclasses.fields(BundleConfig)}
    return BundleConfig(**{name: value for name, value in data.items() if name in known})


def load(path: str | os.PathLike[str], *, lower_again: bool = False) -> Talker:
    """Opens an exported identity; every byte is compared with its digest first.

    Args:
      lower_again: leave the file's StableHLO alone and lower its functions from the weights and this talkjax.

    Raises:
      InputError: missing, damaged, of another kind, or made by a newer talkjax; nothing of it was run.
    """
    archive = Archive(path)
    try:
        archive.verify()
        return Talker(archive, lower_again=lower_again)
    except BaseException:
        archive.close()
        raise
