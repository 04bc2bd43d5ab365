"""The fitted mesh drawn over the frames it explains: lines, observed landmarks, the head's axes."""

from __future__ import annotations

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from talkjax.face import mesh468
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.types import SKIN, Camera, FaceModel, Pose

MESH_COLOR, MARK_COLOR = (120, 220, 255), (255, 210, 60)
AXIS_COLORS = ((235, 80, 80), (90, 210, 110), (80, 140, 255))  # x, y, z
_AXIS_DM, _AXES_AT = 0.45, np.array([0.0, 0.0, 0.1])
_STRENGTH = 0.45
_DENSE = 3000  # triangles: meshes with more are drawn fainter
_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel

MARKS = np.unique(
    np.concatenate(
        [
            *(mesh468.OUTER_LIPS, mesh468.INNER_LIPS, mesh468.RIGHT_EYE, mesh468.LEFT_EYE),
            *(mesh468.RIGHT_BROW, mesh468.LEFT_BROW, mesh468.NOSE_RIDGE, mesh468.FACE_OVAL),
            *(mesh468.RIGHT_IRIS[:1], mesh468.LEFT_IRIS[:1]),
        ]
    )
)
"""Landmarks that are drawn as dots."""


def mesh_edges(faces: Int[np.ndarray, "f 3"]) -> tuple[Int[np.ndarray, "e 2"], Int[np.ndarray, "e 2"]]:
    """Every edge once, and the two triangles at it (the same one twice on a border)."""
    corners = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    owner = np.tile(np.arange(len(faces)), 3)
    edges, first, inverse = np.unique(corners, axis=0, return_index=True, return_inverse=True)
    beside = np.repeat(owner[first][:, None], 2, axis=1)
    beside[inverse.reshape(-1), 1] = owner
    return edges, beside


class Overlay:
    """Draws one model; colors and line widths follow the size of the picture."""

    def __init__(self, model: FaceModel, camera: Camera):
        faces = np.asarray(model.faces)
        self.faces = faces[np.asarray(model.face_region) == SKIN]
        self.edges, self.beside = mesh_edges(self.faces)
        self.camera = camera
        self.strength = _STRENGTH * (0.6 if len(self.faces) > _DENSE else 1.0)
        self._axes = jnp.asarray(_AXIS_DM * np.eye(4, 3, -1) + _AXES_AT, jnp.float32)

    def axes_px(self, pose: Pose) -> Float[np.ndarray, "*b 4 2"]:
        """Origin and tips of the model's axes."""
        return np.asarray(project(apply_pose(self._axes, pose), self.camera))

    def draw(
        self,
        frame: UInt8[np.ndarray, "h w 3"],
        verts_px: Float[np.ndarray, "v 2"],
        axes_px: Float[np.ndarray, "4 2"],
        marks: Float[np.ndarray, "478 2"] | None,
    ) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of the frame with the mesh's front side, the observed landmarks and the axes."""
        layer = frame.copy()
        a, b, c = (verts_px[self.faces[:, k]] for k in range(3))
        # y points down in the picture, so that front faces turn clockwise
        front = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]) < 0
        shown = self.edges[front[self.beside].any(axis=1)]
        lines = np.round((verts_px[shown] - 0.5) * 2**_SHIFT).astype(np.int32)
        cv2.polylines(layer, list(lines), False, MESH_COLOR, 1, cv2.LINE_AA, _SHIFT)
        out = cv2.addWeighted(layer, self.strength, frame, 1 - self.strength, 0)
        size = max(1, round(min(frame.shape[:2]) / 400))
        if marks is not None:
            for x, y in np.round((marks[MARKS] - 0.5) * 2**_SHIFT).astype(int).tolist():
                cv2.circle(out, (x, y), size * 2**_SHIFT, MARK_COLOR, -1, cv2.LINE_AA, _SHIFT)
        ends = np.round((axes_px - 0.5) * 2**_SHIFT).astype(int).tolist()
        for end, color in zip(ends[1:], AXIS_COLORS, strict=True):
            cv2.line(out, ends[0], end, color, 2 * size, cv2.LINE_AA, _SHIFT)
        return out
