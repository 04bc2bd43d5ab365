"""The forms for CPU, GPU and TPU give the same ids, eager, jitted, batched, mapped and sharded."""

from __future__ import annotations

import os
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.raster import Topology, rasterize
from tests.conftest import ROOT
from tests.raster.meshes import head, head_views, soup
from tests.raster.test_clip import BOX, BOX_FACES, camera_inside


def ids_of(clips, faces, height, width, backend, cull=False):
    topology = Topology.from_faces(faces, clips.shape[-2])
    seen = rasterize(jnp.asarray(clips), topology, height, width, cull=cull, backend=backend)
    return np.asarray(seen.face_id)


def scenes():
    verts, faces = head(10_000)
    views = head_views(verts, 2)
    views[1, faces[3000]] = np.nan
    yield "head", views, faces, (120, 131)
    clip, faces = soup(2, 120, 150, 1.5)
    yield "large triangles", np.stack([clip, clip[::-1]]), faces, (75, 96)
    yield "cut triangles", np.stack([camera_inside(BOX), camera_inside(BOX, 2.0)]), BOX_FACES, (40, 56)


@pytest.mark.parametrize("backend", ["static"])
@pytest.mark.parametrize("scene", list(scenes()), ids=lambda scene: scene[0])
def test_same_ids(scene, backend):
    _, clips, faces, size = scene
    expected = ids_of(clips, faces, *size, "loops")
    assert (expected >= 0).mean() > 0.3
    np.testing.assert_array_equal(ids_of(clips, faces, *size, backend), expected)


def test_unknown_backend():
    with pytest.raises(InputError, match="loops"):
        ids_of(np.zeros((1, 3, 4)), np.array([[0, 1, 2]]), 4, 4, "cuda")


SHARDED = """
import talkjax, jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from talkjax.raster import Topology, rasterize
from tests.raster.meshes import head_mesh, head_views

verts, faces = head_mesh(12, 14)
clips, topology = jnp.asarray(head_views(verts, 4)), Topology.from_faces(faces, len(verts))
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
for backend in ("loops", "static"):
    see = lambda clips: rasterize(clips, topology, 33, 48, backend=backend).face_id
    expected = np.asarray(see(clips))
    assert (expected >= 0).any()
    for check_vma in (False, True):
        sharded = jax.shard_map(see, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=check_vma)
        np.testing.assert_array_equal(jax.jit(sharded)(clips), expected)
print("same on", jax.device_count(), "devices")
"""


def test_same_ids_when_sharded():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "same on 2 devices", done.stderr[-2000:]
