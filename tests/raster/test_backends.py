"""The forms for CPU, GPU and TPU give the same ids, eager, jitted, batched, mapped and sharded."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.raster import Topology, meshlets, rasterize
from tests.conftest import ROOT
from tests.raster.meshes import head, head_views, soup
from tests.raster.test_clip import BOX, BOX_FACES, camera_inside

HEIGHT, WIDTH = 75, 91
VERTS, FACES = head(10_000)


def ids_of(clips, faces, backend, cull=False):
    topology = Topology.from_faces(faces, clips.shape[-2])
    seen = rasterize(jnp.asarray(clips), topology, HEIGHT, WIDTH, cull=cull, backend=backend)
    return np.asarray(seen.face_id)


def padded_pair(first, second, faces):
    """Two frames and their faces, brought to the shapes of the head: one program serves all scenes."""
    clips = np.zeros((2, len(VERTS), 4), np.float32)
    clips[0, : len(first)], clips[1, : len(second)] = first, second
    return clips, np.concatenate([faces, np.zeros((len(FACES) - len(faces), 3), faces.dtype)])


def scenes():
    views = head_views(VERTS, 2)
    views[1, FACES[3000]] = np.nan
    yield "head", views, FACES
    # ten thousand triangles on a spot: all 79 meshlets touch the same tiles, more than a list holds
    clip, faces = soup(4, len(VERTS), len(FACES), 0.12)
    yield "crowd", *padded_pair(clip, clip[::-1], faces)
    clip, faces = soup(2, 120, 150, 1.5)
    yield "large triangles", *padded_pair(clip, clip[::-1], faces)
    yield "cut triangles", *padded_pair(camera_inside(BOX), camera_inside(BOX, 2.0), BOX_FACES)


@pytest.fixture(scope="module")
def expected_ids():
    return {name: ids_of(clips, faces, "loops") for name, clips, faces in scenes()}


@pytest.mark.parametrize("backend", ["static", "pallas"])
@pytest.mark.parametrize("scene", list(scenes()), ids=lambda scene: scene[0])
def test_same_ids(scene, backend, expected_ids):
    name, clips, faces = scene
    assert (expected_ids[name] >= 0).sum() > 20
    np.testing.assert_array_equal(ids_of(clips, faces, backend), expected_ids[name])


def test_the_tpu_kernel_lowers_for_tpu():
    # as far as a machine without a TPU can go: the kernel's own compiler is not run
    see = jax.jit(lambda clips, faces4: meshlets.face_ids(clips, faces4, 256, 256, False, interpret=False))
    clips, faces4 = jax.ShapeDtypeStruct((2, 500, 4), jnp.float32), jax.ShapeDtypeStruct((900, 4), jnp.int32)
    lowered = see.trace(clips, faces4).lower(lowering_platforms=("tpu",))
    assert lowered.as_text().count("tpu_custom_call") == 2


def test_unknown_backend():
    with pytest.raises(InputError, match="loops"):
        ids_of(np.zeros((1, 3, 4)), np.array([[0, 1, 2]]), "cuda")


SHARDED = """
import talkjax, jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from talkjax.raster import Topology, meshlets, rasterize
from tests.raster.meshes import head_mesh, head_views

verts, faces = head_mesh(12, 14)
clips, topology = jnp.asarray(head_views(verts, 4)), Topology.from_faces(faces, len(verts))
mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
expected = np.asarray(rasterize(clips, topology, 33, 48).face_id)
assert (expected >= 0).any()
for backend, check_vma in (("loops", False), ("loops", True), ("static", True)):
    see = lambda clips: rasterize(clips, topology, 33, 48, backend=backend).face_id
    sharded = jax.shard_map(see, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=check_vma)
    np.testing.assert_array_equal(jax.jit(sharded)(clips), expected)
print("same on", jax.device_count(), "devices")
"""


@pytest.mark.sharded
def test_same_ids_when_sharded():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "same on 2 devices", done.stderr[-2000:]
