"""Every setting a person can choose, as frozen dataclasses that validate themselves.

One field is one setting: its default, help text, group and limits stand in one place, and the command line
makes its flag (and its `--help` line) from that. A config enters a stage's cache key through `to_json`, so
a stage should be given only the settings that change its result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Self

from talkjax.errors import InputError

FPS = 25.0
"""Frames per second of everything between the reader and the writer."""

PRESETS = ("auto", "lite", "default", "paper")
INITS = ("general", "scratch")
POSES = ("clip", "generated", "matched", "delta", "fixed")
"""Pose sources without a file."""
POSE_FILES = ("video", "track")
"""Pose sources with one: `video:FILE`, `track:FILE`."""
TEXTURES = ("clip", "model", "none")
"""Where the color of a tracked mesh comes from."""


def count_frames(seconds: float) -> int:
    """Frames at 25 per second of a clip of `seconds`; an eighth of a frame at its end does not count."""
    return max(math.ceil(seconds * FPS - 1 / 8), 1)


def option(
    default: Any,
    help: str,
    *,
    group: str = "settings",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """A dataclass field that is also a flag.

    Args:
      default: value when not given; None means "decided by the program", as the help text says.
      help: one line, lower case, without the default.
      group: heading in `--help`.
      choices: allowed strings, if they are few.
      minimum, maximum: inclusive limits of a number.
    """
    metadata = {"help": help, "group": group, "choices": choices, "minimum": minimum, "maximum": maximum}
    return dataclasses.field(default=default, metadata=metadata)


def field_type(config_type: type, name: str) -> type:
    """The plain type (bool, int, float or str) of a field, `X | None` counting as X."""
    hint = typing.get_type_hints(config_type)[name]
    if isinstance(hint, types.UnionType):
        (hint,) = (arg for arg in typing.get_args(hint) if arg is not type(None))
    return hint


def to_json(config: Any) -> str:
    """Canonical JSON of a config dataclass (or of plain data): equal settings give equal text."""
    is_config = dataclasses.is_dataclass(config) and not isinstance(config, type)
    data = dataclasses.asdict(config) if is_config else config
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def config_hash(config: Any) -> str:
    """sha256 (hex) over the config's class name and its settings."""
    return hashlib.sha256(f"{type(config).__name__}:{to_json(config)}".encode()).hexdigest()


@dataclass(frozen=True)
class Config:
    """Base of all configs."""

    def validate(self) -> Self:
        """Returns self; InputError names the flag whose value is of the wrong type or out of its limits."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                self._check(field, value)
        return self

    def _check(self, field: dataclasses.Field[Any], value: Any) -> None:
        flag = f"--{field.name}={value}"
        wanted = field_type(type(self), field.name)
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not (type(value) is wanted or (wanted is float and is_number)):
            raise InputError(
                f"{flag} is not usable", expected=f"a value of type {wanted.__name__}", code="bad_config"
            )
        low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
        if wanted in (int, float) and not (
            (low is None or value >= low) and (high is None or value <= high) and value == value
        ):
            limits = " and ".join(
                f"{w} {v}" for w, v in (("at least", low), ("at most", high)) if v is not None
            )
            raise InputError(f"{flag} is out of range", expected=limits or "a number", code="bad_config")
        choices = field.metadata.get("choices")
        if choices and value not in choices:
            raise InputError(f"{flag} is unknown", expected=f"one of {', '.join(choices)}", code="bad_config")

    def to_json(self) -> str:
        """Canonical JSON text."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parses what `to_json` wrote; an unknown key is an InputError."""
        data = json.loads(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise InputError(
                f"{cls.__name__} has no setting {', '.join(unknown)}",
                expected=", ".join(sorted(known)),
                code="bad_config",
            )
        return cls(**data).validate()


@dataclass(frozen=True)
class PrepareConfig(Config):
    """From a clip to landmarks, 3D tracking, texture and backgrounds."""

    train_frames: int | None = option(
        None, "frames 0..N-1 train, the rest is held out; none: min(300, 80 % of the clip)", minimum=50
    )
    max_seconds: float = option(600.0, "refuse clips longer than this", minimum=3.0, maximum=3600.0)

    def split(self, n_frames: int) -> int:
        """The number of training frames of a clip with `n_frames` frames at 25 fps.

        InputError when `train_frames` is larger than the clip; equal is allowed (nothing held out).
        """
        if self.train_frames is None:
            return min(300, int(0.8 * n_frames))
        if self.train_frames > n_frames:
            raise InputError(
                f"the clip has {n_frames} frames at 25 fps, fewer than --train_frames={self.train_frames}",
                fix=f"use --train_frames={int(0.8 * n_frames)}, or a longer clip",
                code="clip_shorter_than_train_frames",
            )
        return self.train_frames


@dataclass(frozen=True)
class MappingConfig(Config):
    """Fine-tuning of the net from sound to expression and head pose."""

    preset: str = option("default", "which network", choices=("default", "paper"))
    steps: int = option(60, "optimizer steps, the most that are tried", minimum=1)
    init: str = option("general", "where training begins", choices=INITS)
    relative_pose: bool = option(False, "paper preset: pose as frame-to-frame differences")
    seed: int = option(0, "the run's only seed", minimum=0)
    all_frames: bool = option(False, "train on every frame of the clip, nothing held out")


@dataclass(frozen=True)
class PretrainConfig(Config):
    """What all pretraining jobs share. Settings of the group `place` may change when a run goes on; the
    others decide what comes out, and a checkpoint is continued only with the same."""

    steps: int = option(6000, "optimizer steps", minimum=1)
    batch: int = option(16, "examples per step, over all devices and hosts", minimum=1)
    accumulate: int = option(1, "parts of the batch, computed one after the other to save memory", minimum=1)
    learning_rate: float = option(3e-3, "peak of the schedule", minimum=0.0)
    seed: int = option(0, "the run's only seed", minimum=0)
    compute_dtype: str = option(
        "auto",
        "arithmetic of the networks; auto: bfloat16 on accelerators; parameters are float32 always",
        choices=("auto", "float32", "bfloat16"),
    )
    mesh_data: int = option(-1, "devices that share the batch; -1: all that are left", group="place")
    mesh_fsdp: int = option(1, "devices that share batch and parameters", group="place", minimum=1)
    mesh_model: int = option(1, "devices that share channels of layers", group="place", minimum=1)
    save_every: int = option(500, "steps between checkpoints", group="place", minimum=1)
    keep: int = option(3, "checkpoints that stay", group="place", minimum=1)
    log_every: int = option(20, "steps between rows of metrics", group="place", minimum=1)
    eval_every: int = option(
        3000, "steps between looks at pictures and held-out data", group="place", minimum=1
    )
    max_bad_steps: int = option(
        5, "steps in a row without finite numbers that roll the run back", group="place", minimum=1
    )
    watchdog_seconds: float = option(
        600.0, "a host on which nothing moves for so long ends itself; 0: never", group="place", minimum=0.0
    )
    workers: int = option(0, "processes that read input; 0: threads", group="place", minimum=0)

    def identity(self) -> dict[str, Any]:
        """The settings that must be equal for a run to go on."""
        fields = [f.name for f in dataclasses.fields(self) if f.metadata["group"] != "place"]
        return {"class": type(self).__name__, **{name: getattr(self, name) for name in fields}}

    def dtype_name(self, platform: str) -> str:
        """Type of the arithmetic on a JAX platform."""
        if self.compute_dtype != "auto":
            return self.compute_dtype
        return "float32" if platform == "cpu" else "bfloat16"


@dataclass(frozen=True)
class GeneralMappingConfig(PretrainConfig):
    """General training of the net from sound to face, over many voices."""

    versions: int = option(2, "copies of each sound: itself, and in random rooms", minimum=1)


@dataclass(frozen=True)
class GeneralRefinerConfig(PretrainConfig):
    """General training of the net from composed frames to photographic ones, over many people."""

    preset: str = option("lite", "size of the networks", choices=("lite", "paper"))
    steps: int = option(20_000, "optimizer steps", minimum=1)
    batch: int = option(8, "frames per step, over all devices and hosts", minimum=1)
    learning_rate: float = option(1e-3, "peak of the schedule", minimum=0.0)
    width: int = option(32, "channels of the generator's first layer", minimum=4)
    n_slots: int = option(8192, "rows of the memory bank", minimum=64)


@dataclass(frozen=True)
class ReconstructionConfig(PretrainConfig):
    """Training of the network from a picture of a face to a model's coefficients."""

    preset: str = option("small", "which network", choices=("small", "resnet50"))
    steps: int = option(6000, "optimizer steps", minimum=1)
    batch: int = option(48, "pictures per step, over all devices and hosts", minimum=1)
    learning_rate: float = option(2e-3, "peak of the schedule", minimum=0.0)
    width: int = option(48, "channels of the network's first layer", minimum=4)
    units: int = option(
        2, "preset small: residual units of its first stage, one less than in the others", minimum=1
    )
    photometric: float = option(
        0.0, "factor of the terms that explain the picture through the rasterizer; 0: without", minimum=0.0
    )
    face_model: str = option("", "full head (.npz) of which faces are drawn where no corpus is given")
    size: int = option(128, "side of faces drawn without a corpus, px", minimum=32)
    pool: int = option(
        0, "faces drawn without a corpus that stay on the device, renewed steadily; 0: none", minimum=0
    )
    reuse: int = option(4, "how often a face of the pool is used, on average", minimum=1)
    start_from: str = option("", "weights.npz of an earlier run of the same network; empty: begin at random")


@dataclass(frozen=True)
class RefinerConfig(Config):
    """Fine-tuning of the net from composed frames to photographic ones."""

    preset: str = option("lite", "size of the networks", choices=PRESETS[1:])
    steps: int = option(900, "optimizer steps", minimum=1)
    init: str = option("general", "where training begins (lite)", choices=INITS)
    seed: int = option(0, "the run's only seed", minimum=0)
    all_frames: bool = option(False, "train on every frame of the clip, nothing held out")


@dataclass(frozen=True)
class MotionConfig(Config):
    """Fine-tuning of the head motion's decoder."""

    steps: int = option(120, "optimizer steps", minimum=0)
    seed: int = option(0, "the run's only seed", minimum=0)
    all_frames: bool = option(False, "train on every frame of the clip, nothing held out")


@dataclass(frozen=True)
class FinetuneConfig(Config):
    """Personal fine-tuning: sound to face, face to photo, and head motion."""

    preset: str = option("auto", "size of the networks; auto: lite on a CPU, else default", choices=PRESETS)
    all_frames: bool = option(False, "train on every frame: the model to keep, but not one to evaluate")
    mapping_steps: int | None = option(
        None, "optimizer steps from sound to face; none: the preset's", minimum=1
    )
    refiner_steps: int | None = option(None, "optimizer steps of the refiner; none: the preset's", minimum=1)
    init: str = option("general", "begin with the general networks that ship, or at random", choices=INITS)
    relative_pose: bool = option(False, "paper mapping: head pose as frame-to-frame differences")
    seed: int = option(0, "the run's only seed", minimum=0)

    def mapping(self, platform: str = "cpu") -> MappingConfig:
        """The mapping's own settings on a JAX platform ("cpu", "gpu", "tpu")."""
        del platform  # the small network is the better one everywhere
        preset = "paper" if self.preset == "paper" else "default"
        return MappingConfig(
            preset=preset,
            steps=self.mapping_steps or {"default": 60, "paper": 1700}[preset],
            init=self.init,
            relative_pose=self.relative_pose,
            seed=self.seed,
            all_frames=self.all_frames,
        )

    def motion(self) -> MotionConfig:
        """The head motion's own settings."""
        return MotionConfig(seed=self.seed, all_frames=self.all_frames)

    def refiner(self, platform: str = "cpu") -> RefinerConfig:
        """The refiner's own settings on a JAX platform."""
        preset = resolve_preset(self.preset, platform)
        return RefinerConfig(
            preset=preset,
            steps=self.refiner_steps or {"lite": 900, "default": 1500, "paper": 17880}[preset],
            init=self.init,
            seed=self.seed,
            all_frames=self.all_frames,
        )


@dataclass(frozen=True)
class GenerateConfig(Config):
    """From a voice to a video."""

    pose: str = option(
        "clip",
        "head motion: clip (replayed), generated (new, in the person's style), matched or delta (real frames "
        "that follow a generated motion, as in the two papers), fixed (still), video:FILE (of another "
        "video), track:FILE (a motion track)",
        group="motion",
    )
    pose_gain: float = option(
        1.0, "strength of head motion around its mean", group="motion", minimum=0.0, maximum=2.0
    )
    pitch_gain: float = option(
        1.0, "strength of nodding, times pose_gain", group="motion", minimum=0.0, maximum=3.0
    )
    yaw_gain: float = option(
        1.0, "strength of turning, times pose_gain", group="motion", minimum=0.0, maximum=3.0
    )
    roll_gain: float = option(
        1.0, "strength of tilting, times pose_gain", group="motion", minimum=0.0, maximum=3.0
    )
    translation_gain: float = option(
        1.0, "strength of moving without turning, times pose_gain", group="motion", minimum=0.0, maximum=3.0
    )
    pose_clamp: float | None = option(
        None,
        "largest angle from the person's mean pose, degrees; none: no limit",
        group="motion",
        minimum=0.1,
        maximum=60.0,
    )
    freeze: str = option(
        "",
        "hold the head still in these seconds, e.g. 2-4.5,8- or all; lids, gaze and mouth go on",
        group="motion",
    )
    seed: int = option(0, "seed of everything random", group="motion", minimum=0)
    preset: str = option(
        "auto",
        "which fine-tuned networks to use; auto: those that are there",
        group="picture",
        choices=PRESETS,
    )
    motion_out: str | None = option(None, "also write the motion as a track file (CSV)", group="output")
    max_seconds: float = option(600.0, "refuse sound longer than this", group="output", minimum=1.0)
    preview: bool = option(False, "only the first 3 seconds", group="output")
    compare: bool = option(False, "put the result beside the real clip", group="output")
    layer: str = option(
        "none",
        "instead of the video, a layer for editors: face (refined face with straight alpha), mask (its alpha "
        "alone), background (what is behind it); --out=X.mov is ProRes 4444, X.webm VP9, a folder PNG files",
        group="output",
        choices=("none", "face", "mask", "background"),
    )
    crf: int = option(
        18, "H.264 quality, smaller is better and larger", group="output", minimum=0, maximum=40
    )
    overwrite: bool = option(False, "replace an existing output file", group="output")

    def validate(self) -> Self:
        """As `Config.validate`; `pose` must name a source, with a file where it needs one."""
        super().validate()
        if self.layer != "none" and self.compare:
            raise InputError("--compare shows the video, not a layer", fix="leave one out", code="bad_config")
        kind, colon, file = self.pose.partition(":")
        if not (self.pose in POSES or (kind in POSE_FILES and colon and file)):
            sources = ", ".join((*POSES, *(f"{name}:FILE" for name in POSE_FILES)))
            raise InputError(
                f"--pose={self.pose} is unknown", expected=f"one of {sources}", code="bad_config"
            )
        return self

    @property
    def pose_kind(self) -> str:
        """The source without its file: `clip`, ..., `video`, `track`."""
        return self.pose.partition(":")[0]

    @property
    def pose_file(self) -> str:
        """The file of `video:FILE` and `track:FILE`, else empty."""
        return self.pose.partition(":")[2]


@dataclass(frozen=True)
class TrackConfig(Config):
    """From a clip to its head pose, expression, mesh and texture as files."""

    model: str = option(
        "lifted", "face model: lifted (the person's own, nothing to download), a name, or FILE.npz"
    )
    texture: str = option(
        "clip",
        "color of the mesh: clip (unwrapped from the frames, completed where never seen), model (the face "
        "model's own texture space), none",
        choices=TEXTURES,
    )
    fit: str = option(
        "landmarks",
        "landmarks; photometric (then moved until the skin's colors agree in all frames too, about as long "
        "again); network (no fit: the small reconstruction network's answers, for --model=ict); guided "
        "(those, moved toward the landmarks); joint (those, then identity, texture, light, pose and "
        "expression in one fit to the pictures: the best for --model=ict)",
        choices=("landmarks", "photometric", "network", "guided", "joint"),
    )
    texture_modes: int = option(
        0, "also keep N components of how the texture changes from frame to frame", minimum=0, maximum=64
    )
    max_seconds: float | None = option(
        None, "only the first seconds; none: the whole clip, at most 600 s", minimum=1.0
    )
    obj_sequence: bool = option(False, "also write one OBJ per frame, posed", group="output")
    every: int = option(1, "of the OBJ sequence, only every N-th frame", group="output", minimum=1)
    overlay: bool = option(True, "write overlay.mp4: the mesh over the clip", group="output")
    crf: int = option(
        20,
        "H.264 quality of the overlay, smaller is larger",
        group="output",
        minimum=0,
        maximum=40,
    )
    overwrite: bool = option(False, "replace the folder of an earlier run", group="output")


@dataclass(frozen=True)
class ExportConfig(Config):
    """From an identity to one file, or to its networks as ONNX files."""

    onnx: str | None = option(
        None, "folder for each network as an ONNX file, checked with onnxruntime (extra onnx)", group="files"
    )
    overwrite: bool = option(False, "replace an existing output file", group="output")


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Figures on held-out frames."""

    crf: int = option(18, "H.264 quality of the two videos", minimum=0, maximum=40)
    max_frames: int | None = option(None, "evaluate only the first N held-out frames; none: all", minimum=25)
    free_seconds: float = option(
        10.0, "length of the video with generated head motion, 0: none", minimum=0.0, maximum=600.0
    )
    matched: bool = option(
        False, "also measure drive tracked on pose-matched training backgrounds (about a third more time)"
    )
    seed: int = option(0, "seed of everything random", minimum=0)


def resolve_preset(preset: str, platform: str) -> str:
    """`auto` is lite on a CPU and default on an accelerator; anything else stays."""
    if preset != "auto":
        return preset
    return "lite" if platform == "cpu" else "default"
