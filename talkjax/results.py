"""What the verbs return to Python: plain values, so that nothing below the api needs to import it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class GenerateResult:
    """A written video.

    Attributes:
      path: the mp4; of a layer the .mov, .webm or folder.
      sidecar: the JSON beside it, or in the folder, that says it is synthetic and what it was made from.
      seconds: wall-clock seconds per stage, in the order in which they ran.
      frames: number of frames written, at 25 fps.
    """

    path: Path
    sidecar: Path
    seconds: Mapping[str, float] = field(default_factory=dict)
    frames: int = 0


@dataclass(frozen=True)
class ExportResult:
    """An exported identity.

    Attributes:
      path: the file; None where only networks were asked for.
      sha256: of its manifest, which names the digest of every member.
      size: bytes.
      seconds: wall-clock time.
      networks: ONNX network -> largest difference of onnxruntime from jit.
    """

    path: Path | None
    sha256: str
    size: int
    seconds: float
    networks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateResult:
    """Figures on the held-out frames.

    Attributes:
      folder: `identities/<name>/evaluation`, with metrics.json, report.html and the two videos.
      report: the HTML report.
      metrics: the content of metrics.json.
      table: the same figures as lines of text for a terminal.
    """

    folder: Path
    report: Path
    metrics: Mapping[str, Any] = field(default_factory=dict)
    table: str = ""


@dataclass(frozen=True)
class TrackResult:
    """A tracked clip.

    Attributes:
      folder: with coefficients, landmarks, mesh, texture, overlay; docs/track.md says what each is.
      frames: at 25 fps. valid: of them, with a face.
      figures: of `track.json`: landmark error, noise of the head.
      seconds: wall-clock seconds per stage, and of `all`.
    """

    folder: Path
    frames: int
    valid: int
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
