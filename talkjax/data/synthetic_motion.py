"""How the synthetic person moves: speech on the face, head, shoulders, gaze, blinks; from a seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from talkjax.data.coarticulation import CHANNELS, VOWELS, articulate
from talkjax.data.synthetic_mesh import EYE_CENTER, PersonMesh
from talkjax.data.synthetic_noise import smoothstep
from talkjax.data.synthetic_scene import LOWER_INNER_LIP, UPPER_INNER_LIP

HEAD_PLACE = np.array((0.0, 0.06, 5.1))
"""Where the face model's origin rests in camera space (dm): the camera stands at z = 10."""
NECK_PIVOT = np.array((0.0, -0.75, -0.25))
_LOOKED_AT = np.array((0.0, 0.22, 10.0))  # just above the lens


@dataclasses.dataclass(frozen=True)
class Motion:
    """Everything that moves, per frame [t]; radians, dm, conventions of `talkjax.types`."""

    channels: np.ndarray  # [t 7] articulators (coarticulation.CHANNELS)
    exp_weights: np.ndarray  # [t e]
    head_euler: np.ndarray  # [t 3]
    head_translation: np.ndarray  # [t 3]
    shoulders_euler: np.ndarray  # [t 3]
    shoulders_translation: np.ndarray  # [t 3]
    gaze: np.ndarray  # [t 2] pitch (down), yaw (image right) of the eyes in the head
    blink: np.ndarray  # [t] 0 open .. 1 closed
    blink_times: np.ndarray  # [n] seconds at which the lids start to close
    lip_gap: np.ndarray  # [t] dm


def rotation_matrix(euler: np.ndarray) -> np.ndarray:
    """[... 3] -> [... 3 3], R = Rz(roll) Ry(yaw) Rx(pitch) as in `talkjax.face.pose`, in double precision."""
    (cx, cy, cz), (sx, sy, sz) = np.moveaxis(np.cos(euler), -1, 0), np.moveaxis(np.sin(euler), -1, 0)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _wander(rng: np.random.Generator, n: int, fps: float, seconds: float, columns: int) -> np.ndarray:
    """[n columns] smooth noise of unit std that changes over about `seconds`."""
    pad = int(6 * seconds * fps) + 1
    noise = gaussian_filter1d(rng.standard_normal((n + 2 * pad, columns)), seconds * fps, axis=0)
    return noise[pad:-pad] * np.sqrt(2 * np.sqrt(np.pi) * seconds * fps)


def stresses(phones: Sequence[tuple[str, float]]) -> list[tuple[float, float]]:
    """(time, strength 0..1) of the stressed syllables, taken to be the longer vowels."""
    found, start = [], 0.0
    for phone, end in phones:
        if phone in VOWELS and end - start > 0.085:
            found.append((0.5 * (start + end), float(np.clip((end - start - 0.06) / 0.14, 0.2, 1.0))))
        start = end
    return found


def _bumps(times: np.ndarray, events: Sequence[tuple[float, float]], rise: float, fall: float) -> np.ndarray:
    """Sum of asymmetric bumps at (time, height); rise and fall are their widths in seconds."""
    total = np.zeros(len(times))
    for at, height in events:
        width = np.where(times < at, rise, fall)
        total += height * np.exp(-(((times - at) / width) ** 2))
    return total


def _speaking(times: np.ndarray, phones: Sequence[tuple[str, float]]) -> np.ndarray:
    active = np.zeros(len(times))
    start = 0.0
    for phone, end in phones:
        if phone != "pau":
            active[(times >= start) & (times < end)] = 1.0
        start = end
    return active


def _blinks(
    rng: np.random.Generator, times: np.ndarray, phones: Sequence[tuple[str, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Start times (about 17 a minute, drawn to pauses) and closure: 70 ms down, 40 ms shut, 190 ms up."""
    pauses, start = [], 0.0
    for phone, end in phones:
        if phone == "pau" and end - start > 0.12:
            pauses.append(start)
        start = end
    begun: list[float] = []
    at = 0.9 + rng.uniform(0, 0.8)
    while at < times[-1] - 0.35:
        near = [p for p in pauses if abs(p - at) < 0.7 and (not begun or p - begun[-1] > 1.2)]
        at = near[0] + rng.uniform(0.0, 0.1) if near and rng.uniform() < 0.7 else at
        begun.append(at)
        at += float(np.clip(rng.lognormal(np.log(3.6), 0.40), 1.6, 7.0))
    closure = np.zeros(len(times))
    for at in begun:
        since = times - at
        shape = smoothstep(since, 0.0, 0.07) * smoothstep(since, 0.30, 0.11)
        closure = np.maximum(closure, shape)
    return np.array(begun), closure


def _head(
    rng: np.random.Generator, times: np.ndarray, fps: float, phones: Sequence[tuple[str, float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Head and shoulder poses: slow wandering, livelier while speaking, with nods on stressed syllables."""
    n = len(times)
    lively = 0.55 + 0.45 * gaussian_filter1d(_speaking(times, phones), 0.3 * fps)
    slow, quick = _wander(rng, n, fps, 0.75, 3), _wander(rng, n, fps, 0.22, 3)
    degrees = slow * (1.5, 3.2, 1.3) + quick * (0.45, 0.6, 0.35)
    degrees *= lively[:, None]
    accents = [
        (t + rng.normal(0, 0.03), s * rng.uniform(1.0, 4.2))
        for t, s in stresses(phones)
        if rng.uniform() < 0.65
    ]
    degrees[:, 0] += _bumps(times, accents, 0.14, 0.26) - 0.9
    tilts = [(t, rng.normal(0, 1.6)) for t, _ in accents]
    degrees[:, 2] += _bumps(times, tilts, 0.35, 0.5)
    degrees[:, 1] += _bumps(times, [(t, rng.normal(0, 2.0)) for t, _ in accents], 0.3, 0.6)
    head_euler = np.radians(np.clip(degrees, -14, 14))
    breath = 0.006 * np.sin(2 * np.pi * 0.27 * times + rng.uniform(0, 6))
    sway = _wander(rng, n, fps, 1.1, 3) * (0.020, 0.008, 0.025) + np.stack(
        [0 * breath, breath, 0.4 * breath], -1
    )
    followed = gaussian_filter1d(head_euler, 0.25 * fps, axis=0) * (0.12, 0.10, 0.15)
    shoulders_euler = followed + np.radians(_wander(rng, n, fps, 1.2, 3) * (0.3, 0.5, 0.3))
    pivot_moved = NECK_PIVOT - np.einsum("tij,j->ti", rotation_matrix(head_euler), NECK_PIVOT)
    base = np.array((0.0, -2.6, -0.3))  # the shoulders turn about the waist
    base_moved = base - np.einsum("tij,j->ti", rotation_matrix(shoulders_euler), base)
    place = HEAD_PLACE + sway
    return head_euler, place + base_moved + pivot_moved, shoulders_euler, place + base_moved


def _gaze(
    rng: np.random.Generator, times: np.ndarray, euler: np.ndarray, translation: np.ndarray
) -> np.ndarray:
    """Eyes on the camera in spite of the head's motion, with small saccades and a few looks away."""
    matrix = rotation_matrix(euler)
    middle = EYE_CENTER * (0, 1, 1)
    toward = _LOOKED_AT - (np.einsum("tij,j->ti", matrix, middle) + translation)
    local = np.einsum("tij,ti->tj", matrix, toward / np.linalg.norm(toward, axis=-1, keepdims=True))
    gaze = np.stack([-np.arcsin(local[:, 1]), np.arctan2(local[:, 0], local[:, 2])], -1)
    offset, at = np.zeros((len(times), 2)), 0.0
    while at < times[-1]:
        away = rng.uniform() < 0.14
        target = np.radians(rng.normal(0, (4.0, 8.0) if away else (0.9, 1.6)))
        reached = smoothstep(times, at, at + 0.045)[:, None]
        offset = offset * (1 - reached) + target * reached
        at += rng.uniform(0.35, 0.8) if away else rng.uniform(0.5, 1.9)
    return gaze + offset


def _face_weights(mesh: PersonMesh, named: dict[str, np.ndarray], n: int) -> np.ndarray:
    weights = np.zeros((n, len(mesh.expression_names)))
    for name, values in named.items():
        for side in ("", "_L", "_R"):
            if name + side in mesh.expression_names:
                weights[:, mesh.expression_names.index(name + side)] += values
    return weights


def lip_gap(mesh: PersonMesh, exp_weights: np.ndarray) -> np.ndarray:
    """[t] height of the opening between the lips at the midline, dm, from the front; < 0: overlap."""
    ids = np.array(UPPER_INNER_LIP + LOWER_INNER_LIP)
    height = mesh.verts[ids, 1] + exp_weights @ mesh.expressions[:, ids, 1]
    n = len(UPPER_INNER_LIP)
    return height[:, :n].min(-1) - height[:, n:].max(-1)


def speech_weights(mesh: PersonMesh, channels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[t 7] articulators -> [t e] expression weights; lips that should be closed are closed."""
    jaw, part, spread, rounding, close, tuck, _ = channels.T
    shut = smoothstep(close, 0.12, 0.80)
    free = 1 - shut
    named = {
        "jawOpen": 0.30 * jaw,
        "mouthLowerDown": 0.46 * part * free,
        "mouthUpperUp": (0.24 * part + 0.22 * tuck) * free,
        "mouthStretch": 0.34 * spread,
        "mouthSmile": 0.14 * spread + 0.06,
        "mouthPucker": 0.78 * rounding,
        "mouthFunnel": 0.30 * rounding * free,
        "mouthPress": 0.30 * shut,
        "mouthRollLower": 0.10 * shut + 0.42 * tuck,
        "mouthRollUpper": 0.08 * shut,
    }
    weights = _face_weights(mesh, named, len(channels))
    sides = np.array([n[-2:] in ("_L", "_R") and n.startswith("mouth") for n in mesh.expression_names])
    weights *= 1 + 0.07 * rng.standard_normal(len(sides)) * sides  # nobody speaks symmetrically
    index = mesh.expression_names.index("mouthClose")
    open_gap = lip_gap(mesh, weights)
    wanted = np.maximum(open_gap, 0) * free - 0.004 * shut
    low, high = np.zeros(len(weights)), np.ones(len(weights))
    for _ in range(18):  # bisection: the gap falls as mouthClose grows
        weights[:, index] = 0.5 * (low + high)
        wide = lip_gap(mesh, weights) > wanted
        low, high = np.where(wide, weights[:, index], low), np.where(wide, high, weights[:, index])
    weights[:, index] = np.where(shut > 1e-3, 0.5 * (low + high), 0.0)
    return weights


def make_motion(
    mesh: PersonMesh, phones: Sequence[tuple[str, float]], n: int, fps: float, seed: int
) -> Motion:
    """Motion of n frames that speak `phones` (phoneme, end time); frame k shows time (k + .5) / fps."""
    rng = np.random.default_rng((seed, 23))
    times = (np.arange(n) + 0.5) / fps
    samples = (times[:, None] + np.array([-0.006, 0.006])).reshape(-1)  # a short shutter
    channels = articulate(phones, samples).reshape(n, 2, len(CHANNELS)).mean(1)
    weights = speech_weights(mesh, channels, rng)
    gap = lip_gap(mesh, weights)
    head_euler, head_translation, shoulders_euler, shoulders_translation = _head(rng, times, fps, phones)
    gaze = _gaze(rng, times, head_euler, head_translation)
    blink_times, blink = _blinks(rng, times, phones)
    raised = _bumps(
        times, [(t, s * rng.uniform(0, 0.75)) for t, s in stresses(phones) if rng.uniform() < 0.5], 0.12, 0.22
    )
    pitch, yaw = gaze.T
    named = {
        "eyeBlink": 0.15 + 0.85 * blink,
        "eyeSquint": 0.20 + 0.25 * blink,
        "eyeLookDown": np.clip(pitch / 0.5, 0, 1),
        "eyeLookUp": np.clip(-pitch / 0.5, 0, 1),
        "eyeLookOut_L": np.clip(yaw / 0.6, 0, 1),
        "eyeLookIn_R": np.clip(yaw / 0.6, 0, 1),
        "eyeLookIn_L": np.clip(-yaw / 0.6, 0, 1),
        "eyeLookOut_R": np.clip(-yaw / 0.6, 0, 1),
        "browInnerUp": 0.45 * raised + 0.04,
        "browOuterUp": 0.35 * raised,
        "browDown": np.clip(0.05 + 0.07 * _wander(rng, n, fps, 0.8, 1)[:, 0], 0, 0.25),
        "cheekSquint": 0.12 * channels[:, 2],
    }
    weights += _face_weights(mesh, named, n)
    return Motion(
        channels,
        weights,
        head_euler,
        head_translation,
        shoulders_euler,
        shoulders_translation,
        gaze,
        blink,
        blink_times,
        gap,
    )
