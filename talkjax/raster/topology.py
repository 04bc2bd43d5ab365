"""Which vertices make which triangle: checked once in numpy, then static."""

from __future__ import annotations

import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from talkjax.errors import InputError
from talkjax.raster.edges import Edges, find_edges


@struct.dataclass
class Topology:
    """Triangles of a mesh, ready for the rasterizer.

    Build it with `Topology.from_faces` outside of jit; it may then be closed over or passed as an argument.
    `faces4` holds the three vertex indices and one padding zero: rows of four are what gathers like best.
    `edges` is who borders on whom, for `antialias`.
    """

    faces4: Int[Array | np.ndarray, "f 4"]
    edges: Edges
    n_verts: int = struct.field(pytree_node=False)

    @property
    def n_faces(self) -> int:
        """Number of triangles."""
        return int(self.faces4.shape[0])

    @classmethod
    def from_faces(
        cls, faces: Int[np.ndarray, "f 3"], n_verts: int, weld: Float[np.ndarray, "v 3"] | None = None
    ) -> Topology:
        """Checks `faces` (concrete integers, 0-based, below `n_verts`) and freezes them.

        Args:
          weld: vertex positions of some pose, for meshes that repeat vertices (at texture seams, or for hard
            corners): vertices at exactly the same place count as one when neighbors are looked for. Without
            it `antialias` takes every seam for an outline. The triangles themselves are not changed.

        Raises:
          InputError: wrong shape, not integers, or an index outside [0, n_verts).
        """
        array = np.asarray(faces)
        if array.ndim != 2 or array.shape[1] != 3 or not np.issubdtype(array.dtype, np.integer):
            raise InputError(
                f"faces have shape {array.shape} and type {array.dtype}",
                expected="integers of shape [f, 3]",
                code="bad_faces",
            )
        if array.size and (array.min() < 0 or array.max() >= n_verts):
            raise InputError(
                f"faces name vertices {array.min()}..{array.max()}",
                expected=f"indices in 0..{n_verts - 1}",
                fix="use 0-based indices and pass the mesh's own vertex count",
                code="bad_faces",
            )
        if weld is not None:
            weld = np.asarray(weld)
            if weld.shape != (n_verts, 3):
                raise InputError(
                    f"weld has shape {weld.shape}", expected=f"positions [{n_verts}, 3]", code="bad_faces"
                )
        faces4 = np.zeros((array.shape[0], 4), np.int32)
        faces4[:, :3] = array
        return cls(faces4=faces4, edges=find_edges(array, int(n_verts), weld), n_verts=int(n_verts))
