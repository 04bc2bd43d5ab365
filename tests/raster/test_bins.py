"""The two integer tools under the rasterizer: slots by class, and the packed depth key."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.raster import depth_key, size_classes


@pytest.mark.parametrize("n", [1, 17, 5000])
@pytest.mark.parametrize("kind", ["mixed", "one class", "none"])
def test_slots_are_a_stable_sort_by_class(n, kind):
    rng = np.random.default_rng(n)
    klass = {"mixed": rng.integers(0, 7, n), "one class": np.full(n, 6), "none": np.zeros(n, int)}[kind]
    slots = jax.jit(size_classes.slots, static_argnums=1)
    slot, start, count = slots(jnp.asarray(klass, jnp.int32), size_classes.MAX_CLASSES)
    order = np.argsort(klass, kind="stable")
    order = order[klass[order] > 0]
    expected = np.full(n, size_classes.NOWHERE)
    expected[order] = np.arange(len(order))
    np.testing.assert_array_equal(slot, expected)
    counts = np.bincount(klass, minlength=7)[1:]
    np.testing.assert_array_equal(count, counts)
    np.testing.assert_array_equal(start, np.cumsum(counts) - counts)


def test_classes_by_extent():
    extent = jnp.asarray([-3, 0, 1, 4, 5, 8, 9, 100, 101])
    np.testing.assert_array_equal(size_classes.classify(extent, (4, 8, 100)), [0, 0, 1, 1, 2, 2, 3, 3, 0])


def test_key_keeps_the_nearest_then_the_lowest_id():
    rng = np.random.default_rng(0)
    n, k, n_pixels = 200, 4, 40
    # few distinct depths of both signs: many ties
    depth = rng.choice(np.array([-0.75, -0.5, -1e-30, 1e-30, 0.25, 0.9], np.float32), (n, k, k))
    first = rng.integers(0, n_pixels - k + 1, (n, k)).astype(np.int32)
    inside = rng.uniform(size=(n, k, k)) < 0.4
    ids = rng.permutation(n).astype(np.int32)
    buffer = depth_key.draw_rows(
        depth_key.empty(n_pixels, jnp.int32(0)), *map(jnp.asarray, (first, depth, ids[:, None, None], inside))
    )
    best = [(np.inf, -1)] * n_pixels
    for t, r, c in np.argwhere(inside):
        pixel = first[t, r] + c
        best[pixel] = (
            min(best[pixel], (depth[t, r, c], ids[t])) if best[pixel][1] >= 0 else (depth[t, r, c], ids[t])
        )
    np.testing.assert_array_equal(depth_key.winner(buffer), [b[1] for b in best])
