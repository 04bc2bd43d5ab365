"""Faces drawn into pools: every batch follows from seed and step, whoever makes it; JPEG as by OpenCV."""

from __future__ import annotations

import itertools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.data.drawn_pool import PooledInput
from talkjax.data.face_shards import FaceRows
from talkjax.data.picture_spoil import jpeg
from talkjax.errors import InputError
from talkjax.train import sharding

GROUP, SLOTS, REUSE, N_LANDMARKS = 4, 3, 2, 5


def draw(key: jax.Array) -> FaceRows:
    """Stands for the drawing: random numbers of the right shapes; `focal` tells a face from all others."""
    focal = jax.random.uniform(key, (GROUP,))
    zeros = [jnp.zeros((GROUP, n)) for n in (2, 3, 1)]
    images = jnp.broadcast_to((255 * focal).astype(jnp.uint8)[:, None, None, None], (GROUP, 6, 6, 3))
    pose, center = jnp.zeros((GROUP, 3)), jnp.zeros((GROUP, 2))
    return FaceRows(images, *zeros, jnp.zeros((GROUP, 3, 9)), pose, pose, focal, center)


def source(process: int = 0, count: int = 1) -> PooledInput:
    return PooledInput(jax.jit(draw), N_LANDMARKS, 2 * GROUP, 7, SLOTS * GROUP, REUSE, GROUP, process, count)


def taken(first: int, n: int, **options) -> list:
    return jax.device_get(list(itertools.islice(source(**options).batches(first), n)))


def test_a_batch_follows_from_the_step_alone_for_any_number_of_processes() -> None:
    whole = taken(0, 12)
    for step in (1, 9):  # before and after the first group was replaced
        resumed = taken(step, 2)
        jax.tree.map(np.testing.assert_array_equal, resumed, whole[step : step + 2])
    parts = [taken(5, 3, process=p, count=2) for p in (0, 1)]
    for k in range(3):
        joined = jax.tree.map(lambda *x: np.concatenate(x), parts[0][k], parts[1][k])
        jax.tree.map(np.testing.assert_array_equal, joined, whole[5 + k])
    spec = source().spec
    jax.tree.map(lambda s, x: (s.shape, s.dtype) == (x.shape, x.dtype) or pytest.fail(str(s)), spec, whole[0])


def test_faces_are_renewed_and_used_as_often_as_said() -> None:
    n = 400
    seen = np.concatenate([batch.focal[:GROUP] for batch in taken(0, n)])
    _, first, uses = np.unique(seen, return_index=True, return_counts=True)
    last = len(seen) - 1 - np.unique(seen[::-1], return_index=True)[1]
    stay = (last - first) // GROUP
    assert stay.max() < SLOTS * REUSE, "a face outlived its place"
    assert 0.8 * n * GROUP / REUSE < len(uses) < n * GROUP / REUSE + SLOTS * GROUP
    assert REUSE < uses.mean() < 1.3 * REUSE  # faces that were never taken do not count


def test_rows_on_a_device_stay_there() -> None:
    mesh = sharding.make_mesh(sharding.MeshShape(1), jax.devices()[:1])
    batch = next(source().batches(0))
    places = sharding.batch_shardings(mesh, source().spec)
    moved = sharding.to_global(batch, places, sharding.Rows(0, 1))
    assert moved.images.unsafe_buffer_pointer() == batch.images.unsafe_buffer_pointer()


def test_a_batch_that_does_not_divide_into_groups_is_refused() -> None:
    with pytest.raises(InputError, match=r"batch 8 over 3 processes; expected a multiple of 12"):
        source(0, 3)


def test_jpeg_spoils_as_much_as_opencv_does() -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.resize(
        rng.uniform(size=(7, 7, 3)).astype(np.float32), (40, 40), interpolation=cv2.INTER_CUBIC
    )
    picture = np.clip(smooth + 0.03 * rng.normal(size=smooth.shape), 0, 1).astype(np.float32)

    def by_opencv(quality: int) -> np.ndarray:
        coded = cv2.imencode(
            ".jpg", np.round(picture * 255).astype(np.uint8)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality]
        )[1]
        return cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1] / 255

    ours = np.asarray(jax.jit(jpeg)(jax.random.key(1), jnp.broadcast_to(picture, (8, 40, 40, 3))))
    off = np.sqrt(np.mean((ours - picture) ** 2, axis=(1, 2, 3)))
    worst, best = (np.sqrt(np.mean((by_opencv(q) - picture) ** 2)) for q in (60, 95))
    assert 0.8 * best < off.min() < off.max() < 1.2 * worst and off.max() > 1.15 * off.min()
    for one in ours:  # each is nearer to the true coder's result at some quality than that is to the picture
        nearest = min(np.sqrt(np.mean((by_opencv(q) - one) ** 2)) for q in range(60, 96, 2))
        assert nearest < 0.7 * worst
