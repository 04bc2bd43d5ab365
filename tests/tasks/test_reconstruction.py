"""The reconstruction task on a small made-up face: the truth has no error, pictures explain themselves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets.reconstruction_net import CoeffSizes
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from talkjax.tasks.reconstruction import ReconstructionTask, draw_front
from talkjax.types import FaceCoeffs, Pose
from tests.tasks.made_up_face import N_EXP, N_ID, N_TEX, made_up_batch, made_up_measures

pytestmark = pytest.mark.long

SIDE, FULL, ROWS = 32, 36, 4
TURN = 0.2


def make_task(photometric: float) -> ReconstructionTask:
    net = SmallReconstructionNet(CoeffSizes(N_ID, N_EXP, N_TEX), width=4)
    return ReconstructionTask(net, SIDE, 100, photometric=photometric)


@pytest.fixture(scope="module")
def explained() -> dict:
    """What the losses say of the truth, of a wrong pose, of other light; one compiled function for all."""
    task, measures, batch = make_task(1.0), made_up_measures(), made_up_batch(ROWS, FULL)

    @jax.jit
    def explain(batch):
        batch = jax.tree.map(jnp.asarray, batch)
        view = task.look(batch, measures)

        def said(euler=0.0, brighter=0.0, more=0.0):
            pose = Pose(view.network_pose.euler + euler, view.network_pose.translation)
            sh = batch.sh_coeffs.at[..., 0].add(brighter)
            return FaceCoeffs(batch.id_coeffs + more, batch.exp_coeffs, batch.tex_coeffs, pose, sh)

        image, _ = draw_front(measures, said(), view.pose, view.camera, SIDE)
        own = view._replace(images=image)
        wide = said(more=1.0)
        half = batch._replace(known=jnp.array([1.0, 1.0, 0.0, 0.0]))
        return {
            "exact": task.known_terms(said(), batch, view, measures),
            "turned": task.known_terms(said(euler=jnp.array([0.0, TURN, 0.0])), batch, view, measures),
            "all": task.loss(wide, batch, view, measures)[1]["identity"],
            "half": task.loss(wide, half, view, measures)[1]["identity"],
            "seen": task.seen_terms(said(), own, measures),
            "pull": [
                jax.grad(lambda x: task.seen_terms(said(brighter=x), own, measures)["photometric"])(x)
                for x in (0.3, -0.3)
            ],
        }

    return jax.device_get(explain(batch))


def test_the_truth_has_no_error(explained) -> None:
    for name, value in explained["exact"].items():
        np.testing.assert_allclose(value, 0.0, atol=2e-3, err_msg=name)


def test_a_wrong_pose_is_a_wrong_pose_and_nothing_else(explained) -> None:
    turned = explained["turned"]
    assert np.all(turned["turn"] > 0.8 * TURN) and np.all(turned["turn"] < 1.1 * TURN)
    assert np.all(turned["landmarks"] > 0.5)
    for name in ("shape", "identity", "expression", "exp", "texture", "light"):
        np.testing.assert_allclose(turned[name], 0.0, atol=1e-6, err_msg=name)


def test_rows_without_truth_do_not_count_in_known_terms(explained) -> None:
    assert explained["all"] > 0
    np.testing.assert_allclose(explained["half"], 0.5 * explained["all"], rtol=1e-4)


def test_a_picture_of_the_model_explains_itself(explained) -> None:
    assert explained["seen"]["photometric"] < 1e-5
    assert explained["seen"]["landmark"] < 1e-2
    too_bright, too_dark = explained["pull"]
    assert too_bright > 0.01 and too_dark < -0.01


def test_a_step_follows_from_seed_and_step_alone_and_learns() -> None:
    task, measures, batch = make_task(0.0), made_up_measures(), made_up_batch(8, FULL)
    step = jax.jit(task.train_step)
    state = task.init()
    first, metrics = step(state, batch, measures)
    again, repeated = step(state, batch, measures)
    assert float(metrics["loss"]) == float(repeated["loss"])
    jax.tree.map(np.testing.assert_array_equal, first.params, again.params)
    losses = [float(metrics["loss"])]
    for _ in range(40):
        first, metrics = step(first, batch, measures)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-3:]) < 0.9 * losses[0]
