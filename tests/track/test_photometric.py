"""The picture as a term of the track: its derivatives, and what it repairs when landmarks are wrong."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from talkjax.face.camera import clip_camera
from talkjax.face.person import person_model
from talkjax.face.render import FaceRenderer, render_layers
from talkjax.raster.camera import project
from talkjax.track import photometric
from talkjax.track.temporal import FaceTrack, fit_track
from talkjax.types import Pose
from tests.oracles.drawn_face import drawn_neutral

N, SIDE, TEXTURE = 6, 320, 128


class Clip:
    """A painted face that turns a little and opens its mouth; landmarks are wrong in ways that look alike in
    all frames (a bias) and at random."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self.model = person_model(drawn_neutral(), n_id=2)
        self.camera = clip_camera(SIDE, SIDE)
        t = np.linspace(0, 1, N)
        euler = np.stack([0.05 * t, 0.2 * t - 0.1, 0.03 * t], 1)
        translation = np.tile([0.02, 0.15, 5.6], (N, 1))
        self.pose = Pose(jnp.asarray(euler, jnp.float32), jnp.asarray(translation, jnp.float32))
        self.exp = np.zeros((N, len(self.model.exp_names)), np.float32)
        self.exp[:, self.model.exp_names.index("jawOpen")] = 0.3 * t
        renderer = FaceRenderer.from_model(self.model)
        paint = gaussian_filter(rng.normal(size=(TEXTURE, TEXTURE, 3)), (2, 2, 0))
        paint = np.clip(0.5 + 0.12 * paint / paint.std(), 0.1, 0.9).astype(np.float32)
        light = np.zeros((N, 3, 9), np.float32)
        light[:, :, 2] = 0.1
        self.verts = renderer.verts_cam(jnp.asarray(self.exp), self.pose)
        lit, _ = render_layers(
            renderer,
            jnp.asarray(self.exp),
            self.pose,
            jnp.asarray(light),
            jnp.asarray(paint),
            self.camera,
            SIDE,
        )
        self.frames = np.clip(np.asarray(lit) * 255 + 0.5, 0, 255).astype(np.uint8)
        px = np.asarray(project(self.verts, self.camera))
        wrong = px + rng.normal(size=(1, 468, 2)) * 0.3 + rng.normal(size=px.shape) * 0.8
        wrong += 3.0 * np.sin(1.3 * np.arange(N))[:, None, None]  # the whole face, px
        depth = -np.asarray(self.verts)[..., 2:] * 70
        self.landmarks = np.pad(np.concatenate([wrong, depth], -1), ((0, 0), (0, 10), (0, 0)))

    def error(self, track) -> float:
        """Mean distance of the vertices in the picture, px."""
        verts = FaceRenderer.from_model(self.model).verts_cam(track.exp_coeffs, track.pose)
        px = np.asarray(project(verts, self.camera)) - np.asarray(project(self.verts, self.camera))
        return float(np.linalg.norm(px, axis=-1).mean())


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip()


@pytest.fixture(scope="module")
def track(clip):
    return fit_track(clip.model, clip.landmarks, np.ones(N, bool), clip.camera)


@pytest.mark.long
def test_the_picture_repairs_what_landmarks_got_wrong(clip, track):
    true = FaceTrack(clip.pose, jnp.asarray(clip.exp), jnp.ones(N, bool))
    _, skin = photometric.picture_term(clip.model, true, lambda k: clip.frames[k], clip.camera)
    refined, _ = photometric.refine_track(
        clip.model, track, clip.landmarks, lambda k: clip.frames[k], clip.camera, skin
    )
    before, after = clip.error(track), clip.error(refined)
    assert before > 0.8  # px: there is something to repair
    assert after < 0.6 * before
    assert np.asarray(refined.valid).all()


def test_derivatives_are_those_of_the_cost(clip, track):
    term, _ = photometric.picture_term(clip.model, track, lambda k: clip.frames[k], clip.camera)
    one = term.rows(2, 3)
    theta = np.concatenate([np.asarray(p)[2:3] for p in (track.pose.euler, track.pose.translation)], 1)
    theta = np.concatenate([theta, np.asarray(track.exp_coeffs)[2:3]], 1).astype(np.float64)
    blocks = one.linearize(theta)
    assert blocks.cost == pytest.approx(one.cost(theta), rel=1e-5)
    jaw = 6 + clip.model.exp_names.index("jawOpen")
    for axis, step in ((0, 2e-3), (1, 2e-3), (3, 2e-3), (4, 2e-3), (jaw, 1e-2)):
        shift = np.zeros_like(theta)
        shift[0, axis] = step
        slope = (one.cost(theta + shift) - one.cost(theta - shift))[0] / (2 * step)
        # half the slope, like J'r; the picture is linear between its pixels only
        assert blocks.gradient[0, axis] == pytest.approx(slope / 2, rel=0.15), axis


def test_unseen_frames_do_not_pull(clip, track):
    blind = track.replace(valid=track.valid.at[4].set(False))
    garbage = clip.frames.copy()
    garbage[4] = 0
    term, _ = photometric.picture_term(clip.model, blind, lambda k: garbage[k], clip.camera)
    assert term.weight[4].max() == 0 and term.weight[3].max() > 0
    theta = np.zeros((N, 6 + len(clip.model.exp_names)))
    theta[:, 5] = 5.6
    assert term.linearize(theta).gradient[4].tolist() == [0.0] * theta.shape[1]
