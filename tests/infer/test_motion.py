"""What the face does: mouth and eyes from where they should be, no held-out face."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from talkjax.face.person import person_model
from talkjax.infer import motion
from tests.oracles.drawn_face import drawn_neutral

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
