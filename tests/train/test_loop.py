"""The training loop: same losses looped and scanned, exact resume, and an orderly end in every case."""

from __future__ import annotations

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import EXIT_DIVERGED, EXIT_RESUMABLE, DivergedError, ResumableStop
from talkjax.nets import convs
from talkjax.rng import stream_key
from talkjax.train.checkpoint import restore_checkpoint, save_checkpoint
from talkjax.train.loop import StopSignals, run_steps


def make_state():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 2)), jnp.float32)
    return {
        "w": w,
        "velocity": jnp.zeros_like(w),
        "average": w,
        "step": jnp.int32(0),
        "key": jax.random.key(3),
    }


def batch_at(step: int):
    return {
        "x": np.random.default_rng(step).normal(size=(1, 6, 6, 2)).astype(np.float32),
        "scale": np.float32(1),
    }


def step_fn(state, batch, data=None):
    """Momentum on a line fit that depends on the state's own step; its key only rides along."""
    x = batch["x"] + 0.1 * jnp.sin(state["step"])
    if data is not None:
        x = x + data["offset"]

    def loss_of(w):
        return batch["scale"] * jnp.mean(jnp.square(convs.conv(x, w, 1, 1) - 1))

    loss, g = jax.value_and_grad(loss_of)(state["w"])
    velocity = 0.9 * state["velocity"] + g
    w = state["w"] - 0.05 * velocity
    new = {
        **state,
        "w": w,
        "velocity": velocity,
        "average": 0.9 * state["average"] + 0.1 * w,
        "step": state["step"] + 1,
    }
    return new, {"loss": loss, "grad_norm": jnp.sqrt(jnp.sum(g * g))}


def train(n_steps, state=None, **how):
    losses = []
    state = run_steps(
        how.pop("step_fn", step_fn),
        make_state() if state is None else state,
        how.pop("batch_fn", batch_at),
        n_steps,
        on_step=lambda step, metrics: losses.append((step, metrics["loss"])),
        **how,
    )
    return state, losses


def raw(state):
    return {k: np.asarray(jax.random.key_data(v) if k == "key" else v) for k, v in state.items()}


def assert_equal(a, b, **tolerance) -> None:
    for name, x in raw(a).items():
        np.testing.assert_allclose(x, raw(b)[name], err_msg=name, **tolerance)


def test_scanned_chunks_give_the_losses_of_the_loop() -> None:
    looped, expected = train(10)
    assert [step for step, _ in expected] == list(range(10))
    assert expected[-1][1] < expected[0][1]
    scanned, losses = train(10, chunk=4)
    assert [step for step, _ in losses] == list(range(10))
    np.testing.assert_allclose([v for _, v in losses], [v for _, v in expected], rtol=1e-6)
    assert_equal(scanned, looped, rtol=1e-5, atol=1e-6)


def test_data_stays_outside_the_batch() -> None:
    data = {"offset": np.float32(0.5)}
    _, a = train(3, data=data)
    _, b = train(3, data=data, chunk=2)
    _, c = train(3)
    np.testing.assert_allclose([v for _, v in a], [v for _, v in b], rtol=1e-6)
    assert abs(a[0][1] - c[0][1]) > 1e-4


def test_the_callers_state_survives_donation() -> None:
    state = make_state()  # w and average are one buffer: donating it twice would fail
    before = raw(state)
    train(2, state)
    np.testing.assert_array_equal(state["w"], before["w"])
    assert jax.random.normal(state["key"]).shape == ()


@pytest.mark.parametrize("chunk", [1, 4])
def test_saves_at_every_multiple_whatever_the_chunk(chunk) -> None:
    saved = []
    train(8, chunk=chunk, save_every=3, save_fn=lambda state, step: saved.append((step, int(state["step"]))))
    assert saved == [(3, 3), (6, 6)]


@pytest.mark.parametrize("chunk", [1, 3])
def test_stop_saves_and_resume_is_exact(tmp_path, chunk) -> None:
    whole, expected = train(9, chunk=chunk)

    def save(state, step):
        save_checkpoint(tmp_path, step, state, config_hash="h")

    asked = iter([False, True])
    with pytest.raises(ResumableStop, match="of 9, saved: run the same command again") as caught:
        train(9, chunk=chunk, save_fn=save, stop_requested=lambda: next(asked))
    assert caught.value.exit_code == EXIT_RESUMABLE
    state, step = restore_checkpoint(tmp_path, make_state(), config_hash="h")
    assert step == 2 * chunk
    resumed, losses = train(9, state, start=step, chunk=chunk)
    assert losses == expected[step:]
    assert_equal(resumed, whole, rtol=0)


def test_a_stop_after_the_last_step_is_no_stop() -> None:
    _, losses = train(1, stop_requested=lambda: True)
    assert len(losses) == 1


@pytest.mark.parametrize("chunk", [1, 5])
def test_a_bad_step_changes_nothing(chunk) -> None:
    def batches(step):
        batch = batch_at(step)
        return {**batch, "scale": np.float32(np.nan if step in (1, 3) else 1)}

    state, losses = train(5, batch_fn=batches, chunk=chunk)
    assert [np.isnan(v) for _, v in losses] == [False, True, False, True, False]
    assert int(state["step"]) == 3
    expected, _ = train(3, batch_fn=lambda i: batch_at(2 * i))
    assert_equal(state, expected, rtol=1e-6, atol=1e-7)


def test_an_infinite_gradient_with_a_finite_loss_is_a_bad_step() -> None:
    def sick(state, batch):
        return {**state, "w": state["w"] + jnp.inf}, {
            "loss": jnp.float32(1),
            "grad_norm": jnp.float32(jnp.inf),
        }

    with pytest.raises(DivergedError):
        train(9, step_fn=sick)


@pytest.mark.parametrize("chunk", [1, 4])
def test_divergence_ends_the_run(chunk) -> None:
    def batches(step):
        return {**batch_at(step), "scale": np.float32(1 if step < 2 else np.inf)}

    with pytest.raises(DivergedError, match=r"3 steps in a row.*up to step 4") as caught:
        train(20, batch_fn=batches, chunk=chunk, max_bad_steps=3)
    assert caught.value.exit_code == EXIT_DIVERGED


@pytest.mark.skipif(os.name != "posix", reason="sends itself a signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(number) -> None:
    saved = []
    before = signal.getsignal(number)

    def kick(step, metrics):
        if step == 2:
            os.kill(os.getpid(), number)

    with StopSignals() as stop, pytest.raises(ResumableStop):
        run_steps(
            step_fn,
            make_state(),
            batch_at,
            50,
            on_step=kick,
            save_fn=lambda state, step: saved.append(step),
            stop_requested=stop,
        )
    assert saved == [3]
    assert signal.getsignal(number) == before


def test_random_numbers_of_a_step_do_not_depend_on_the_chunk() -> None:
    def noisy(state, batch):
        key = jax.random.fold_in(state["key"], state["step"])
        return step_fn(state, {**batch, "x": batch["x"] + jax.random.uniform(key, batch["x"].shape)})

    def batches(step):
        return {**batch_at(step), "key": stream_key(1, "crop", step)}

    _, looped = train(4, step_fn=noisy, batch_fn=batches)
    _, scanned = train(4, step_fn=noisy, batch_fn=batches, chunk=2)
    np.testing.assert_allclose(scanned, looped, rtol=1e-6)
