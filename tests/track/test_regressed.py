"""The small network on real frames, against the fit of the same frames; and what its answers fit to."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.face.camera import clip_camera
from talkjax.face.crop_pose import network_camera, repose
from talkjax.face.person import person_model
from talkjax.track.clip_fit import fit_of_network
from talkjax.track.landmarks import track_landmarks
from talkjax.track.lift import rigid_pose
from talkjax.track.regressed import LOOKS, as_one_look, face_squares, regress_clip, small_network
from talkjax.types import FaceCoeffs, FaceModel, Pose
from tests.oracles.drawn_face import drawn_neutral


@pytest.fixture(scope="module")
def tracked(clip_frames, models):
    found = track_landmarks(clip_frames[::4], models)
    return clip_frames[::4], found.landmarks, found.valid


@pytest.fixture(scope="module")
def said(tracked):
    frames, landmarks, valid = tracked
    return regress_clip(landmarks, valid, clip_camera(1280, 720), frames)


def model_of(names: tuple[str, ...], k: int) -> FaceModel:
    """A face with as many axes as the network has, none of which moves anything."""
    base = person_model(drawn_neutral(), n_id=1)
    return dataclasses.replace(
        base,
        id_basis=jnp.zeros((k, 468, 3)),
        exp_basis=jnp.zeros((len(names), 468, 3)),
        exp_signed=jnp.zeros(len(names), bool),
        exp_names=names,
        name="other",
    )


@pytest.mark.clip
def test_real_frames_get_the_pose_that_their_landmarks_have(tracked, said):
    _, landmarks, _ = tracked
    assert said.valid.all() and said.model == "ict" and len(said.exp_names) == 53
    euler = np.rad2deg(said.coeffs.pose.euler)
    rough = np.rad2deg(np.asarray(rigid_pose(landmarks, drawn_neutral(), clip_camera(1280, 720)).euler))
    for axis, limit in ((1, 5.0), (2, 4.0)):  # yaw, roll; the drawn neutral's pitch is its own
        assert np.abs(euler[:, axis] - rough[:, axis]).mean() < limit
    depth = 10 - said.coeffs.pose.translation[:, 2]
    assert depth.min() > 4 and depth.max() < 12  # dm from the camera
    assert np.abs(said.identity()).max() < 3


@pytest.mark.clip
def test_a_frame_without_a_face_repeats_its_neighbor_and_says_so(tracked):
    _, landmarks, valid = tracked
    lost = valid.copy()
    lost[3] = False
    squares, seen = face_squares(landmarks, lost, clip_camera(1280, 720))
    assert seen.tolist() == lost.tolist()
    assert squares.center[3].tolist() in (squares.center[2].tolist(), squares.center[4].tolist())


@pytest.mark.clip
def test_answers_fit_to_their_own_model_alone(said):
    k = said.coeffs.id_coeffs.shape[-1]
    fit = fit_of_network(said, model_of(said.exp_names, k))
    assert np.asarray(fit.track.exp_coeffs).min() == 0.0
    np.testing.assert_allclose(fit.id_coeffs, said.identity(), atol=1e-6)
    for other in (None, model_of(said.exp_names[:-1], k), model_of(said.exp_names, k - 1)):
        with pytest.raises(InputError, match="does not answer in the axes"):
            fit_of_network(said, other)


def test_the_network_ships_with_what_is_needed_to_use_it():
    answer, about = small_network()
    left = np.random.default_rng(0).integers(0, 256, (1, about["side"], about["side"], 3), np.uint8)
    left[:, :, 56:] //= 3
    coeffs = answer(np.concatenate([left, left[:, :, ::-1]]))
    sizes = about["sizes"]
    assert not any("/" in str(value) for value in about["config"].values())  # no machine's folders
    assert coeffs.id_coeffs.shape == (2, sizes["id"]) and coeffs.exp_coeffs.shape == (2, sizes["exp"])
    assert coeffs.sh_coeffs.shape == (2, 3, 9) and np.isfinite(coeffs.exp_coeffs).all()
    assert len(about["exp_names"]) == sizes["exp"] and len(about["head_center"]) == 3
    # in a mirror a face turns, tilts and winks the other way
    turn, back = np.asarray(coeffs.pose.euler)
    np.testing.assert_allclose(back, turn * [1, -1, -1], atol=1e-5)
    assert np.abs(turn[1:]).max() > 1e-3
    exp = dict(zip(about["exp_names"], np.asarray(coeffs.exp_coeffs).T, strict=True))
    for a, b in (("eyeBlink_L", "eyeBlink_R"), ("jawLeft", "jawRight"), ("jawOpen", "jawOpen")):
        np.testing.assert_allclose(exp[a], exp[b][::-1], atol=1e-5)


def test_looks_from_beside_are_told_as_one_from_the_middle():
    """One head seen through the shifted windows: its pose before each camera, brought back, is one."""
    middle, side = jnp.asarray([0.0, -0.2, 0.1]), 112
    pose = Pose(jnp.asarray([[0.1, -0.2, 0.05]]), jnp.asarray([[0.2, -0.1, 0.3]]))
    straight = network_camera(jnp.full((1, 2), side / 2), jnp.full((1,), float(side)))
    shifts = [network_camera(jnp.asarray([[56.0 + x, 56.0 + y]]), jnp.full((1,), 112.0)) for x, y in LOOKS]
    seen = [repose(pose, middle, straight, camera) for camera in shifts]
    assert np.abs(seen[0].euler - seen[1].euler).max() > 1e-3
    euler, place = (jnp.concatenate([getattr(p, n) for p in seen]) for n in ("euler", "translation"))
    said = FaceCoeffs(
        jnp.zeros((3, 2)),
        jnp.arange(3.0)[:, None],
        jnp.zeros((3, 1)),
        Pose(euler, place),
        jnp.zeros((3, 3, 9)),
    )
    told = as_one_look(said, middle, side)
    np.testing.assert_allclose(told.pose.euler, pose.euler, atol=1e-5)
    np.testing.assert_allclose(told.pose.translation, pose.translation, atol=1e-4)
    np.testing.assert_allclose(told.exp_coeffs, [[1.0]])


def test_no_face_at_all_has_no_square():
    camera = clip_camera(640, 480)
    squares, seen = face_squares(np.full((3, 478, 3), np.nan), np.zeros(3, bool), camera)
    assert not seen.any() and np.isfinite(squares.center).all()
