"""Truth that is consistent: closed lips at closures, plausible blinks and head motion, eyes on the lens."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.data.coarticulation import BILABIALS
from talkjax.data.synthetic_mesh import EYE_CENTER, PersonMesh, load_person
from talkjax.data.synthetic_motion import Motion, make_motion, rotation_matrix
from talkjax.data.synthetic_person import SyntheticTruth, make_truth
from talkjax.data.synthetic_voice import fit_voice, load_voice
from talkjax.face.pose import rotation

FPS, SECONDS = 25.0, 60.0


@pytest.fixture(scope="module")
def mesh() -> PersonMesh:
    return load_person()


@pytest.fixture(scope="module")
def motion(mesh: PersonMesh) -> Motion:
    return make_motion(
        mesh, fit_voice(load_voice("voice_train"), SECONDS).phones, int(FPS * SECONDS), FPS, seed=0
    )


@pytest.fixture(scope="module")
def truth(mesh: PersonMesh, motion: Motion) -> SyntheticTruth:
    return make_truth(mesh, motion, fit_voice(load_voice("voice_train"), SECONDS), FPS, (480, 480), 0)


def _opening_at_centers(truth: SyntheticTruth, phones: tuple[str, ...]) -> np.ndarray:
    """Lip opening in the frame that shows the middle of each occurrence."""
    frames = [int(0.5 * (start + end) * FPS) for phone, start, end in truth.phones if phone in phones]
    return truth.lip_opening[[k for k in frames if k < len(truth.lip_opening)]]


def test_lips_are_closed_at_bilabials_and_open_at_open_vowels(truth: SyntheticTruth) -> None:
    closed, opened = (
        _opening_at_centers(truth, BILABIALS),
        _opening_at_centers(truth, ("aa", "ae", "ay", "aw")),
    )
    assert len(closed) > 60 and closed.max() < 0.012
    assert len(opened) > 15 and opened.mean() > 0.07
    assert 0.02 < truth.lip_opening.std() < 0.08 and truth.lip_opening.max() < 0.25


def test_rounded_vowels_are_narrow(truth: SyntheticTruth) -> None:
    def width(phones: tuple[str, ...]) -> float:
        return float(
            np.mean([truth.lip_width[int(0.5 * (s + e) * FPS)] for p, s, e in truth.phones if p in phones])
        )

    assert width(("uw", "w", "ow")) < width(("iy", "ey", "eh")) - 0.03


def test_blinks_are_as_frequent_and_as_asymmetric_as_people_s(motion: Motion) -> None:
    assert 12 <= len(motion.blink_times) * 60 / SECONDS <= 24
    assert motion.blink.max() > 0.9
    closing = opening = 0
    for at in motion.blink_times:
        part = motion.blink[int(at * FPS) : int((at + 0.4) * FPS) + 1]
        peak = int(part.argmax())
        closing += int(((part[:peak] > 0.05) & (part[:peak] < 0.95)).sum())
        opening += int(((part[peak + 1 :] > 0.05) & (part[peak + 1 :] < 0.95)).sum())
    assert opening > 1.5 * closing


def test_head_moves_a_few_degrees_smoothly(motion: Motion) -> None:
    degrees = np.degrees(motion.head_euler)
    assert (degrees.std(0) > (0.7, 1.5, 0.7)).all() and (np.abs(degrees) < 20).all()
    assert np.abs(np.diff(degrees, n=2, axis=0)).max() < 1.0


def test_rotation_agrees_with_the_pose_convention() -> None:
    euler = np.random.default_rng(1).uniform(-0.6, 0.6, (7, 3))
    np.testing.assert_allclose(
        rotation_matrix(euler), np.asarray(rotation(jnp.asarray(euler, jnp.float32))), atol=1e-6
    )


def test_eyes_stay_near_the_lens_while_the_head_turns(motion: Motion) -> None:
    gaze = np.concatenate([motion.gaze, np.zeros((len(motion.gaze), 1))], -1)
    head = rotation_matrix(motion.head_euler)
    world = np.einsum("tij,tjk,k->ti", head, rotation_matrix(gaze), (0.0, 0.0, 1.0))
    eyes = np.einsum("tij,j->ti", head, EYE_CENTER * (0, 1, 1)) + motion.head_translation
    toward = np.array((0.0, 0.0, 10.0)) - eyes
    cosine = (world * toward).sum(-1) / np.linalg.norm(toward, axis=-1)
    assert np.median(np.degrees(np.arccos(cosine))) < 5.0


def test_same_seed_same_motion_other_seed_another(mesh: PersonMesh) -> None:
    phones = load_voice("voice_drive").phones
    first, again, other = (make_motion(mesh, phones, 100, FPS, seed) for seed in (3, 3, 4))
    for name in ("exp_weights", "head_euler", "gaze", "blink"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.head_euler, other.head_euler)
