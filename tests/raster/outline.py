"""How the area and the place of a silhouette change with the view: float64 truth, and what gradients say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.raster import Topology, rasterize
from tests.oracles.area_oracle import union_area

NEAR, FAR = 0.1, 10.0
QUANTITIES = ("d(area)/d(scale)", "d(area)/d(distance)", "d(x)/d(x)", "d(y)/d(y)")
"""Scale about the image center, distance of the camera, first moments (per image side) under shifts."""


def moved(clip: Any, change: Any, xp: Any) -> Any:
    """Clip vertices [v 4] after `change` = (scale, distance, shift x, shift y), zero for none."""
    scale, distance, x, y = change[0], change[1], change[2], change[3]
    w = clip[:, 3] + distance
    z = clip[:, 2] + distance * (FAR + NEAR) / (FAR - NEAR)
    columns = [clip[:, 0] * (1 + scale) + 2 * x * w, clip[:, 1] * (1 + scale) - 2 * y * w, z, w]
    return xp.stack(columns, -1)


def true_changes(clip: np.ndarray, faces: np.ndarray, size: int) -> np.ndarray:
    """The four QUANTITIES by central differences of the exact outline, float64; areas in px^2."""

    def integrals(change: np.ndarray) -> np.ndarray:
        c = moved(np.asarray(clip, np.float64), change, np)
        points = (np.stack([c[:, 0], -c[:, 1]], -1) / c[:, 3:] + 1) * size / 2
        return union_area(points, faces, (np.arange(8 * size) + 0.5) / 8)

    step = np.array([1e-3, 1e-3, 3e-3, 3e-3])
    rows = [(integrals(d) - integrals(-d)) / (2 * d.sum()) for d in np.diag(step)]
    return np.array([rows[0][0], rows[1][0], rows[2][1] / size, rows[3][2] / size])


def gradient_of(smooth: Callable[..., Any], size: int) -> Callable[..., Any]:
    """The function (clip, topology) -> the four QUANTITIES as the gradient of an antialiased mask has them.

    `smooth(mask, clip, fragments, topology)` antialiases.
    """

    @jax.jit
    def pull(clip: Any, topology: Topology) -> Any:
        def sums(change: Any) -> Any:
            c = moved(clip, change, jnp)
            seen = rasterize(c, topology, size, size)
            mask = (seen.face_id >= 0).astype(jnp.float32)[..., None]
            image = smooth(mask, c, seen, topology)[..., 0]
            place = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
            return jnp.stack([image.sum(), (image * place).sum(), (image * place[:, None]).sum()])

        rows = jax.jacrev(sums)(jnp.zeros(4))
        return jnp.stack([rows[0, 0], rows[0, 1], rows[1, 2], rows[2, 3]])

    return pull
