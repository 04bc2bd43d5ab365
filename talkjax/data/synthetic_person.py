"""A synthetic person speaking: the demo's clip, rendered by the project's own code, with the truth behind it.

    truth = synthesize_clip("person.mp4", seed=0, seconds=18.0)

No real person: a generic head (ICT-FaceKit, MIT), procedural paint, hair, clothes, room and motion, and a
voice made by a free speech synthesizer. The same seed gives the same frames on the same machine.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.data.coarticulation import CHANNELS
from talkjax.data.synthetic_mesh import PersonMesh
from talkjax.data.synthetic_motion import Motion, lip_gap, make_motion
from talkjax.data.synthetic_render import FrameState, render_frame
from talkjax.data.synthetic_room import paint_room
from talkjax.data.synthetic_scene import MOUTH_CORNERS, OUTER_EYE_CORNERS, Person, make_person
from talkjax.data.synthetic_voice import SAMPLE_RATE, Voice, fit_voice, load_voice
from talkjax.errors import InputError
from talkjax.media.writer import VideoWriter
from talkjax.rng import stream_key
from talkjax.types import Pose

Progress = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""


@dataclasses.dataclass(frozen=True)
class SyntheticTruth:
    """What the clip shows, frame by frame (t frames; frame k is the instant (k + .5) / fps).

    Attributes:
      fps, size: frames per second; (width, height) pixels.
      phones: (phoneme, start, end) in seconds.
      visemes: [t 7] articulators 0..1, named by `viseme_names`.
      exp_weights: [t e] weights of ICT-FaceKit's expression shapes, named by `exp_names`.
      lip_opening: [t] distance between the lips over the distance of the outer eye corners (3D, no pose).
      lip_width: [t] distance of the mouth corners over the same.
      pose: [t 6] pitch, yaw, roll (radians) and translation (dm), `types.Pose` conventions, of the face
        model's own origin between the ears, seen by `face.camera.clip_camera(*size)`.
      gaze: [t 2] pitch (down) and yaw (image right) of the eyes in the head, radians.
      blink: [t] 0 open .. 1 closed; blink_times: seconds at which the lids start to close.
      wav: float32 [n], 16 kHz.
    """

    fps: float
    size: tuple[int, int]
    seed: int
    phones: tuple[tuple[str, float, float], ...]
    viseme_names: tuple[str, ...]
    visemes: np.ndarray
    exp_names: tuple[str, ...]
    exp_weights: np.ndarray
    lip_opening: np.ndarray
    lip_width: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    blink: np.ndarray
    blink_times: np.ndarray
    wav: np.ndarray


def synthesize_clip(
    path: str | os.PathLike[str],
    *,
    seed: int = 0,
    seconds: float = 18.0,
    size: tuple[int, int] = (480, 480),
    fps: float = 25.0,
    progress: Progress | None = None,
    voice: str = "voice_train",
    overwrite: bool = False,
) -> SyntheticTruth:
    """Writes an mp4 of the seed's person speaking the embedded voice, with its sound; returns the truth.

    Args:
      path: ends in .mp4.
      seconds: length; the voice is cut or repeated to it.
      size: (width, height) in pixels, even, at least 64.
      progress: told after each frame.

    Raises:
      InputError: size or length out of range, or a path that cannot be written.
    """
    width, height = size
    if min(size) < 64 or width % 2 or height % 2:
        raise InputError(
            f"clip of {width} x {height} pixels", expected="even sides of at least 64", code="bad_size"
        )
    n = round(seconds * fps)
    if n < 1:
        raise InputError(f"clip of {seconds} s", expected="at least one frame", code="bad_length")
    spoken = fit_voice(load_voice(voice), n / fps)
    person = make_person(seed)
    motion = make_motion(person.mesh, spoken.phones, n, fps, seed)
    frames = render_frames(person, motion, size, seed)
    sound = (spoken.wav, SAMPLE_RATE)
    note = {"comment": "Synthetic: a computer-generated person and voice; no real person is shown or heard."}
    with VideoWriter(path, width, height, fps=fps, audio=sound, metadata=note, overwrite=overwrite) as writer:
        for k, frame in enumerate(frames):
            writer.write(frame)
            if progress is not None:
                progress(k + 1, n)
    return make_truth(person.mesh, motion, spoken, fps, size, seed)


def frame_states(motion: Motion) -> FrameState:
    """The renderer's view of a motion, all frames stacked."""

    def single(values: np.ndarray) -> jax.Array:
        return jnp.asarray(values, jnp.float32)

    return FrameState(
        exp_weights=single(motion.exp_weights),
        head=Pose(single(motion.head_euler), single(motion.head_translation)),
        shoulders=Pose(single(motion.shoulders_euler), single(motion.shoulders_translation)),
        gaze=single(motion.gaze),
        blink=single(np.stack([motion.blink, motion.blink], -1)),
        tongue=single(motion.channels[:, CHANNELS.index("tongue")]),
        lip_gap=single(np.maximum(motion.lip_gap, 0.0)),
    )


def render_frames(
    person: Person, motion: Motion, size: tuple[int, int], seed: int, indices: range | None = None
) -> Iterator[np.ndarray]:
    """Frames of a motion (all, or those of `indices`) as uint8 [h w 3], in order.

    Two frames are under way at a time: the rasterizer's scatter uses one core only.
    """
    width, height = size
    scene = jax.tree.map(jnp.asarray, person.scene)
    background = jnp.asarray(paint_room(width, height, np.random.default_rng((seed, 37))))
    states = jax.tree.map(np.asarray, frame_states(motion))

    def render(k: int) -> np.ndarray:
        state = jax.tree.map(lambda values: jnp.asarray(values[k]), states)
        return np.asarray(render_frame(scene, state, background, stream_key(seed, "sensor", k)))

    waiting: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for k in indices if indices is not None else range(len(motion.blink)):
            waiting.append(pool.submit(render, k))
            if len(waiting) > 3:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def make_truth(
    mesh: PersonMesh, motion: Motion, voice: Voice, fps: float, size: tuple[int, int], seed: int
) -> SyntheticTruth:
    """The truth of a motion; lip opening and width are measured on the deformed mesh."""
    eyes = mesh.verts[[mesh.lids[name][-1] for name in OUTER_EYE_CORNERS]]
    eye_distance = float(np.linalg.norm(eyes[0] - eyes[1]))
    corners = np.array(MOUTH_CORNERS)
    moved = mesh.verts[corners] + np.einsum("te,enc->tnc", motion.exp_weights, mesh.expressions[:, corners])
    starts = [0.0] + [end for _, end in voice.phones[:-1]]
    return SyntheticTruth(
        fps=fps,
        size=size,
        seed=seed,
        phones=tuple((p, start, end) for (p, end), start in zip(voice.phones, starts, strict=True)),
        viseme_names=CHANNELS,
        visemes=motion.channels,
        exp_names=mesh.expression_names,
        exp_weights=motion.exp_weights,
        lip_opening=np.maximum(lip_gap(mesh, motion.exp_weights), 0.0) / eye_distance,
        lip_width=np.linalg.norm(moved[:, 0] - moved[:, 1], axis=-1) / eye_distance,
        pose=np.concatenate([motion.head_euler, motion.head_translation], -1),
        gaze=motion.gaze,
        blink=motion.blink,
        blink_times=motion.blink_times,
        wav=voice.wav,
    )
