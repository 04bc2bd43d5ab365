"""Coverage and ids against the numpy oracle; the cases where rasterizers go wrong."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.raster import Topology, rasterize
from talkjax.raster.visibility import visibility
from tests.oracles import raster_oracle
from tests.raster.meshes import MAX_VERTS, head_mesh, on_grid, padded, soup, view

HEIGHT, WIDTH = 97, 150


def ids_of(clip, faces, height=HEIGHT, width=WIDTH, cull=False):
    clip, faces = padded(clip, faces)
    topology = Topology.from_faces(faces, clip.shape[-2])
    return np.asarray(rasterize(jnp.asarray(clip), topology, height, width, cull=cull).face_id)


def assert_matches_oracle(clip, faces, height=HEIGHT, width=WIDTH, cull=False, near_ties=0):
    """Same covered pixels; same ids but for `near_ties` pixels, where the two depths must nearly agree."""
    ids = ids_of(clip, faces, height, width, cull)
    expected, nearest, second = raster_oracle.face_ids(clip, faces, height, width, cull)
    np.testing.assert_array_equal(ids >= 0, expected >= 0)
    wrong = ids != expected
    assert wrong.sum() <= near_ties, f"{wrong.sum()} wrong ids"
    assert (second[wrong] - nearest[wrong] < 1e-4).all()
    return ids


@pytest.mark.parametrize("cull", [False, True])
def test_head_has_the_oracles_ids(cull):
    verts, faces = head_mesh(20, 24)
    ids = assert_matches_oracle(view(verts), faces, cull=cull, near_ties=2)
    assert 200 < len(np.unique(ids)) < len(faces)


@pytest.mark.parametrize("size", [(131, 77), (1, 3)])
def test_any_image_size(size):
    verts, faces = head_mesh(20, 24)
    ids = assert_matches_oracle(view(verts), faces, *size, near_ties=2)
    assert (ids >= 0).any()


def test_fine_head_uses_the_smallest_windows():
    verts, faces = head_mesh(34, 35)
    assert len(faces) > 2300
    assert_matches_oracle(view(verts), faces, near_ties=4)


@pytest.mark.parametrize("spread", [0.7, 2.5, 30.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_random_triangles_of_all_sizes(seed, spread):
    clip, faces = soup(seed, 60, 60, spread)
    assert_matches_oracle(clip, faces, near_ties=8)


def test_every_size_class_in_one_mesh():
    rng = np.random.default_rng(3)
    side = np.exp(rng.uniform(np.log(0.2), np.log(300), (700, 1, 1)))
    points = rng.uniform(0, [WIDTH, HEIGHT], (700, 1, 2)) + side * rng.uniform(-1, 1, (700, 3, 2))
    clip = on_grid(points.reshape(-1, 2), HEIGHT, WIDTH)
    clip[:, 2] = np.repeat(rng.permutation(700) / 700, 3)
    clip *= np.repeat(rng.uniform(0.5, 3, (700, 1)), 3, axis=0).astype(np.float32)
    assert_matches_oracle(clip, np.arange(2100).reshape(-1, 3))


def test_huge_triangle_that_shows_only_a_corner():
    # its box on the image is tiny, its edges are far too long for 32-bit products
    for tip in (3.25, 10.0):
        clip = on_grid([[tip, 20.5], [-30000.0, 15000.5], [-29000.0, -12000.25]], HEIGHT, WIDTH)
        ids = assert_matches_oracle(clip, np.array([[0, 1, 2]]))
        assert (ids >= 0).any()


def test_full_screen_quad_leaves_no_gap():
    for reach in (1.0, 3.0, 100.0):
        clip = np.array([[-1, -1, 0, 1], [1, -1, 0, 1], [1, 1, 0, 1], [-1, 1, 0, 1]], np.float32)
        clip[:, :2] *= reach
        faces = np.array([[0, 1, 2], [0, 2, 3]])
        ids = assert_matches_oracle(clip, faces)
        assert (ids >= 0).all()


def test_shared_edges_and_vertices_are_drawn_once():
    # a fan whose hub and rays pass exactly through pixel centers: each pixel belongs to exactly one triangle
    hub = [[24.5, 24.5]]
    rim = [
        [44.5, 24.5],
        [44.5, 44.5],
        [24.5, 44.5],
        [4.5, 44.5],
        [4.5, 24.5],
        [4.5, 4.5],
        [24.5, 4.5],
        [44.5, 4.5],
    ]
    faces = np.array([[0, 1 + k, 1 + (k + 1) % 8] for k in range(8)])
    covered = np.zeros((HEIGHT, WIDTH), int)
    for face in faces:
        covered += ids_of(on_grid(hub + rim, HEIGHT, WIDTH), face[None]) >= 0
    assert covered.max() == 1
    # closed on the left and top side, open on the right and bottom
    expected = np.zeros((HEIGHT, WIDTH), int)
    expected[4:44, 4:44] = 1
    np.testing.assert_array_equal(covered, expected)


def test_half_pixel_edges_follow_the_top_left_rule():
    # a 2 x 2 px square with corners on pixel centers owns its top-left 2 x 2 centers only
    clip = on_grid([[1.5, 1.5], [3.5, 1.5], [3.5, 3.5], [1.5, 3.5]], HEIGHT, WIDTH)
    ids = ids_of(clip, np.array([[0, 1, 2], [0, 2, 3]]))
    np.testing.assert_array_equal(np.argwhere(ids >= 0), [[1, 1], [1, 2], [2, 1], [2, 2]])


def test_rows_go_down_and_nearer_wins():
    clip = on_grid([[0, 0], [8, 0], [0, 8]] * 2, HEIGHT, WIDTH)
    clip[:3, 2], clip[3:, 2] = 0.5, -0.5
    ids = ids_of(clip, np.array([[0, 1, 2], [3, 4, 5]]))
    assert ids[0, 0] == 1 and ids[7, 7] == -1
    clip[0, 2], clip[1, 2], clip[2, 2] = -0.9, -0.9, -0.9
    assert ids_of(clip, np.array([[0, 1, 2], [3, 4, 5]]))[0, 0] == 0


def test_culling_drops_clockwise_triangles():
    for reach in (0.1, 0.95, 20.0):  # a window, tiles, mostly off the image
        corners = np.array([[-reach, -reach, 0, 1], [reach, -reach, 0, 1], [0, reach, 0, 1]], np.float32)
        # y up: 0 1 2 is counter-clockwise
        assert (ids_of(corners, np.array([[0, 1, 2]]), cull=True) >= 0).any()
        assert (ids_of(corners, np.array([[0, 2, 1]]), cull=True) < 0).all()
        assert (ids_of(corners, np.array([[0, 2, 1]])) >= 0).any()


def test_equal_depth_goes_to_the_lowest_face_and_order_does_not_matter():
    verts, faces = head_mesh(22, 26)
    clip = view(verts)
    single = ids_of(clip, faces)
    np.testing.assert_array_equal(ids_of(clip, np.concatenate([faces, faces])), single)
    order = np.random.default_rng(0).permutation(len(faces))
    permuted = ids_of(clip, faces[order])
    permuted = np.where(permuted >= 0, order[permuted], -1)
    # two different triangles may tie exactly (a fold seen edge-on): then, and only then, the order decides
    differs = permuted != single
    _, nearest, second = raster_oracle.face_ids(clip, faces, HEIGHT, WIDTH)
    assert differs.sum() <= 2 and (second[differs] - nearest[differs] < 1e-6).all()


@pytest.mark.parametrize(
    "bad",
    [
        [np.nan] * 4,
        [0, 0, np.nan, 1],
        [np.inf, 0, 0, 1],
        [0, 0, 0, np.inf],
        [0, 0, 0, 0],
        [1e30, 0, 0, 1],
    ],
)
def test_a_bad_vertex_takes_only_its_own_triangles(bad):
    verts, faces = head_mesh(12, 14)
    clip = view(verts)
    victim = faces[ids_of(clip, faces)[48, 75], 0]
    clip[victim] = bad
    touched = (faces == victim).any(1)
    ids = assert_matches_oracle(clip, faces, near_ties=1)
    assert not touched[ids[ids >= 0]].any()
    others = ids_of(clip, np.where(touched[:, None], faces[:1, :1], faces))
    np.testing.assert_array_equal(ids, others)


@pytest.mark.parametrize("what", ["off screen", "all bad", "no faces", "degenerate faces"])
def test_nothing_to_see(what):
    verts, faces = head_mesh(12, 14)
    clip, faces = padded(view(verts), faces)
    if what == "off screen":
        clip = clip + np.array([100, 0, 0, 0], np.float32)
    elif what == "all bad":
        clip = np.full_like(clip, np.nan)
    elif what == "no faces":
        faces = faces[:0]
    else:
        faces = faces * 0 + 5
    topology = Topology.from_faces(faces, len(clip))
    seen = rasterize(jnp.asarray(clip), topology, HEIGHT, WIDTH)
    assert (np.asarray(seen.face_id) == -1).all()
    assert (np.asarray(seen.bary) == 0).all() and (np.asarray(seen.depth) == 1).all()


def test_batch_loop_jit_and_eager_give_the_same_ids():
    verts, faces = head_mesh(20, 24)
    views = [padded(view(verts, yaw), faces) for yaw in (-0.8, 0.3)]
    clips, topology = jnp.stack([c for c, _ in views]), Topology.from_faces(views[0][1], MAX_VERTS)

    def ids(clip, topology=topology):
        return rasterize(clip, topology, HEIGHT, WIDTH).face_id

    loop = np.stack([np.asarray(ids(c)) for c in clips])
    assert len(np.unique(loop)) > 300
    np.testing.assert_array_equal(ids(clips), loop)
    # vmap around a batch, other frames in each
    both = jnp.stack([clips, clips[::-1]])
    np.testing.assert_array_equal(jax.jit(jax.vmap(ids))(both), [loop, loop[::-1]])
    # topology as a traced argument
    np.testing.assert_array_equal(jax.jit(ids)(clips[1], topology), loop[1])


def test_vmap_over_faces():
    verts, faces = head_mesh(12, 14)
    clip, faces = padded(view(verts), faces)
    see = visibility(HEIGHT, WIDTH, False)
    both = jnp.asarray(np.stack([faces, faces[::-1]]))
    both = jnp.pad(both, ((0, 0), (0, 0), (0, 1)))
    ids = jax.vmap(lambda f: see(jnp.asarray(clip)[None], f)[0])(both)
    for k in range(2):
        np.testing.assert_array_equal(ids[k], ids_of(clip, np.asarray(both[k, :, :3])))


def test_wrong_shapes_are_told():
    verts, faces = head_mesh(6, 8)
    topology = Topology.from_faces(faces, len(verts))
    with pytest.raises(InputError, match="expected"):
        rasterize(jnp.zeros((3, 4)), topology, 8, 8)
    with pytest.raises(InputError, match="sides of 1"):
        rasterize(jnp.zeros((len(verts), 4)), topology, 0, 8)
    with pytest.raises(InputError, match="indices in"):
        Topology.from_faces(faces, 10)
    with pytest.raises(InputError, match="integers"):
        Topology.from_faces(np.zeros((3, 4)), 10)
