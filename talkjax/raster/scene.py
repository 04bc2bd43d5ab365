"""What is drawn: snapped vertices of one or more frames, the triangles they share, the image.

Triangles of all frames are numbered through: number = frame * n_faces + face. So are vertices and pixels.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from talkjax.materialize import stored
from talkjax.raster.snap import snap_verts


@dataclasses.dataclass(frozen=True)
class Scene:
    """A value of traced arrays and static sizes; make it with `Scene.of`."""

    verts_clip: Float[Array, "m 4"]
    snapped: Int[Array, "m 4"]
    faces4: Int[Array, "f 4"]
    n_frames: int
    height: int
    width: int
    cull: bool

    @classmethod
    def of(
        cls, verts_clip: Float[Array, "b v 4"], faces4: Int[Array, "f 4"], height: int, width: int, cull: bool
    ) -> Scene:
        n_frames = verts_clip.shape[0]
        flat = verts_clip.reshape(-1, 4)
        snapped = snap_verts(flat, height, width)
        snapped = stored(snapped, snapped[0, 3])  # flags are not negative
        return cls(flat, snapped, faces4, n_frames, height, width, cull)

    @property
    def n_faces(self) -> int:
        """Triangles per frame."""
        return int(self.faces4.shape[0])

    @property
    def n_triangles(self) -> int:
        """Triangles of all frames."""
        return self.n_frames * self.n_faces

    @property
    def n_pixels(self) -> int:
        """Pixels of all frames."""
        return self.n_frames * self.height * self.width

    @property
    def zero(self) -> Int[Array, ""]:
        """int32 0 that varies over devices as the vertices do: loops that start from it pass `shard_map`'s
        check of what differs between devices."""
        return self.snapped[0, 0] & 0

    def all_verts(self) -> Int[Array, "3 t"]:
        """Vertex numbers of every triangle."""
        verts = self.faces4[:, :3].T
        if self.n_frames == 1:
            return verts
        offsets = (self.snapped.shape[0] // self.n_frames) * jnp.arange(self.n_frames, dtype=jnp.int32)
        return (verts[:, None, :] + offsets[:, None]).reshape(3, -1)

    def verts_of(self, triangles: Int[Array, "n"]) -> Int[Array, "3 n"]:
        """Vertex numbers of the given triangles."""
        verts = self.faces4.at[self.face_of(triangles)].get(mode="promise_in_bounds")[:, :3].T
        return verts + (self.snapped.shape[0] // self.n_frames) * self.frame_of(triangles)

    def frame_of(self, triangles: Int[Array, "n"]) -> Int[Array, "n"]:
        """Frame of each triangle."""
        return triangles * 0 if self.n_frames == 1 else triangles // jnp.int32(self.n_faces)

    def face_of(self, triangles: Int[Array, "n"]) -> Int[Array, "n"]:
        """Index into the faces: what a pixel of that triangle shows."""
        return triangles - self.n_faces * self.frame_of(triangles)

    def first_pixel_of(self, triangles: Int[Array, "n"]) -> Int[Array, "n"]:
        """Number of the first pixel of the triangle's frame."""
        return (self.height * self.width) * self.frame_of(triangles)
