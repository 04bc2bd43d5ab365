"""A glTF 2.0 binary (GLB) of one face: mesh, texture, morph targets and their animation.

Written from the specification (Khronos, glTF 2.0, sections 3 and 4): every accessor has a buffer view of its
own at a multiple of four bytes, positions (also of targets) have min and max, keyframe times rise, both
chunks are padded. Meters, x right, y up, the front of the face to +z.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_SHAPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_MAGIC, _JSON, _BIN = 0x46546C67, 0x4E4F534A, 0x004E4942


@dataclasses.dataclass(frozen=True)
class Animated:
    """Keyframes: `times` [t] seconds; `weights` [t k]; `quaternions` [t 4] xyzw; `translations` [t 3] m."""

    times: Float[np.ndarray, "t"]
    weights: Float[np.ndarray, "t k"]
    quaternions: Float[np.ndarray, "t 4"]
    translations: Float[np.ndarray, "t 3"]


@dataclasses.dataclass(frozen=True)
class Morph:
    """A named displacement [v 3] in meters at weight 1."""

    name: str
    displacement: Float[np.ndarray, "v 3"]


@dataclasses.dataclass(frozen=True)
class ViewedFrom:
    """A camera on the z axis that looks along -z: distance in m, vertical field of view in radians."""

    distance: float
    yfov: float
    aspect: float


class _Buffer:
    """The binary chunk as it grows, with its views and accessors."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, target: int | None = None) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        self.data += content
        return len(self.views) - 1

    def floats(self, values: np.ndarray, *, target: int | None = None, bounds: bool = False) -> int:
        """Accessor of [n] or [n c] numbers."""
        array = np.ascontiguousarray(values, "<f4")
        rows = array.reshape(len(array), -1)
        if not np.isfinite(rows).all():
            raise ValueError("a mesh for glTF must be finite")
        accessor: dict[str, Any] = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": _FLOAT,
            "count": len(rows),
            "type": _SHAPES[rows.shape[1]],
        }
        if bounds:
            accessor |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def indices(self, values: np.ndarray, count: int) -> int:
        """Accessor of vertex numbers below `count`."""
        small = count <= 65535  # 65535 itself would restart a primitive
        array = np.ascontiguousarray(values, "<u2" if small else "<u4").reshape(-1)
        self.accessors.append(
            {
                "bufferView": self.view(array.tobytes(), _INDICES),
                "componentType": _UINT16 if small else _UINT32,
                "count": len(array),
                "type": "SCALAR",
            }
        )
        return len(self.accessors) - 1


def glb_bytes(
    verts: Float[np.ndarray, "v 3"],
    normals: Float[np.ndarray, "v 3"],
    uvs: Float[np.ndarray, "v 2"],
    faces: Int[np.ndarray, "f 3"],
    *,
    morphs: Sequence[Morph] = (),
    animated: Animated | None = None,
    texture_png: bytes | None = None,
    camera: ViewedFrom | None = None,
    name: str = "face",
    generator: str = "talkjax",
    extras: dict[str, Any] | None = None,
) -> bytes:
    """The file.

    Args:
      verts: m. normals: unit. uvs: [0, 1], v down, as in glTF. faces: counter-clockwise from outside.
      morphs: their weights are 0 at rest; `animated.weights` has one column each.
      extras: free facts, kept in `asset.extras`.
    """
    buffer = _Buffer()
    primitive: dict[str, Any] = {
        "attributes": {
            "POSITION": buffer.floats(verts, target=_VERTICES, bounds=True),
            "NORMAL": buffer.floats(_unit(normals), target=_VERTICES),
            "TEXCOORD_0": buffer.floats(uvs, target=_VERTICES),
        },
        "indices": buffer.indices(faces, len(verts)),
        "material": 0,
        "mode": 4,
    }
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if morphs:
        primitive["targets"] = [
            {"POSITION": buffer.floats(m.displacement, target=_VERTICES, bounds=True)} for m in morphs
        ]
        mesh["weights"] = [0.0] * len(morphs)
        mesh["extras"] = {"targetNames": [m.name for m in morphs]}
    color: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.85}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator, **({"extras": extras} if extras else {})},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [mesh],
        "materials": [{"name": "skin", "doubleSided": True, "pbrMetallicRoughness": color}],
    }
    if texture_png is not None:
        view = buffer.view(texture_png)
        document["images"] = [{"name": "texture", "mimeType": "image/png", "bufferView": view}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        document["textures"] = [{"sampler": 0, "source": 0}]
        color["baseColorTexture"] = {"index": 0}
    else:
        color["baseColorFactor"] = [0.8, 0.8, 0.8, 1.0]
    if camera is not None:
        lens = {"yfov": camera.yfov, "aspectRatio": camera.aspect, "znear": 0.01}
        document["cameras"] = [{"name": "clip camera", "type": "perspective", "perspective": lens}]
        document["nodes"].append({"name": "clip camera", "camera": 0, "translation": [0, 0, camera.distance]})
        document["scenes"][0]["nodes"].append(1)
    if animated is not None:
        document["animations"] = [_animation(buffer, animated, bool(morphs))]
    document["buffers"] = [{"byteLength": len(buffer.data)}]
    document["bufferViews"], document["accessors"] = buffer.views, buffer.accessors
    return _chunks(document, bytes(buffer.data))


def _animation(buffer: _Buffer, animated: Animated, has_morphs: bool) -> dict[str, Any]:
    times = buffer.floats(animated.times, bounds=True)
    tracks = {
        "rotation": _continuous(animated.quaternions),
        "translation": animated.translations,
        **({"weights": animated.weights.reshape(-1)} if has_morphs else {}),
    }
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    for path, values in tracks.items():
        channels.append({"sampler": len(samplers), "target": {"node": 0, "path": path}})
        samplers.append({"input": times, "output": buffer.floats(values), "interpolation": "LINEAR"})
    return {"name": "clip", "samplers": samplers, "channels": channels}


def _continuous(quaternions: np.ndarray) -> np.ndarray:
    """Unit quaternions with signs such that neighbors lie on one half of the sphere."""
    out = np.array(quaternions, np.float64)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    turns = np.sign((out[1:] * out[:-1]).sum(1))
    out[1:] *= np.cumprod(np.where(turns < 0, -1.0, 1.0))[:, None]
    return out


def _unit(normals: np.ndarray) -> np.ndarray:
    """Unit vectors; +z where there is no direction."""
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-6, normals / np.maximum(length, 1e-6), [0.0, 0.0, 1.0])


def _chunks(document: dict[str, Any], binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<III", _MAGIC, 2, total)
    return head + struct.pack("<II", len(text), _JSON) + text + struct.pack("<II", len(binary), _BIN) + binary
