"""The silhouette pulls as hard as it should, whatever the mesh density: against float64 differences."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import Topology, antialias
from tests.raster.meshes import HEADS, head_mesh, view
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
    padded_faces = np.pad(faces, ((0, most_faces - len(faces)), (0, 0)))
    topology = Topology.from_faces(padded_faces, most_verts)
    edges, missing = topology.edges, 3 * (most_faces - len(faces)) // 2
    topology = topology.replace(
        edges=edges.replace(
            verts=np.pad(edges.verts, ((0, missing), (0, 0))),
            faces=np.pad(edges.faces, ((0, 0), (0, missing)), constant_values=most_faces),
            same_way=np.pad(edges.same_way, (0, missing)),
        )
    )
    got = np.asarray(pull(jnp.asarray(np.pad(clip, ((0, most_verts - len(clip)), (0, 0)))), topology))
    assert np.abs(expected).min() > 1e4
    for name, a, b in zip(QUANTITIES, got, expected, strict=True):
        assert abs(a / b - 1) < 0.02, f"{name}: {a / b:.4f}"
