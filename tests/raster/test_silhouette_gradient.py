"""The silhouette pulls as hard as it should, whatever the mesh density: against float64 differences."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import antialias
from tests.raster.meshes import HEADS, head_mesh, padded_topology, view
from tests.raster.outline import QUANTITIES, gradient_of, true_changes

SIZE = 256
pull = gradient_of(antialias, SIZE)


@pytest.mark.parametrize("shape", [(9, 7), (17, 16), (32, 32), *HEADS.values()], ids=str)
def test_outline_gradients_within_two_percent(shape):
    # all padded to the largest: one compiled program
    rows, columns = HEADS[70_000]
    most_verts, most_faces = columns * (rows - 1) + 2, 2 * columns * (rows - 1)
    verts, faces = head_mesh(*shape)
    clip = view(verts)
    expected = true_changes(clip, faces, SIZE)
    topology = padded_topology(faces, most_verts, most_faces, 3 * most_faces // 2)
    got = np.asarray(pull(jnp.asarray(np.pad(clip, ((0, most_verts - len(clip)), (0, 0)))), topology))
    assert np.abs(expected).min() > 1e4
    for name, a, b in zip(QUANTITIES, got, expected, strict=True):
        assert abs(a / b - 1) < 0.02, f"{name}: {a / b:.4f}"
