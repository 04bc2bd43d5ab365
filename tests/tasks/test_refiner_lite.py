"""The lite refiner's training step: finite, repeatable, the same compiled, honest with its memory."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets import memory
from talkjax.tasks import refiner_lite
from talkjax.tasks.refiner_lite import (
    LiteRefinerSettings,
    LiteRefinerTask,
    RefinerBatch,
    RefinerInputs,
    RefinerState,
)
from talkjax.types import EYES, MOUTH, SKIN, MemoryBank
from tests.nets.weights import draw, random_variables

SIZE, N_FEATURES, N_VALUES = 32, 6, 10
SETTINGS = LiteRefinerSettings(
    size=SIZE, n_features=N_FEATURES, n_values=N_VALUES, n_slots=64, steps=50, width=8, gan_weight=0.1
)


def _batch(size: int = SIZE, n: int = 1, seed: int = 0) -> RefinerBatch:
    """Noisy copies of one picture as candidates; the target is that picture, a little darker."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(60, 200, (n, size, size, 3))

    def noisy(amount: float) -> np.ndarray:
        return np.clip(base + rng.normal(0, amount, base.shape), 0, 255).astype(np.uint8)

    region = np.full((n, size, size), -1, np.int8)
    region[:, size // 8 : -size // 8, size // 8 : -size // 8] = SKIN
    region[:, size // 2 : size // 2 + 4, size // 3 : -size // 3] = MOUTH
    region[:, size // 4 : size // 4 + 3, size // 3 : -size // 3] = EYES
    window = np.concatenate([noisy(20), noisy(20), noisy(20)], -1)
    features = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
    values = rng.normal(size=(n, N_VALUES)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    inputs = RefinerInputs(window, noisy(10), noisy(10), region, features)
    weight = np.full((n, size, size), 85, np.uint8)
    return RefinerBatch(inputs, (0.8 * base).astype(np.uint8), weight, values, np.arange(n, dtype=np.int32))


@pytest.fixture(scope="module")
def task() -> LiteRefinerTask:
    return LiteRefinerTask(SETTINGS)


def _fresh_state(task: LiteRefinerTask) -> RefinerState:
    """As `init` makes it, without compiling all its random numbers."""
    shapes = jax.eval_shape(task.init)
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if len(leaf.shape) < 2:
            return jnp.zeros(leaf.shape, leaf.dtype)
        return jnp.asarray(rng.normal(0, 1 / np.sqrt(np.prod(leaf.shape[:-1])), leaf.shape), leaf.dtype)

    params = jax.tree.map(fill, shapes.params)
    params["params"]["head"]["kernel"] *= 0.1
    bias = np.zeros(params["params"]["head"]["bias"].shape[0]).reshape(4, -1)
    bias[:, 6], bias[:, -1] = 0.5, -2.0  # the generator's own: the first candidate, little paint
    params["params"]["head"]["bias"] = jnp.asarray(bias.reshape(-1), jnp.float32)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    bank = memory.init_bank(jax.random.key(0), SETTINGS.n_slots, refiner_lite.KEY_DIM, N_VALUES)
    return zeros.replace(
        params=params,
        average=jax.tree.map(jnp.copy, params),
        query=fill(shapes.query),
        discriminator=jax.tree_util.tree_map_with_path(
            lambda path, leaf: jnp.ones(leaf.shape) if path[-1].key == "scale" else fill(leaf),
            shapes.discriminator,
        ),
        bank=bank,
    )


@pytest.fixture(scope="module")
def state(task) -> RefinerState:
    return _fresh_state(task)


@pytest.fixture(scope="module")
def step(task):
    return jax.jit(task.train_step)


def test_steps_are_finite_repeatable_and_learn(step, state):
    def run() -> tuple[RefinerState, list[float]]:
        now, losses = state, []
        for _ in range(25):
            now, metrics = step(now, _batch())
            assert all(np.isfinite(float(v)) for v in metrics.values())
            losses.append(float(metrics["loss"]))
        return now, losses

    (first, losses), (second, again) = run(), run()
    assert losses == again and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:3])
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert int(first.step) == 25
    leaves = [jax.tree.leaves(tree) for tree in (state.params, first.params, first.average)]
    moved = [float(jnp.abs(b - a).max()) for a, b in zip(leaves[0], leaves[1], strict=True)]
    lag = [float(jnp.abs(b - a).max()) for a, b in zip(leaves[1], leaves[2], strict=True)]
    assert max(moved) > 1e-3 and 0 < max(lag) < max(moved)  # the average trails the parameters


@pytest.mark.long
def test_compiled_gradients_are_the_plain_pictures_slope(task):
    """XLA on CPU has compiled convolutions wrongly before; the forward pass op by op is the reference."""
    inputs = _batch(seed=1).inputs
    blank, code = jnp.zeros((1, SIZE, SIZE, 18)), jnp.ones((1, N_VALUES))
    params = random_variables(task.generator, blank, code)
    wanted = draw(1, SIZE, SIZE, 3, seed=4)

    def loss(params):
        return jnp.sum(wanted * task.refine(params, code, inputs))

    compiled, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert float(compiled) == pytest.approx(float(loss(params)), rel=1e-4)
    length = float(jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient))))
    step = 2e-3 / length
    ahead, behind = (
        float(loss(jax.tree.map(lambda p, g, sign=sign: p + sign * step * g, params, gradient)))
        for sign in (1, -1)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(length**2, rel=0.05)


def test_untrained_it_shows_the_bare_render(task, state):
    batch = _batch(seed=2)
    out = np.asarray(task.refine(state.params, jnp.zeros((1, N_VALUES)), batch.inputs))
    bare = np.asarray(refiner_lite.to_signed(jnp.asarray(batch.inputs.window[..., -3:])))
    assert out.shape == bare.shape and np.abs(out).max() <= 1.6
    assert np.corrcoef(out.ravel(), bare.ravel())[0, 1] > 0.8


def test_the_plain_step_leaves_the_discriminator_alone(step, state):
    after, metrics = step(state, _batch())
    assert "discriminator" not in metrics
    jax.tree.map(np.testing.assert_array_equal, state.discriminator, after.discriminator)


@pytest.mark.long
def test_the_adversarial_step_trains_the_discriminator():
    size = refiner_lite.PATCH
    task = LiteRefinerTask(dataclasses.replace(SETTINGS, size=size, width=4, gan_weight=10.0))
    state, batch = _fresh_state(task), _batch(size)
    step = jax.jit(task.adversarial_step)
    now, losses = state, []
    for _ in range(4):
        now, metrics = step(now, batch)
        assert all(np.isfinite(float(v)) for v in metrics.values())
        losses.append(float(metrics["discriminator"]))
    assert losses[-1] < losses[0]  # real and fake are easy to tell here
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.discriminator, now.discriminator)
    assert min(jax.tree.leaves(moved)) > 0 or np.median(jax.tree.leaves(moved)) > 1e-4


# ----------------------------------------------------------------------------------- memory


def _bank(sources: list[int]) -> MemoryBank:
    """Slots of the given frames, all as near to any query as the others; values tell the frame."""
    n = len(sources)
    keys = np.ones((n, refiner_lite.KEY_DIM), np.float32) / np.sqrt(refiner_lite.KEY_DIM)
    values = np.tile(np.array(sources, np.float32)[:, None], (1, N_VALUES))
    return MemoryBank(jnp.asarray(keys), jnp.asarray(values), jnp.zeros(n), jnp.asarray(sources, jnp.int32))


def test_memory_is_never_read_near_the_own_frame(task):
    bank = _bank(list(range(0, 30)))
    query = jnp.ones((N_FEATURES, refiner_lite.KEY_DIM))
    features = jnp.ones((3, N_FEATURES))
    own = jnp.array([0, 15, 29])
    code = np.asarray(task.read_code(bank, query, features, own))[:, 0]
    # equal scores: the four lowest slots outside +-10 frames are averaged
    np.testing.assert_allclose(code, [12.5, 1.5, 1.5], atol=1e-4)
    free = np.asarray(task.read_code(bank, query, features))[:, 0]
    np.testing.assert_allclose(free, 1.5, atol=1e-4)


def test_an_empty_or_exhausted_memory_reads_zero(task, state):
    query = jnp.ones((N_FEATURES, refiner_lite.KEY_DIM))
    features = jnp.ones((1, N_FEATURES))
    assert not np.any(np.asarray(task.read_code(state.bank, query, features)))
    only_near = _bank([5, 6, 7, memory.EMPTY])
    out = np.asarray(task.read_code(only_near, query, features, jnp.array([6])))
    assert np.isfinite(out).all() and not out.any()


def test_nearer_slots_weigh_more(task):
    bank = _bank([0, 1])
    keys = np.zeros((2, refiner_lite.KEY_DIM), np.float32)
    keys[0, 0], keys[1] = 1, np.r_[0.8, 0.6, np.zeros(refiner_lite.KEY_DIM - 2)]
    query = np.zeros((N_FEATURES, refiner_lite.KEY_DIM), np.float32)
    query[:, 0] = 1
    code = task.read_code(bank.replace(keys=jnp.asarray(keys)), jnp.asarray(query), jnp.ones((1, N_FEATURES)))
    weight = np.exp(20 * 0.8) / (np.exp(20 * 0.8) + np.exp(20 * 1.0))
    assert float(code[0, 0]) == pytest.approx(weight, rel=1e-3)


def test_every_step_writes_its_frame_into_the_memory(step, state):
    now = state
    for k in range(3):
        batch = _batch(seed=k)
        now, _ = step(now, batch._replace(source=np.array([100 + k], np.int32)))
    written = np.asarray(now.bank.source_id)
    assert sorted(written[written != memory.EMPTY].tolist()) == [100, 101, 102]
    slot = int(np.flatnonzero(written == 101)[0])
    np.testing.assert_allclose(np.asarray(now.bank.values[slot]), _batch(seed=1).values[0], atol=1e-6)
