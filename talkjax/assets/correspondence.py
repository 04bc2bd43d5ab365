"""Where the tracked landmarks lie on the mesh of any face model."""

from __future__ import annotations

import numpy as np

from talkjax.types import SurfacePoints


def dense_landmarks(verts: np.ndarray, faces: np.ndarray, anchors: dict[int, int]) -> SurfacePoints:
    """All 468 landmarks on a mesh, from a few known ones.

    Args:
      verts: [v 3] dm, the neutral face, lips closed. faces: [f 3], outward counter-clockwise.
      anchors: landmark number (0-467) -> vertex, about 50 of them.
    """
    raise NotImplementedError
