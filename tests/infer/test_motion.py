"""What the face does: mouth and eyes from where they should be, rest in silence, no held-out face."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from talkjax.face.person import person_model
from talkjax.infer import motion
from tests.oracles.drawn_face import drawn_neutral


def test_the_mouth_rests_only_in_long_silences():
    rng = np.random.default_rng(0)
    exp, rest = rng.normal(1.0, 0.2, (100, 4)).astype(np.float32), np.array([0.1, 0.0, 0.2, 0.3], np.float32)
    active = np.ones(100, bool)
    active[10 : 10 + motion.SILENCE_FRAMES - 1] = False  # a pause between words
    active[50:80] = False
    out = motion.rest_in_silence(exp, active, rest)
    np.testing.assert_array_equal(out[active], exp[active])  # speech is never touched
    np.testing.assert_array_equal(out[:50], exp[:50])
    np.testing.assert_allclose(out[55:75], np.tile(rest, (20, 1)), atol=1e-6)
    share = (out[50:80, 0] - exp[50:80, 0]) / (rest[0] - exp[50:80, 0])
    assert np.all(np.diff(share[:10]) > -1e-5) and np.all(np.diff(share[-10:]) < 1e-5)
    assert np.abs(np.diff(share)).max() < 0.35  # it closes and opens, it does not snap


def test_silence_at_both_ends_and_everywhere():
    exp, rest = np.ones((40, 2), np.float32), np.zeros(2, np.float32)
    out = motion.rest_in_silence(exp, np.zeros(40, bool), rest)
    np.testing.assert_allclose(out, 0, atol=1e-6)
    active = np.zeros(40, bool)
    active[15:25] = True
    out = motion.rest_in_silence(exp, active, rest)
    np.testing.assert_allclose(out[[0, 39]], 0, atol=1e-6)
    np.testing.assert_array_equal(out[15:25], 1)


# ------------------------------------------------------------------------------ with a person


@pytest.fixture(scope="module")
def person() -> SimpleNamespace:
    """Model and training segment, all that the motion functions read."""
    model = person_model(drawn_neutral(), n_id=2)
    rng = np.random.default_rng(4)
    t = 40
    train = SimpleNamespace(
        exp=rng.uniform(0, 0.3, (t, len(model.exp_names))).astype(np.float32),
        euler=rng.normal(size=(t, 3)),
        translation=rng.normal(size=(t, 3)),
        sh=rng.normal(size=(t, 3, 9)),
        valid=np.ones(t, bool),
        landmarks=rng.normal(size=(t, 478, 3)),
    )

    class _Person(SimpleNamespace):
        def __len__(self) -> int:
            return t

    train = _Person(**vars(train))
    return SimpleNamespace(model=model, train=train)


def test_mouth_from_the_voice_and_the_rest_from_the_frames(person):
    spoken = np.full((6, len(person.model.exp_names)), 9.0, np.float32)
    source = np.array([3, 4, 5, 4, 3, 2])
    out = motion.speaking_motion(person, spoken, source)
    names = person.model.exp_names
    for e, name in enumerate(names):
        lids_or_brows = any(part in name for part in ("blink", "squint", "wide", "brow"))
        wanted = person.train.exp[source, e] if lids_or_brows else spoken[:, e]
        np.testing.assert_array_equal(out.exp[:, e], wanted, err_msg=name)
    assert {"jawOpen", "pucker"} <= {
        n for n, up in zip(names, motion.upper_face(person.model), strict=True) if not up
    }
    np.testing.assert_array_equal(out.euler, person.train.euler[source])
    np.testing.assert_array_equal(out.sh, person.train.sh[source])
    np.testing.assert_array_equal(out.source, source)


def test_drive_audio_looks_at_no_expression_of_the_held_out_frames(person):
    class _Heldout(SimpleNamespace):
        def __len__(self) -> int:
            return 30

    unknown = np.full((30, 478, 3), np.nan)
    heldout = _Heldout(
        exp=unknown[:, : len(person.model.exp_names), 0],
        landmarks=unknown,
        euler=np.arange(90.0).reshape(30, 3),
        translation=np.ones((30, 3)),
        sh=np.ones((30, 3, 9)),
    )
    spoken = np.zeros((30, len(person.model.exp_names)), np.float32)
    out = motion.blind_motion(person, spoken, heldout, seed=0)
    assert np.isfinite(out.exp).all() and np.isfinite(out.gaze).all()
    np.testing.assert_array_equal(out.euler, heldout.euler)
    np.testing.assert_array_equal(out.source, np.arange(30))
    again = motion.blind_motion(person, spoken, heldout, seed=0)
    np.testing.assert_array_equal(out.exp, again.exp)


def test_rest_is_the_mouth_of_the_most_closed_frames(person):
    jaw = person.model.exp_names.index("jawOpen")
    exp = np.zeros_like(person.train.exp)
    exp[:, jaw] = np.linspace(1.0, 0.05, len(exp))  # it closes in the course of the clip
    valid = np.ones(len(exp), bool)
    valid[-1] = False  # the most closed one was not really seen
    train = SimpleNamespace(exp=exp, valid=valid)
    rest = motion.rest_expression(SimpleNamespace(model=person.model, train=train))
    assert rest[jaw] == pytest.approx(np.median(exp[-5:-1, jaw]))
