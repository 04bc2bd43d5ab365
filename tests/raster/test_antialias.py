"""Antialiasing: values against a numpy oracle and closed forms, gradients against float64, the hard cases."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.raster import Topology, antialias, rasterize
from talkjax.raster.silhouette import Frame, silhouette
from talkjax.types import Fragments
from tests.oracles import antialias_oracle, raster_oracle
from tests.raster.meshes import head_mesh, on_grid, padded, padded_topology, soup, view

HEIGHT, WIDTH = 52, 70
MAX_EDGES = 4096


def topology_of(clip, faces) -> tuple[np.ndarray, Topology]:
    """A mesh padded, edges too, so that all tests share one compiled program."""
    clip, faces = padded(clip, np.asarray(faces))
    return clip, padded_topology(faces, len(clip), len(faces), MAX_EDGES)


@functools.partial(jax.jit, static_argnames="cull")
def see(clip, topology, cull=False):
    return rasterize(clip, topology, HEIGHT, WIDTH, cull=cull)


@functools.partial(jax.jit, static_argnames="cull")
def mix(hard, clip, seen, topology, cull=False):
    return antialias(hard, clip, seen, topology, cull=cull)


def draw(clip, topology, colors):
    """Fragments, each face in its own color (the last one is the background), and the same antialiased."""
    seen = see(clip, topology)
    hard = colors[seen.face_id]
    return seen, hard, mix(hard, clip, seen, topology)


def weighted(clip, colors, seen, topology, weight):
    return (antialias(colors[seen.face_id], clip, seen, topology) * weight).sum()


_pull = jax.jit(jax.grad(weighted, argnums=(0, 1)))


def pull(clip, topology, colors, weight):
    """Gradients of the weighted sum of the antialiased image to the vertices and the colors."""
    return _pull(clip, colors, see(clip, topology), topology, jnp.asarray(weight))


def face_colors(faces, rgb, background=(0.0, 0.0, 0.0)):
    colors = np.zeros((2401, 3), np.float32)
    colors[: len(faces)] = rgb
    colors[-1] = background
    return jnp.asarray(colors)


def show(points_px, faces, rgb, depths=None, background=(0.0, 0.0, 0.0)):
    """`draw` of flat triangles given in pixels; depths per vertex."""
    clip = on_grid(points_px, HEIGHT, WIDTH)
    if depths is not None:
        clip[:, 2] = depths
    clip, topology = topology_of(clip, faces)
    seen, hard, smooth = draw(jnp.asarray(clip), topology, face_colors(faces, rgb, background))
    return clip, topology, np.asarray(seen.face_id), np.asarray(hard), np.asarray(smooth)


def pixel_gradient(gradient, n):
    """Gradient to clip x, y (w = 1) as one to pixel positions (y down)."""
    return np.asarray(gradient)[:n, :2] * [2 / WIDTH, -2 / HEIGHT]


def rectangle(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


QUAD = np.array([[0, 1, 2], [0, 2, 3]])


# ---- values and gradients against the oracle


def scenes():
    verts, faces = head_mesh(20, 24)
    yield "head", view(verts), faces
    yield "soup", *soup(4, 40, 40, 0.9)
    yield "large soup", *soup(5, 12, 9, 2.5)
    fine, fine_faces = head_mesh(34, 35)
    yield "fine head", view(fine, zoom=1.5), fine_faces


@pytest.mark.parametrize("scene", list(scenes()), ids=lambda s: s[0])
def test_image_is_the_oracles(scene):
    _, clip, faces = scene
    rng = np.random.default_rng(0)
    colors = face_colors(faces, rng.uniform(size=(len(faces), 3)), rng.uniform(size=3))
    padded_clip, topology = topology_of(clip, faces)
    seen, hard, smooth = draw(jnp.asarray(padded_clip), topology, colors)
    expected = antialias_oracle.antialias(hard, clip, faces, np.asarray(seen.face_id), np.asarray(seen.depth))
    wrong = np.abs(np.asarray(smooth) - expected).max(-1) > 2e-3
    changed = np.abs(np.asarray(hard) - expected).max(-1) > 2e-3
    # a sliver's side, or a depth, may be a matter of rounding
    assert changed.sum() > 50 and wrong.sum() <= 0.02 * changed.sum()
    assert np.asarray(smooth).min() >= 0 and np.asarray(smooth).max() <= 1


def test_gradient_is_the_oracles_finite_difference():
    verts, faces = head_mesh(12, 14)
    clip = view(verts)
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    colors = face_colors(faces, rng.uniform(size=(len(faces), 3)), rng.uniform(size=3))
    padded_clip, topology = topology_of(clip, faces)
    seen, hard, _ = draw(jnp.asarray(padded_clip), topology, colors)
    gradient = np.asarray(pull(jnp.asarray(padded_clip), topology, colors, weight)[0])
    ids, depth = np.asarray(seen.face_id), np.asarray(seen.depth)

    def loss(moved):
        image = antialias_oracle.antialias(hard, moved, faces, ids, depth, snapped_clip=clip)
        return (image * weight).sum()

    scale = np.abs(gradient).max()
    assert (gradient[:, 2] == 0).all()  # depth only decides
    for vert in rng.choice(np.flatnonzero(np.abs(gradient).max(1) > 0.05 * scale), 6, replace=False):
        for axis in (0, 1, 3):
            step = np.zeros(clip.shape)
            step[vert, axis] = 1e-6
            expected = (loss(clip + step) - loss(clip - step)) / 2e-6
            # the pair and the fraction come from vertices rounded to 1/256 px
            assert abs(gradient[vert, axis] - expected) < 0.02 * scale


def test_jvp_agrees_with_grad_and_second_derivatives_exist():
    triangle = np.array([[10.3, 5.2], [58.9, 17.7], [21.1, 46.4]])
    clip, topology, *_ = show(triangle, [[0, 1, 2]], 1.0)
    colors, seen = face_colors([0], 1.0), see(clip, topology)

    def area(points):
        moved = jnp.asarray(clip).at[:3, :2].set(points)
        return weighted(moved, colors, seen, topology, 1 / 3)

    @jax.jit
    def derivatives(points, change):
        return jax.jvp(jax.value_and_grad(area), (points,), (change,))

    change = np.random.default_rng(2).normal(size=(3, 2)).astype(np.float32)
    points = jnp.asarray(clip[:3, :2])
    (_, gradient), (forward, second) = derivatives(points, change)
    np.testing.assert_allclose(forward, (np.asarray(gradient) * change).sum(), rtol=1e-4)
    # area = |sum of x_i (y_j - y_k)| / 2
    sign = np.sign(np.linalg.det(np.c_[clip[:3, :2], np.ones(3)])) * HEIGHT * WIDTH / 4

    def exact(points):
        before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
        return sign / 2 * np.stack([after[:, 1] - before[:, 1], before[:, 0] - after[:, 0]], -1)

    # of a sharp tip the part thinner than a pixel is not seen
    np.testing.assert_allclose(gradient, exact(clip[:3, :2]), atol=0.05 * np.abs(exact(clip[:3, :2])).max())
    other = np.random.default_rng(3).normal(size=(3, 2)).astype(np.float32)
    also = derivatives(points, other)[1][1]
    assert np.abs(second).max() > 1
    np.testing.assert_allclose((second * other).sum(), (also * change).sum(), rtol=1e-3)  # symmetric
    # reverse over reverse can be built too
    jax.eval_shape(jax.grad(lambda p: (jax.grad(area)(p) * change).sum()), points)


# ---- shapes with known coverage


def test_a_rectangle_covers_exactly_its_area():
    left, top, right, bottom = 10.25, 7.625, 41.0, 30.125
    *_, smooth = show(rectangle(left, top, right, bottom), QUAD, 1.0)
    columns = np.clip(np.minimum(right, np.arange(WIDTH) + 1) - np.maximum(left, np.arange(WIDTH)), 0, 1)
    rows = np.clip(np.minimum(bottom, np.arange(HEIGHT) + 1) - np.maximum(top, np.arange(HEIGHT)), 0, 1)
    # a corner pixel whose center is covered is exact too; all others are not corners
    np.testing.assert_allclose(smooth[..., 0][8:30, 10:41], np.outer(rows, columns)[8:30, 10:41], atol=1e-5)
    assert abs(smooth[..., 0].sum() - (right - left) * (bottom - top)) < 0.5


def test_edges_on_pixel_borders_and_on_pixel_centers():
    # borders: nothing to mix; centers: every border pixel is half covered, its corner a quarter
    *_, hard, smooth = show(rectangle(10, 8, 20, 16), QUAD, 1.0)
    np.testing.assert_allclose(smooth, hard, atol=1e-5)
    *_, smooth = show(rectangle(10.5, 8.5, 20.5, 16.5), QUAD, 1.0)
    np.testing.assert_allclose(smooth[10, [10, 11, 19, 20], 0], [0.5, 1, 1, 0.5], atol=1e-5)
    np.testing.assert_allclose(smooth[[8, 9, 15, 16], 15, 0], [0.5, 1, 1, 0.5], atol=1e-5)
    np.testing.assert_allclose(smooth[8, 10, 0], 0.25, atol=1e-5)


@pytest.mark.parametrize("width", [0.125, 0.5, 0.875])
def test_a_strip_thinner_than_a_pixel_is_as_gray_as_it_is_wide(width):
    # around the center of column 20
    strip = rectangle(20.5 - 0.45 * width, 4.5, 20.5 + 0.55 * width, 44.5)
    clip, topology, ids, _, smooth = show(strip, QUAD, 1.0)
    assert (ids[10:40, 20] >= 0).all()
    np.testing.assert_allclose(smooth[10:40, 20, 0], width, atol=1e-5)
    assert smooth[10:40, [19, 21], 0].max() == 0
    gradient = pull(jnp.asarray(clip), topology, face_colors(QUAD, 1.0), jnp.ones((HEIGHT, WIDTH, 3)) / 3)[0]
    across = pixel_gradient(gradient, 4)[:, 0]
    # 40 rows, shared by the two ends of each side: wider is brighter, moved is not
    np.testing.assert_allclose(across, [-20, 20, 20, -20], atol=0.6)


def test_a_strip_between_the_pixel_centers_is_not_there():
    clip, topology, ids, _, smooth = show(rectangle(20.6, 4.5, 21.4, 44.5), QUAD, 1.0)
    assert (ids < 0).all() and (smooth == 0).all()
    gradient = pull(jnp.asarray(clip), topology, face_colors(QUAD, 1.0), jnp.ones((HEIGHT, WIDTH, 3)))[0]
    assert (np.asarray(gradient) == 0).all()


def test_a_dot_of_one_pixel_stays_in_range_and_keeps_its_area():
    for size in (0.25, 0.75, 1.5):
        dot = rectangle(30.5 - size / 2, 20.5 - size / 2, 30.5 + size / 2, 20.5 + size / 2)
        *_, smooth = show(dot, QUAD, [1.0, 0.0, 0.5], background=[0.0, 1.0, 0.5])
        assert smooth.min() >= 0 and smooth.max() <= 1
        np.testing.assert_allclose(smooth[20, 30, 0], min(size, 1.0) ** 2, atol=1e-5)


# ---- two surfaces


TWO_QUADS = np.concatenate([QUAD, QUAD + 4])
RED, GREEN = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
TWO_COLORS = [RED, RED, GREEN, GREEN]


def test_two_surfaces_in_one_pixel_pair_the_nearer_edge_counts():
    # both end between the centers of columns 20 and 21; the near one (red) on top of the far one's end
    points = rectangle(5.5, 5.5, 20.75, 40.5) + rectangle(20.625, 5.5, 50.5, 40.5)
    for near in (0, 1):
        depths = np.repeat([-0.5, 0.5] if near == 0 else [0.5, -0.5], 4)
        clip, topology, _, _, smooth = show(points, TWO_QUADS, TWO_COLORS, depths)
        border = 20.75 if near == 0 else 20.625
        np.testing.assert_allclose(
            smooth[20, 20], np.array(RED) * (border - 20) + np.array(GREEN) * (21 - border)
        )
        weight = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        weight[10:30, 18:24, 0] = 1
        gradient = pull(jnp.asarray(clip), topology, face_colors(TWO_QUADS, TWO_COLORS), weight)[0]
        across = pixel_gradient(gradient, 8)[:, 0]
        owner, other = across[4 * near : 4 * near + 4], across[4 - 4 * near : 8 - 4 * near]
        np.testing.assert_allclose(owner.sum(), 20, rtol=1e-4)
        assert (other == 0).all()


def test_a_hidden_edge_does_nothing():
    points = rectangle(5.5, 5.5, 60.5, 45.5) + rectangle(20.3, 15.2, 40.7, 35.9)
    clip, topology, _, hard, smooth = show(points, TWO_QUADS, TWO_COLORS, np.repeat([-0.5, 0.5], 4))
    np.testing.assert_array_equal(smooth[10:40, 10:55], hard[10:40, 10:55])
    weight = jnp.asarray(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32))
    gradient, to_color = pull(jnp.asarray(clip), topology, face_colors(TWO_QUADS, TWO_COLORS), weight)
    assert (np.asarray(gradient)[4:8] == 0).all() and (np.asarray(to_color)[2:4] == 0).all()
    assert np.abs(np.asarray(gradient)[:4]).max() > 1
    # in front, the same edges do pull
    clip, topology, _, hard, smooth = show(points, TWO_QUADS, TWO_COLORS, np.repeat([0.5, -0.5], 4))
    assert (smooth[10:40, 10:55] != hard[10:40, 10:55]).any()
    gradient = pull(jnp.asarray(clip), topology, face_colors(TWO_QUADS, TWO_COLORS), weight)[0]
    assert np.abs(np.asarray(gradient)[4:8]).max() > 1


def test_an_edge_behind_another_surface_does_not_borrow_its_color():
    # red ends at 20.75; the pixel to the left shows a nearer green strip that ends at 20.56
    points = rectangle(5.5, 5.5, 20.75, 40.5) + rectangle(18.5, 5.5, 20.5625, 40.5)
    *_, smooth = show(points, TWO_QUADS, TWO_COLORS, np.repeat([0.5, -0.5], 4))
    np.testing.assert_allclose(smooth[20, 20], np.array(GREEN) * 0.5625, atol=1e-5)


@pytest.mark.long
def test_where_surfaces_cut_through_each_other_nothing_is_mixed():
    points = rectangle(5.5, 5.5, 60.5, 45.5) * 2
    depths = [-0.5, 0.5, 0.5, -0.5, 0.5, -0.5, -0.5, 0.5]
    _, _, ids, hard, smooth = show(points, TWO_QUADS, TWO_COLORS, depths)
    inside = np.s_[10:40, 10:55]
    assert (ids[inside] < 2).any() and (ids[inside] >= 2).any()
    np.testing.assert_array_equal(smooth[inside], hard[inside])


# ---- edges


def test_inner_edges_do_nothing_and_seams_are_welded():
    points = [[5.5, 5.5], [30.25, 5.5], [60.5, 5.5], [5.5, 45.5], [33.75, 45.5], [60.5, 45.5]]
    strip = np.array([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    _, _, _, hard, smooth = show(points, strip, TWO_COLORS)
    np.testing.assert_array_equal(smooth[10:40, 10:55], hard[10:40, 10:55])
    # the same with the two middle vertices repeated, as for a texture seam
    seam = np.array([[0, 1, 4], [0, 4, 3], [6, 2, 5], [6, 5, 7]])
    positions = np.array([*points, points[1], points[4]])
    positions = np.c_[positions, np.zeros(8)]
    apart, welded = Topology.from_faces(seam, 8).edges, Topology.from_faces(seam, 8, weld=positions).edges
    assert len(apart.verts) == 10 and len(np.unique(apart.part)) == 2
    assert len(welded.verts) == 9 and len(np.unique(welded.part)) == 1
    (between,) = np.flatnonzero((np.sort(welded.faces, axis=0) == [[0], [3]]).all(0))
    assert set(welded.verts[between]) <= {1, 4, 6, 7} and not welded.same_way[between]
    with pytest.raises(InputError, match="weld has shape"):
        Topology.from_faces(seam, 8, weld=positions[:3])


def test_an_edge_of_three_faces_is_always_an_outline():
    points = [[5.5, 5.5], [5.5, 45.5], [30.25, 5.5], [30.25, 45.5], [60.5, 5.5], [60.5, 45.5]]
    flat = np.array([[0, 2, 3], [0, 3, 1], [2, 4, 5], [2, 5, 3]])
    _, _, _, hard, smooth = show(points, flat, TWO_COLORS)
    np.testing.assert_array_equal(smooth[10:40, 10:55], hard[10:40, 10:55])
    fin = np.concatenate([flat, [[2, 3, 6]]])
    *_, hard, smooth = show(
        [*points, [31.5, 20.5]], fin, [*TWO_COLORS, RED], [0.1, 0.1, 0.0, 0.0, 0.1, 0.1, 0.5]
    )
    np.testing.assert_allclose(smooth[20, 30], np.array(RED) * 0.25 + np.array(GREEN) * 0.75, atol=1e-5)
    assert np.abs(hard[20, 30] - smooth[20, 30]).max() > 0.2


def test_faces_of_either_winding_give_the_same_outline():
    verts, faces = head_mesh(12, 14)
    rng = np.random.default_rng(3)
    colors = rng.uniform(size=(len(faces), 3))
    mixed = np.where(rng.uniform(size=(len(faces), 1)) < 0.5, faces, faces[:, ::-1])
    images = []
    for f in (faces, mixed):
        clip, topology = topology_of(view(verts), f)
        images.append(np.asarray(draw(jnp.asarray(clip), topology, face_colors(f, colors))[2]))
    assert (np.abs(images[0] - images[1]).max(-1) > 1e-4).mean() < 1e-3


def test_culled_faces_end_where_the_front_ends():
    # an open bowl seen from the side: of the far wall's inside nothing may remain
    verts, faces = head_mesh(12, 14)
    keep = verts[faces].mean(1)[:, 2] < 0.55
    clip, topology = topology_of(view(verts, yaw=1.1), faces[keep])
    flat = topology.faces4[:, :3]
    ids, depth, _ = raster_oracle.face_ids(clip, flat, HEIGHT, WIDTH, cull=True)
    seen = Fragments(
        jnp.asarray(ids, jnp.int32), jnp.zeros((HEIGHT, WIDTH, 3)), jnp.asarray(depth, jnp.float32)
    )
    mask = (seen.face_id >= 0).astype(jnp.float32)[..., None].repeat(3, -1)
    smooth = np.asarray(mix(mask, jnp.asarray(clip), seen, topology, cull=True))
    fine = raster_oracle.face_ids(clip, flat, 8 * HEIGHT, 8 * WIDTH, cull=True)[0] >= 0
    both = raster_oracle.face_ids(clip, flat, HEIGHT, WIDTH)[0] >= 0
    assert both.sum() > 1.05 * fine.mean() * HEIGHT * WIDTH
    assert smooth.min() >= 0 and smooth.max() <= 1
    np.testing.assert_allclose(smooth[..., 0].sum(), fine.mean() * HEIGHT * WIDTH, rtol=0.004)


# ---- bad geometry


def test_edges_that_leave_the_screen():
    # three times the screen: two edges cross the image, the third is far outside
    points = np.array([[-100.3, 20.2], [150.7, 11.1], [40.6, 140.3]])
    clip, topology, _, _, smooth = show(points, [[0, 1, 2]], 1.0)
    fine = raster_oracle.face_ids(clip[:3], np.array([[0, 1, 2]]), 16 * HEIGHT, 16 * WIDTH)[0] >= 0
    expected = fine.reshape(HEIGHT, 16, WIDTH, 16).mean((1, 3))
    assert 0.1 < expected.mean() < 0.9
    np.testing.assert_allclose(smooth[..., 0].sum(), expected.sum(), atol=0.5)
    assert np.abs(smooth[..., 0] - expected)[1:-1, 1:-1].max() < 0.13
    gradient = pull(jnp.asarray(clip), topology, face_colors([0], 1.0), jnp.ones((HEIGHT, WIDTH, 3)) / 3)[0]
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1
    # moving everything right moves the two edges: the crossed rows count
    inside = fine[8::16]
    left, right = inside.argmax(1), inside.shape[1] - inside[:, ::-1].argmax(1)
    rows = inside.any(1)
    expected = (rows & (right < inside.shape[1])).sum() - (rows & (left > 0)).sum()
    np.testing.assert_allclose(pixel_gradient(gradient, 3)[:, 0].sum(), expected, atol=2.0)


def test_edges_that_cross_the_near_plane():
    # a floor from behind the eye to far ahead: its sides meet at the horizon
    eye, half_width, far_away = 0.5, 0.35, 4.0
    near = 0.1
    corners = np.array(
        [[-half_width, -1.0], [half_width, -1.0], [half_width, far_away], [-half_width, far_away]]
    )
    clip = np.stack([corners[:, 0], np.full(4, -eye), corners[:, 1] - 2 * near, corners[:, 1]], -1)
    clip[:, 2] = (10 + near) / (10 - near) * corners[:, 1] - 2 * 10 * near / (10 - near)
    padded_clip, topology = topology_of(clip.astype(np.float32), QUAD)
    seen, _, smooth = draw(jnp.asarray(padded_clip), topology, face_colors(QUAD, 1.0))
    assert (np.asarray(seen.face_id)[-1] >= 0).any()
    # at row center y (NDC) the floor is at w = eye / -y; its sides at x = +-half_width / w
    y = 1 - (2 * np.arange(HEIGHT) + 1) / HEIGHT
    with np.errstate(divide="ignore"):
        w = np.where(y < 0, eye / np.where(y < 0, -y, 1), np.inf)
    x = np.where((w < far_away) & (w > near), half_width / w, 0)
    width_px = np.clip(x * WIDTH, 0, WIDTH)
    rows = (width_px > 7) & (width_px < WIDTH - 3)  # the last rows meet the far end
    assert rows.sum() > 10
    np.testing.assert_allclose(np.asarray(smooth)[rows, :, 0].sum(1), width_px[rows], atol=0.05)
    # d(width)/d(half_width): the two ends of each side share it, also the one behind the camera
    weight = np.broadcast_to(rows[:, None, None] / 3, (HEIGHT, WIDTH, 3)).astype(np.float32)
    gradient = np.asarray(pull(jnp.asarray(padded_clip), topology, face_colors(QUAD, 1.0), weight)[0])
    assert np.isfinite(gradient).all()
    widening = gradient[[1, 2], 0].sum() - gradient[[0, 3], 0].sum()
    np.testing.assert_allclose(widening, (WIDTH / w[rows]).sum(), rtol=0.01)
    assert np.abs(gradient[0, 0]) > 1e-3


@pytest.mark.parametrize("bad", [[np.nan] * 4, [0, 0, np.inf, 1], [0, 0, 0, 0]])
def test_a_bad_vertex_leaves_a_hole_with_an_edge(bad):
    grid = np.array([[x, y] for y in (5.3, 25.4, 45.2) for x in (5.6, 30.3, 60.7)])
    quads = [(0, 1, 4, 3), (1, 2, 5, 4), (3, 4, 7, 6), (4, 5, 8, 7)]
    faces = np.array([[a, b, c] for a, b, c, _ in quads] + [[a, c, d] for a, _, c, d in quads])
    clip = on_grid(grid, HEIGHT, WIDTH)
    clip[0] = bad
    broken, topology = topology_of(clip, faces)
    alive = ~(faces == 0).any(1)
    colors = np.zeros((len(faces), 3))
    colors[alive] = 1.0
    *_, smooth = draw(jnp.asarray(broken), topology, face_colors(faces, colors))
    _, _, _, _, expected = show(np.where(np.arange(9)[:, None] == 0, 1.0, grid), faces[alive], 1.0)
    np.testing.assert_allclose(smooth, expected, atol=1e-5)
    gradient, to_color = pull(
        jnp.asarray(broken), topology, face_colors(faces, colors), jnp.ones((HEIGHT, WIDTH, 3))
    )
    assert np.isfinite(gradient).all() and np.isfinite(to_color).all()
    assert (np.asarray(gradient)[0] == 0).all() and np.abs(np.asarray(gradient)[4]).max() > 1


def test_nothing_to_see():
    clip, topology = topology_of(np.full((3, 4), np.nan, np.float32), [[0, 1, 2]])
    seen, hard, smooth = draw(jnp.asarray(clip), topology, face_colors([0], 1.0, [0.2, 0.4, 0.6]))
    np.testing.assert_array_equal(smooth, hard)
    none = Topology.from_faces(np.zeros((0, 3), np.int32), 3)
    seen = rasterize(jnp.zeros((3, 4)), none, 4, 5)
    np.testing.assert_array_equal(antialias(jnp.ones((4, 5, 2)), jnp.zeros((3, 4)), seen, none), 1.0)
    with pytest.raises(InputError, match="color has shape"):
        antialias(jnp.ones((4, 6, 2)), jnp.zeros((3, 4)), seen, none)


# ---- transformations


def crumpled(seed, verts):
    """The mesh with its vertices anywhere: more outlines than pixels."""
    return soup(seed, len(verts), 1, 0.95)[0]


def test_more_crossings_than_the_list_holds_take_the_long_way():
    verts, faces = head_mesh(20, 24)
    clip, topology = topology_of(crumpled(7, verts), faces)
    rng = np.random.default_rng(0)
    colors = face_colors(faces, rng.uniform(size=(len(faces), 3)))
    seen, hard, smooth = draw(jnp.asarray(clip), topology, colors)
    frame = Frame(jnp.asarray(clip)[None], seen.depth[None], seen.face_id[None])
    found = silhouette(4 * (HEIGHT + WIDTH), False)(frame, jnp.asarray(topology.faces4), topology.edges)
    assert not found.complete[0]  # or this tests nothing
    flat = topology.faces4[:, :3]
    ids, depth = np.asarray(seen.face_id), np.asarray(seen.depth)
    expected = antialias_oracle.antialias(hard, clip, flat, ids, depth)
    assert (np.abs(expected - np.asarray(hard)).max(-1) > 1e-3).mean() > 0.2
    assert (np.abs(np.asarray(smooth) - expected).max(-1) > 2e-3).mean() < 0.01
    weight = rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    gradient, to_color = pull(jnp.asarray(clip), topology, colors, weight)
    np.testing.assert_allclose((to_color * colors).sum(), (smooth * weight).sum(), rtol=1e-3)  # it is linear
    step = np.zeros(clip.shape)
    step[: len(verts), 0] = rng.normal(size=len(verts)) * 1e-7
    images = [
        antialias_oracle.antialias(hard, clip + s * step, flat, ids, depth, snapped_clip=clip)
        for s in (1, -1)
    ]
    expected = ((images[0] - images[1]) / 2 * weight).sum()
    np.testing.assert_allclose((np.asarray(gradient) * step).sum(), expected, rtol=0.02)


@pytest.mark.sharded
def test_batch_loop_vmap_and_shards_agree():
    verts, faces = head_mesh(20, 24)
    clip, topology = topology_of(view(verts), faces)
    # one frame that fits its list beside one that does not
    clips = jnp.stack([jnp.asarray(clip), jnp.asarray(topology_of(crumpled(7, verts), faces)[0])])
    rng = np.random.default_rng(4)
    colors = face_colors(faces, rng.uniform(size=(len(faces), 3)))
    weight = jnp.asarray(rng.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32))
    loop = np.stack([pull(c, topology, colors, weight)[0] for c in clips])
    images = np.stack([draw(c, topology, colors)[2] for c in clips])
    seen = jax.tree.map(lambda *x: jnp.stack(x), *(see(c, topology) for c in clips))

    def loss(clip, seen):
        image = antialias(colors[seen.face_id], clip, seen, topology)
        return (image * weight).sum(), image

    pull_of = jax.grad(loss, has_aux=True)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("data")
    # the whole batch at once, on a shard
    sharded = jax.shard_map(pull_of, mesh=mesh, in_specs=spec, out_specs=spec)
    for program in (sharded, jax.vmap(pull_of)):
        gradient, image = jax.jit(program)(clips, seen)
        np.testing.assert_allclose(image, images, atol=1e-5)
        np.testing.assert_allclose(gradient, loop, atol=1e-4 * np.abs(loop).max())
