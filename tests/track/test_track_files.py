"""A tracked clip's arrays, figures, glTF and standard crop, against the truth that made it."""

from __future__ import annotations

import dataclasses
import io

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io

from talkjax.face.alignment import LANDMARKS_68
from talkjax.face.coeffs import unpack
from talkjax.infer.motion_track import format_track, parse_track
from talkjax.track.clip_fit import ClipFit
from talkjax.track.face_glb import displacements, face_glb
from talkjax.track.overlay import MARK_COLOR, MESH_COLOR, Overlay, mesh_edges
from talkjax.track.standard_pose import standard_track
from talkjax.track.temporal import FaceTrack
from talkjax.track.track_files import coefficient_arrays, jitter, landmark_errors, mat_arrays, motion_of
from talkjax.types import Skeleton
from tests.oracles.drawn_face import drawn_neutral
from tests.oracles.gltf_reader import read_scene
from tests.oracles.moving_face import HEIGHT, WIDTH, MovingFace, moving_face

T = 24


@pytest.fixture(scope="module")
def truth() -> MovingFace:
    return moving_face(drawn_neutral(), T, noise_px=0.0)


@pytest.fixture(scope="module")
def fit(truth: MovingFace) -> ClipFit:
    """The truth itself as a fit; frame 3 was not seen."""
    valid = jnp.asarray(np.arange(T) != 3)
    track = FaceTrack(truth.pose, jnp.asarray(truth.exp_coeffs, jnp.float32), valid)
    return ClipFit(truth.model, np.zeros(80, np.float32), track)


def _turn(euler: np.ndarray) -> np.ndarray:
    """R = Rz Ry Rx, written out."""
    (a, b, c) = euler
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return rz @ ry @ rx


def _posed(truth: MovingFace, k: int) -> np.ndarray:
    """Camera-space vertices of frame k in dm."""
    basis = np.asarray(truth.model.exp_basis, np.float64)
    verts = np.asarray(truth.model.mean, np.float64) + np.einsum("e,evc->vc", truth.exp_coeffs[k], basis)
    return verts @ _turn(np.asarray(truth.pose.euler[k])).T + np.asarray(truth.pose.translation[k])


# ------------------------------------------------------------------------------------- glTF


def test_the_glb_moves_as_the_track_does(truth, fit):
    png = b"\x89PNG"
    data = face_glb(fit, truth.camera, (WIDTH, HEIGHT), png, "talkjax")
    scene = read_scene(data)
    assert tuple(scene.targets) == truth.model.exp_names and scene.png == png
    np.testing.assert_allclose(scene.times, np.arange(T) / 25, atol=1e-6)
    for k in (0, 9, T - 1):
        np.testing.assert_allclose(10 * scene.at(k), _posed(truth, k), atol=2e-5)
    assert np.linalg.norm(scene.normals, axis=1) == pytest.approx(1, abs=1e-5)
    assert scene.normals[168, 2] > 0.5  # out of the face
    np.testing.assert_array_equal(scene.uvs, np.asarray(truth.model.uvs))


def test_targets_that_move_nothing_are_left_out_and_joints_become_targets(truth, fit):
    model = fit.model
    still = np.array(model.exp_basis)
    still[7] = 0
    scene = read_scene(
        face_glb(
            fit._replace(model=model.replace(exp_basis=jnp.asarray(still))), truth.camera, (64, 48), None, ""
        )
    )
    assert model.exp_names[7] not in scene.targets and len(scene.targets) == 42 == scene.weights.shape[1]
    assert scene.png is None
    weights = np.zeros((468, 2), np.float32)
    weights[:, 0], weights[152] = 1, [0, 1]  # the chin alone hangs on the second joint
    jaw = Skeleton(
        joint_mean=jnp.array([[0.0, 0, 0], [0.0, -0.3, 0.1]]),
        joint_basis=jnp.zeros((80 + 43, 2, 3)),
        skin_weights=jnp.asarray(weights),
        pose_basis=jnp.zeros((9, 468, 3)),
        parents=(-1, 0),
        moving=(1,),
    )
    moved = displacements(dataclasses.replace(model, skeleton=jaw))
    assert moved.shape == (46, 468, 3) and np.abs(moved[43:, :152]).max() < 1e-5
    arm = np.asarray(model.mean)[152] - [0, -0.3, 0.1]
    expected = (_turn(np.array([0.3, 0, 0])) - np.eye(3)) @ arm / 0.3
    np.testing.assert_allclose(moved[43, 152], expected, atol=1e-4)


# ---------------------------------------------------------------- the field's crop and vector


def test_the_head_before_the_crops_camera_lies_where_the_clips_camera_sees_it(truth, fit):
    found = standard_track(fit, truth.landmarks, truth.camera)
    assert found.trans_params.shape == (T, 5) and found.error_px.max() < 0.5
    assert (found.trans_params[:, :2] == [WIDTH, HEIGHT]).all()
    for k in (0, T - 1):
        # by hand: image pixel (centers at whole numbers) -> crop, and the vertex through f = 1015, c = 112
        _, _, factor, tx, ty = found.trans_params[k]
        marks = truth.landmarks[k, LANDMARKS_68, :2] - 0.5
        u = (marks[:, 0] - tx) * factor + 112
        v = 224 - ((HEIGHT - 1 - marks[:, 1] - ty) * factor + 112)
        np.testing.assert_allclose(found.points_68[k], np.stack([u, v], 1), atol=1e-3)
        basis = np.asarray(truth.model.exp_basis, np.float64)
        verts = np.asarray(truth.model.mean) + np.einsum("e,evc->vc", truth.exp_coeffs[k], basis)
        cam = verts @ _turn(np.asarray(found.pose.euler[k])).T + np.asarray(found.pose.translation[k])
        x, y, z = cam[LANDMARKS_68].T
        seen = np.stack([1015 * x / (10 - z) + 112, 224 - (1015 * y / (10 - z) + 112)], 1)
        error = np.linalg.norm(seen - found.points_68[k], axis=1)
        assert error.mean() < 0.5 and np.abs(seen - 112).max() < 112  # inside the crop
    turned = np.asarray(found.pose.euler) - np.asarray(truth.pose.euler)
    assert np.abs(turned).max() < np.deg2rad(8)  # the same head, seen from straight ahead


def test_coefficients_come_back_from_both_files(truth, fit):
    rng = np.random.default_rng(0)
    sh, tex = rng.normal(size=(T, 3, 9)).astype(np.float32), np.zeros(0, np.float32)
    plain, mat = io.BytesIO(), io.BytesIO()
    np.savez(plain, **coefficient_arrays(fit, tex, sh, truth.camera))
    plain.seek(0)
    with np.load(plain, allow_pickle=False) as data:
        np.testing.assert_array_equal(data["exp"], np.float32(truth.exp_coeffs))
        assert tuple(data["exp_names"]) == truth.model.exp_names and data["id"].shape == (80,)
        np.testing.assert_array_equal(data["euler"], np.asarray(truth.pose.euler))
        np.testing.assert_array_equal(data["sh"], sh)
        assert data["valid"].sum() == T - 1 and float(data["fps"]) == 25 and str(data["model"]) == "lifted"
        assert float(data["focal"]) == 1.09375 * WIDTH
    standard = standard_track(fit, truth.landmarks, truth.camera)
    scipy.io.savemat(mat, mat_arrays(fit, tex, sh, standard))
    mat.seek(0)
    loaded = scipy.io.loadmat(mat)
    assert loaded["coeff"].shape == (T, 257) and loaded["lm_68p"].shape == (T, 68, 2)
    coeffs = unpack(jnp.asarray(loaded["coeff"], jnp.float32), n_exp=43)
    np.testing.assert_array_equal(coeffs.exp_coeffs, np.float32(truth.exp_coeffs))
    np.testing.assert_array_equal(coeffs.pose.euler, standard.pose.euler)
    np.testing.assert_allclose(loaded["coeff"][:, 227:236], sh[:, 0])
    wide = fit._replace(id_coeffs=np.zeros(81, np.float32))
    assert "coeff" not in mat_arrays(wide, tex, sh, standard)


# ------------------------------------------------------------------------- figures and motion


def test_the_truth_has_no_error_and_a_shift_has_its_own(truth, fit):
    clean = landmark_errors(fit, truth.landmarks, truth.camera)
    assert set(clean) == {"all", "lips", "eyes", "brows", "nose", "outline"} and max(clean.values()) < 0.01
    moved = truth.landmarks.copy()
    moved[:, 61, 0] += 7.0  # a corner of the lips
    moved[3] = 1e4  # not seen
    wrong = landmark_errors(fit, moved, truth.camera)
    eyes = np.linalg.norm(truth.landmarks[:, 33, :2] - truth.landmarks[:, 263, :2], axis=1)[np.arange(T) != 3]
    assert wrong["lips"] == pytest.approx((700 / eyes / 80).mean(), rel=0.02)
    assert wrong["eyes"] < 0.01 and wrong["all"] == pytest.approx((700 / eyes / 468).mean(), rel=0.1)


def test_noise_of_the_head_is_told_from_its_motion(fit):
    slow = np.linspace(0, 0.2, T)[:, None] * np.ones(3)
    noise = np.random.default_rng(0).normal(0, np.deg2rad(0.5), (T, 3))
    pose = fit.track.pose

    def of(euler: np.ndarray) -> dict[str, float]:
        turned = pose.replace(euler=jnp.asarray(euler, jnp.float32))
        return jitter(fit._replace(track=fit.track.replace(pose=turned)))

    assert of(slow)["pitch_degrees"] < 1e-3
    assert 0.2 < of(slow + noise)["yaw_degrees"] < 0.6


def test_the_motion_is_a_pose_source(truth, fit):
    track = motion_of(fit, truth.landmarks)
    back = parse_track(format_track(track))
    np.testing.assert_allclose(back.euler, truth.pose.euler, atol=2e-6)
    np.testing.assert_allclose(back.translation, truth.pose.translation, atol=1e-5)
    blink = truth.exp_coeffs[:, truth.model.exp_names.index("blink_R")]
    np.testing.assert_allclose(back.lid, blink, atol=1e-3)
    assert back.gaze.shape == (T, 2) and back.source is None
    far = fit._replace(track=fit.track.replace(pose=truth.pose.replace(euler=jnp.full((T, 3), 2.0))))
    parse_track(format_track(motion_of(far, truth.landmarks)))  # never a file that its reader refuses


# ---------------------------------------------------------------------------------- overlay


def test_edges_are_those_of_the_triangles():
    edges, beside = mesh_edges(np.array([[0, 1, 2], [2, 1, 3]]))
    assert edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]]
    assert [set(pair) for pair in beside.tolist()] == [{0}, {0}, {0, 1}, {1}, {1}]


def test_the_overlay_draws_the_face_where_it_is_and_only_its_front(truth, fit):
    overlay = Overlay(fit.model, truth.camera)
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    px = truth.landmarks[0, :468, :2].astype(np.float64)
    axes = overlay.axes_px(truth.pose)[0]
    out = overlay.draw(frame, px, axes, truth.landmarks[0, :, :2])
    assert (frame == 40).all() and (out != 40).any()
    hull = cv2.convexHull(np.round(px).astype(np.int32))
    inside = cv2.fillConvexPoly(np.zeros((HEIGHT, WIDTH), np.uint8), hull, 1)
    inside = cv2.dilate(inside, np.ones((7, 7), np.uint8)) > 0
    assert (out[~inside] == 40).all()
    nose = np.round(px[1] - 0.5).astype(int)
    assert np.abs(out[nose[1], nose[0]].astype(int) - 40).max() > 20
    lip = np.floor(truth.landmarks[0, 61, :2]).astype(int)
    assert np.abs(out[lip[1], lip[0]].astype(int) - MARK_COLOR).max() < 60
    # seen from behind there is nothing of the mesh but the border
    turned = px * [-1, 1] + [2 * px[:, 0].mean(), 0]
    back = overlay.draw(frame, turned, axes, None)
    lines = [
        (np.abs(i.astype(int) - 40) > 12).any(-1).sum() for i in (overlay.draw(frame, px, axes, None), back)
    ]
    assert lines[1] < 0.35 * lines[0] and MESH_COLOR != MARK_COLOR
