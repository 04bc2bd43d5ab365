"""Reads a GLB as glTF 2.0's specification tells, strictly, sharing nothing with the writer.

Sections named in the messages are the specification's.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

_TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COUNTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True)
class Glb:
    """The JSON document and the binary chunk of a file that passed the container's rules."""

    document: dict[str, Any]
    binary: bytes

    def accessor(self, number: int) -> np.ndarray:
        """The accessor's values [count] or [count c], its bounds checked where it has some."""
        accessor = self.document["accessors"][number]
        view = self.document["bufferViews"][accessor["bufferView"]]
        kind, columns = np.dtype(_TYPES[accessor["componentType"]]), _COUNTS[accessor["type"]]
        assert "byteStride" not in view and "sparse" not in accessor
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        assert start % kind.itemsize == 0, "3.6.2.4: alignment"
        assert view.get("byteOffset", 0) % 4 == 0
        size = accessor["count"] * columns * kind.itemsize
        assert accessor.get("byteOffset", 0) + size <= view["byteLength"], "3.6.2.4: fits the view"
        assert start + size <= self.document["buffers"][0]["byteLength"] <= len(self.binary)
        values = np.frombuffer(self.binary[start : start + size], kind).reshape(-1, columns)
        if kind.kind == "f":
            assert np.isfinite(values).all()
        for bound, of in (("min", values.min(0)), ("max", values.max(0))):
            if bound in accessor:
                np.testing.assert_array_equal(np.array(accessor[bound], kind), of, "3.6.2.5: bounds")
        return values[:, 0] if columns == 1 else values

    def image(self, number: int) -> bytes:
        view = self.document["bufferViews"][self.document["images"][number]["bufferView"]]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]


def read_glb(data: bytes) -> Glb:
    """Parses the container (section 4.4): header, JSON chunk, binary chunk, nothing else."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data)) and length % 4 == 0
    chunks, at = {}, 12
    while at < len(data):
        size, kind = struct.unpack_from("<I4s", data, at)
        assert size % 4 == 0 and kind not in chunks
        chunks[kind] = data[at + 8 : at + 8 + size]
        at += 8 + size
    assert at == len(data) and list(chunks) == [b"JSON", b"BIN\0"]
    document = json.loads(chunks[b"JSON"])
    spare = len(chunks[b"BIN\0"]) - document["buffers"][0]["byteLength"]
    assert 0 <= spare <= 3 and "uri" not in document["buffers"][0]
    assert document["asset"]["version"] == "2.0"
    return Glb(document, chunks[b"BIN\0"])


@dataclass(frozen=True)
class Scene:
    """The one animated mesh of a file, decoded."""

    positions: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    faces: np.ndarray
    targets: dict[str, np.ndarray]
    times: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    weights: np.ndarray
    png: bytes | None

    def at(self, k: int) -> np.ndarray:
        """Vertices [v 3] in the scene at keyframe k, by the formulas of sections 3.7.2.2 and 3.5.3."""
        local = self.positions.astype(np.float64)
        for weight, moved in zip(self.weights[k], self.targets.values(), strict=True):
            local = local + float(weight) * moved
        x, y, z, w = self.rotation[k].astype(np.float64)
        vector = np.array([x, y, z])
        turned = local + 2 * np.cross(vector, np.cross(vector, local) + w * local)
        return turned + self.translation[k]


def read_scene(data: bytes) -> Scene:
    """The mesh of the default scene with its clip."""
    glb = read_glb(data)
    doc = glb.document
    node_number = doc["scenes"][doc["scene"]]["nodes"][0]
    mesh = doc["meshes"][doc["nodes"][node_number]["mesh"]]
    (primitive,) = mesh["primitives"]
    assert primitive.get("mode", 4) == 4
    parts = {name: glb.accessor(k) for name, k in primitive["attributes"].items()}
    for name in ("POSITION",):
        assert {"min", "max"} <= set(doc["accessors"][primitive["attributes"][name]]), "3.7.2.1"
    targets = {}
    for name, target in zip(
        mesh.get("extras", {}).get("targetNames", []), primitive.get("targets", []), strict=True
    ):
        assert {"min", "max"} <= set(doc["accessors"][target["POSITION"]]), "3.7.2.2"
        targets[name] = glb.accessor(target["POSITION"])
    assert len(mesh.get("weights", [])) == len(targets)
    tracks, times = {}, np.zeros(0)
    for animation in doc.get("animations", []):
        for channel in animation["channels"]:
            assert channel["target"]["node"] == node_number
            sampler = animation["samplers"][channel["sampler"]]
            assert {"min", "max"} <= set(doc["accessors"][sampler["input"]]), "3.11"
            times = glb.accessor(sampler["input"])
            tracks[channel["target"]["path"]] = glb.accessor(sampler["output"])
    assert (np.diff(times) > 0).all() and (not len(times) or times[0] >= 0)
    has_picture = "images" in doc
    shape = (len(times), len(targets))
    return Scene(
        positions=parts["POSITION"],
        normals=parts["NORMAL"],
        uvs=parts["TEXCOORD_0"],
        faces=glb.accessor(primitive["indices"]).reshape(-1, 3).astype(int),
        targets=targets,
        times=times,
        rotation=tracks["rotation"],
        translation=tracks["translation"],
        weights=tracks["weights"].reshape(shape) if "weights" in tracks else np.zeros(shape),
        png=glb.image(0) if has_picture else None,
    )
