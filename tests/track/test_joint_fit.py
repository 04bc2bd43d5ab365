"""The fit of everything to the pictures: its Jacobians, its steps, and drawn and real faces that it finds."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.assets.ict import load_ict
from talkjax.data.painted_texture import with_painted_texture
from talkjax.data.reconstruction_rows import face_measures
from talkjax.data.synthetic_faces import FaceStage
from talkjax.data.truth_clips import TruthClip, ground_truth_clips
from talkjax.evaluate.reconstruction import pose_error
from talkjax.face.camera import clip_camera
from talkjax.face.points import vertex_points
from talkjax.face.pose import rotation
from talkjax.track import gauss_newton as gn
from talkjax.track.clip_fit import fit_of_network
from talkjax.track.crop import CropTrack, crop_track, cut, stack_cameras
from talkjax.track.guided_fit import POSE_SIGMA
from talkjax.track.joint_clip import albedo_gap, fit_clip_jointly
from talkjax.track.joint_fit import JointStart, Pictures, arrow_step, fit_jointly, network_prior
from talkjax.track.landmarks import track_landmarks
from talkjax.track.regressed import regress_clip
from talkjax.track.shading import CROP, ShadedSkin, color_blocks, color_cost, shaded_skin, weights_of
from talkjax.types import Camera, Pose
from tests.conftest import data_dir
from tests.data.test_synthetic_faces import person_model

N_FRAMES = 4


class Scene(NamedTuple):
    stage: FaceStage
    skin: ShadedSkin
    clip: TruthClip
    true: JointStart
    crops: np.ndarray
    cameras: Camera


@pytest.fixture(scope="module")
def scene() -> Scene:
    """A drawn clip of four frames, with two identity shapes to find."""
    model = with_painted_texture(person_model())
    number = np.array([33, 263, 4, 13, 133, 362])  # crops need the eyes' corners
    verts = np.concatenate([np.asarray(model.landmarks.verts)[:, 0], [0, 1]])
    stage = FaceStage.of(dataclasses.replace(model, landmarks=vertex_points(number, verts)))
    measures = face_measures(stage)
    skin = shaded_skin(measures.front, np.asarray(measures.skin) > 0)
    clip = next(ground_truth_clips(stage, jax.random.key(5), 1, N_FRAMES, 320))
    camera = clip.camera
    center = np.asarray(stage.head_center)
    turn = np.asarray(rotation(clip.pose.euler))
    middle = np.asarray(clip.pose.translation) + turn @ center
    scale = float(camera.focal) / (float(camera.distance) - middle[:, 2])
    places = np.asarray(camera.center) + scale[:, None] * middle[:, :2] * [1, -1]
    squares = CropTrack(np.float32(places), np.float32(2.2 * scale))
    crops = np.stack(
        [cut(f, c, float(s), CROP) for f, c, s in zip(clip.frames, places, squares.side, strict=True)]
    )
    theta = np.concatenate([clip.pose.euler, clip.pose.translation, clip.exp_coeffs], axis=1)
    true = JointStart(clip.id_coeffs, clip.tex_coeffs, clip.sh_coeffs, theta.astype(float))
    return Scene(stage, skin, clip, true, crops, stack_cameras(camera, squares, CROP))


def shared_of(start: JointStart) -> np.ndarray:
    return np.concatenate([start.id_coeffs, start.tex_coeffs, np.ravel(start.sh_coeffs)]).astype(np.float32)


def test_the_gradient_is_that_of_the_cost(scene):
    pictures = Pictures.of(scene.skin, scene.crops, scene.cameras)
    shared, theta = jnp.asarray(shared_of(scene.true)), jnp.asarray(scene.true.theta, jnp.float32)
    pictures = pictures.look(shared, theta)
    view = pictures.view(1)
    view = view._replace(crop=jnp.asarray(view.crop))
    gap = jnp.asarray(pictures.albedo_gap)
    cost, gradient, hessian = color_blocks(scene.skin, shared, gap, theta[1], view)
    value, (by_shared, by_theta) = jax.value_and_grad(color_cost, (1, 3))(
        scene.skin, shared, gap, theta[1], view
    )
    expected = 0.5 * np.concatenate([by_theta, by_shared])
    np.testing.assert_allclose(cost, value, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=2e-4 * np.abs(expected).max())
    assert np.linalg.eigvalsh(np.asarray(hessian, np.float64)).min() > -1e-3
    # each kind of unknown has a say
    parts = np.split(np.abs(expected), [3, 6, theta.shape[1], theta.shape[1] + 2, theta.shape[1] + 18])
    assert all(part.max() > 0 for part in parts)


def test_what_is_hidden_or_turned_away_has_no_weight(scene):
    shared = jnp.asarray(shared_of(scene.true))
    camera = jax.tree.map(lambda x: x[0], scene.cameras)
    front = jnp.asarray(scene.true.theta[0], jnp.float32).at[:3].set(0.0)
    weight = np.asarray(weights_of(scene.skin, shared, front, camera))
    turned = np.asarray(weights_of(scene.skin, shared, front.at[1].set(0.7), camera))
    x = np.asarray(scene.skin.mean)[:, 0]
    counted = np.asarray(scene.skin.counted) > 0
    assert not weight[~counted].any() and (weight[counted] > 0).mean() > 0.5
    far, near = (counted & (side * x > 0.4) for side in (1, -1))
    lost, kept = sorted((turned[far].sum() / weight[far].sum(), turned[near].sum() / weight[near].sum()))
    assert lost < 0.4 and kept > 0.6
    away = front.at[3].set(9.0)  # beside the crop
    assert not np.asarray(weights_of(scene.skin, shared, away, camera)).any()


def test_a_step_of_the_arrow_is_that_of_the_whole_matrix():
    rng = np.random.default_rng(0)
    t, m, s = 3, 5, 4
    rows = rng.normal(size=(t, 30, m + s))
    blocks, right = np.einsum("trk,trl->tkl", rows, rows), rng.normal(size=(t, m + s))
    common, pull = blocks[:, m:, m:].sum(0) + np.eye(s), right[:, m:].sum(0)
    own, together = arrow_step(blocks[:, :m], common, right[:, :m], pull, 0.01)
    whole = np.zeros((t * m + s, t * m + s))
    whole[t * m :, t * m :] = gn.damp(common, 0.01)
    for k in range(t):
        at = slice(k * m, (k + 1) * m)
        whole[at, at] = gn.damp(blocks[k, :m, :m], 0.01)
        whole[at, t * m :] = blocks[k, :m, m:]
        whole[t * m :, at] = blocks[k, m:, :m]
    expected = np.linalg.solve(whole, np.concatenate([right[:, :m].ravel(), pull]))
    np.testing.assert_allclose(np.concatenate([own.ravel(), together]), expected, rtol=1e-8)


def test_the_networks_prior_has_the_slope_that_it_says():
    gap = np.random.default_rng(1).normal(size=(2, 9)) * 0.1
    cost, gradient, _ = network_prior(gap)
    step = 1e-6
    for column in range(gap.shape[1]):
        moved = gap.copy()
        moved[:, column] += step
        slope = (network_prior(moved)[0] - cost) / step
        np.testing.assert_allclose(slope, 2 * gradient[:, column], rtol=1e-3, atol=1e-3)
    assert network_prior(np.zeros((1, 9)))[0] == 0


def test_a_drawn_person_is_found_from_where_the_network_would_be(scene):
    rng = np.random.default_rng(2)
    true = scene.true
    # what turns the head; the network's errors of place go along with those, so that the face stays put
    off = rng.normal(size=(N_FRAMES, 6)) * [*POSE_SIGMA[:3], 0.005, 0.005, 0.03]
    theta = true.theta.copy()
    theta[:, :6] += off
    theta[:, 6:] = 0.0
    start = JointStart(
        true.id_coeffs + np.array([0.8, -0.8]), 0.7 * true.tex_coeffs, true.sh_coeffs + 0.05, theta
    )
    signed = np.asarray(scene.stage.model.exp_signed)
    found = fit_jointly(scene.skin, start, scene.crops, scene.cameras, signed)
    assert found.color_rms[1] < 0.7 * found.color_rms[0]

    def turned(x: np.ndarray) -> np.ndarray:
        return pose_error(
            *(np.asarray(rotation(jnp.asarray(e, jnp.float32))) for e in (x[:, :3], true.theta[:, :3]))
        )

    assert turned(found.theta).mean() < 0.6 * turned(theta).mean()
    assert np.abs(found.id_coeffs - true.id_coeffs).max() < 0.5
    before, after = (np.abs(x[:, 6:] - true.theta[:, 6:]).mean() for x in (theta, found.theta))
    assert after < before
    assert (found.theta[:, 6:] >= 0).all()
    gap = albedo_gap(scene.skin, found, scene.crops, scene.cameras)
    plain, personal = (
        Pictures.of(scene.skin, scene.crops, scene.cameras, values).look(found.shared, found.theta)
        for values in (None, gap)
    )
    assert personal.variance < 0.95 * plain.variance  # the person's own spots are no error any more
    part = personal.rows(1, 3)
    np.testing.assert_allclose(
        part.cost(found.shared, found.theta[1:3]), personal.cost(found.shared, found.theta)[1:3], rtol=1e-6
    )


def test_crops_of_another_size_and_models_without_color_are_refused(scene):
    with pytest.raises(ValueError, match="expected"):
        Pictures.of(scene.skin, scene.crops[:, :64], scene.cameras)
    front = dataclasses.replace(face_measures(scene.stage).front, tex_mean=None)
    with pytest.raises(ValueError, match="no texture"):
        shaded_skin(front, np.ones(front.mean.shape[0], bool))


@pytest.mark.clip
def test_a_real_clip_lies_where_its_landmarks_do(clip_frames, models):
    folder = data_dir() / "ict_facekit"
    if not folder.is_dir():
        pytest.skip("ICT-FaceKit is not at hand: ict_facekit (set TALKJAX_DATA)")
    model, camera = load_ict(folder, "full").model, clip_camera(1280, 720)
    frames = clip_frames[:24:2]
    seen = track_landmarks(frames, models)
    valid = seen.valid.copy()
    valid[5] = False
    said = regress_clip(seen.landmarks, valid, camera, frames)
    fit = fit_clip_jointly(said, model, seen.landmarks, camera)
    assert np.asarray(fit.track.valid).tolist() == valid.tolist()
    observed, scale = gn.observations(seen.landmarks, valid)

    def error(pose: Pose, exp: np.ndarray, problem: gn.LandmarkProblem) -> float:
        theta = np.concatenate([pose.euler, pose.translation, exp], axis=1)
        cost = gn.data_cost(problem, theta, np.zeros(0), observed, scale)[valid]
        return float(np.sqrt(cost.mean() / len(problem.number)))

    before, after = (
        error(f.track.pose, f.track.exp_coeffs, gn.make_problem(f.model, camera, free_identity=False))
        for f in (fit_of_network(said, model), fit)
    )
    assert after < before and after < 4.0  # % of the eye distance
    squares = crop_track(fit.track.pose, camera, fit.model)
    assert np.abs(squares.center - said.squares.center)[valid].max() < 0.1 * said.squares.side.max()
    assert np.asarray(fit.track.exp_coeffs).min() >= 0 and np.abs(fit.id_coeffs).max() < 3
