"""The face embedding's loss against loops, its batches, its data, and that steps learn."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from talkjax.data.face_samples import Paint
from talkjax.data.identity_faces import identity_batch, of_same_people
from talkjax.data.synthetic_faces import FaceScenes
from talkjax.losses.same_person import same_person
from talkjax.tasks.identity import IdentityBatch, IdentitySettings, IdentityTask
from talkjax.types import Camera, Pose

TINY = IdentitySettings(features=8, width=4, units=0, side=16, steps=30, warm_up=1, learning_rate=1e-2)


def test_loss_is_the_mean_over_partners() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(7, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    person = np.array([0, 0, 0, 1, 1, 2, 3])  # 2 and 3 are alone: they do not count
    total = []
    for i in range(5):
        others = [j for j in range(7) if j != i]
        bottom = np.log(sum(np.exp(rows[i] @ rows[j] / 0.2) for j in others))
        mine = [rows[i] @ rows[j] / 0.2 - bottom for j in others if person[j] == person[i]]
        total.append(-np.mean(mine))
    both = jax.jit(jax.value_and_grad(same_person))
    value, gradient = both(np.float32(rows), person, 0.2)
    assert value == pytest.approx(np.mean(total), rel=1e-5)
    assert np.isfinite(gradient).all()
    assert float(both(np.float32(rows), np.arange(7), 0.2)[0]) == 0.0


def test_people_keep_bones_and_paint_but_not_clothes() -> None:
    rng = np.random.default_rng(1)
    n = 6
    wide = {"side_hair": 4, "amounts": 8}
    paint = {field.name: rng.random((n, wide.get(field.name, 3))) for field in dataclasses.fields(Paint)}
    scenes = FaceScenes(
        id_coeffs=rng.normal(size=(n, 3)),
        exp_coeffs=rng.random((n, 4)),
        pose=Pose(*rng.normal(size=(2, n, 3))),
        camera=Camera(np.ones(n), np.ones((n, 2)), np.ones(n)),
        sh_coeffs=rng.normal(size=(n, 3, 9)),
        paint=Paint(**paint),
    )
    got = of_same_people(scenes, 3)
    person = np.array([0, 0, 0, 3, 3, 3])
    for name, before in paint.items():
        if name in ("cloth", "side_hair"):
            continue
        np.testing.assert_array_equal(getattr(got.paint, name), before[person])
    np.testing.assert_array_equal(got.paint.cloth, paint["cloth"])
    loose = np.c_[paint["side_hair"][:, :3], paint["side_hair"][person, 3]]
    np.testing.assert_allclose(got.paint.side_hair, loose, rtol=1e-6)
    np.testing.assert_array_equal(got.id_coeffs, scenes.id_coeffs[person])
    for same in ("exp_coeffs", "sh_coeffs", "pose", "camera"):
        assert getattr(got, same) is getattr(scenes, same)


def test_batches_hold_looks_of_chosen_people() -> None:
    pictures = np.zeros((5, 3, 24, 24, 3), np.uint8)
    pictures += np.arange(40, 240, 40, dtype=np.uint8)[:, None, None, None, None]
    batch = identity_batch(pictures, 0, 7, people=4, looks=2, side=16)
    assert batch.images.shape == (8, 16, 16, 3) and len(set(batch.person.tolist())) == 4
    assert all(batch.person[k] == batch.person[k + 1] for k in range(0, 8, 2))
    level = batch.images.mean((1, 2, 3)) / (40 * (batch.person + 1))
    assert 0.5 < level.min() < level.max() < 1.5 and level.std() > 0.01
    again = identity_batch(pictures, 0, 7, people=4, looks=2, side=16)
    np.testing.assert_array_equal(batch.images, again.images)
    assert not np.array_equal(batch.images, identity_batch(pictures, 0, 8, 4, 2, 16).images)


@pytest.mark.long
def test_steps_pull_looks_of_one_person_together() -> None:
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(4), 3)
    colors = rng.integers(60, 200, (4, 1, 1, 3))[person]
    batch = IdentityBatch(np.uint8(colors + rng.integers(-40, 41, (12, 16, 16, 3))), person)
    task = IdentityTask(TINY)
    state = jax.jit(task.init)()
    step = jax.jit(task.train_step, compiler_options={"xla_backend_optimization_level": 0})
    losses = []
    for _ in range(20):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.7 * losses[0] and int(state.step) == 20
