"""Requirement on exactness: heads of every size, soup and huge triangles against 64-bit integer numpy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import Topology, rasterize
from tests.oracles import raster_oracle
from tests.raster.meshes import head, soup, view


def wrong_ids(clip, faces, height, width):
    """How many ids differ from the oracle's; coverage must not, and ids only where depths nearly tie."""
    topology = Topology.from_faces(faces, len(clip))
    ids = np.asarray(rasterize(jnp.asarray(clip), topology, height, width).face_id)
    expected, nearest, second = raster_oracle.face_ids(clip, faces, height, width)
    np.testing.assert_array_equal(ids >= 0, expected >= 0)
    wrong = ids != expected
    assert (second[wrong] - nearest[wrong] < 1e-5).all()
    assert (expected >= 0).mean() > 0.3
    return wrong.sum()


@pytest.mark.parametrize(
    ("n_faces", "size"),
    [(10_000, (256, 256)), (10_000, (131, 257)), (20_000, (224, 224)), (70_000, (512, 512))],
)
def test_head(n_faces, size):
    verts, faces = head(n_faces)
    allowed = 10 * max(size[0] * size[1] / 65_536, 1)
    assert wrong_ids(view(verts), faces, *size) <= allowed


@pytest.mark.long
def test_soup_of_triangles_up_to_three_times_the_screen():
    clip, faces = soup(7, 300, 400, 3.0)
    # most triangles hide each other, many pairs are nearly equally deep somewhere
    assert wrong_ids(clip, faces, 256, 256) <= 10
