"""The reference's refiner on tiny networks: order of a step, memory, files, use; its full size."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from talkjax.infer.identity_feature import projected
from talkjax.infer.layers import Layers
from talkjax.infer.paper_refiner import (
    READ_EVERY,
    PaperData,
    PaperRefiner,
    _HandOver,
    bare_composite,
    save_paper_refiner,
)
from talkjax.infer.personal_refiner import load_refiner
from talkjax.infer.retrieval import ZoneFeatures
from talkjax.nets import memory
from talkjax.nets.blend import blend
from talkjax.rng import stream_key
from talkjax.tasks.refiner_paper import PaperBatch, PaperRefinerSettings, PaperRefinerTask, PaperState
from talkjax.train.loop import run_steps
from tests.nets.weights import random_variables

SIDE = 32
TINY = PaperRefinerSettings(
    size=SIDE,
    width=4,
    adain_hidden=16,
    discriminator_width=4,
    trunk_width=4,
    n_slots=12,
    n_keys=8,
    n_values=16,
    learning_rate=1e-3,
)


def pictures(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def identity(seed: int = 0) -> np.ndarray:
    v = np.random.default_rng(seed).normal(size=(1, TINY.n_values)).astype(np.float32)
    return v / np.linalg.norm(v)


def batch(k: int = 0) -> PaperBatch:
    window = pictures(1, SIDE, SIDE, 9, seed=2 * k)
    target = pictures(1, SIDE, SIDE, 3, seed=2 * k + 1)
    return PaperBatch(window, target, identity(k), np.array([k], np.int32))


@pytest.fixture(scope="module")
def task() -> PaperRefinerTask:
    return PaperRefinerTask(TINY)


@pytest.fixture(scope="module")
def trunk(task):
    return task.calibrated(task.random_trunk(), pictures(6, SIDE, SIDE, 3, seed=9))


@pytest.fixture(scope="module")
def state(task) -> PaperState:
    """Weights of order one, so that every layer counts; optimizers and bank as at the start."""
    picture = np.zeros((1, SIDE, SIDE, 12), np.float32)
    params = random_variables(task.generator, picture[..., :9], identity())
    discriminator = random_variables(task.discriminator, picture)
    query = random_variables(task.encoder, np.zeros((1, 8 * TINY.trunk_width), np.float32))
    adam = optax.adam(1.0)
    bank = memory.init_bank(jax.random.key(0), TINY.n_slots, TINY.n_keys, TINY.n_values)
    optimizers = (adam.init(params), adam.init(discriminator), adam.init(query))
    return PaperState(params, query, discriminator, *optimizers, bank, jnp.int32(0))


@pytest.fixture(scope="module")
def step(task):
    return jax.jit(task.train_step)


@pytest.fixture(scope="module")
def after(step, state, trunk):
    return step(state, batch(), trunk)


def assert_same(a, b, **tolerance) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **tolerance)


def test_full_size_is_the_reference_s() -> None:
    full = jax.eval_shape(PaperRefinerTask(PaperRefinerSettings()).init)
    count = {
        name: sum(leaf.size for leaf in jax.tree.leaves(getattr(full, name)))
        for name in ("params", "discriminator", "query")
    }
    assert count == {"params": 259_055_556, "discriminator": 2_774_849, "query": 512 * 512 + 512}
    assert full.bank.keys.shape == full.bank.values.shape == (30_000, 512)


def test_a_step_is_finite_and_deterministic(step, state, trunk, after) -> None:
    new, metrics = after
    assert all(np.isfinite(v) for v in metrics.values())
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
    again, _ = step(state, batch(), trunk)
    assert_same(new, again, rtol=0, atol=0)
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), new.params, state.params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.long
def test_the_order_of_updates(task, state, trunk, after) -> None:
    """The step again as four plain updates, one after the other, with gradients of whole losses."""
    new, metrics = after
    b, adam = batch(), optax.adam(TINY.learning_rate, b1=0.5, b2=0.999)

    def compiled(function, *args):
        quick = {"xla_backend_optimization_level": "0"}  # half the time to compile
        return jax.jit(function).lower(*args).compile(compiler_options=quick)(*args)

    def updated(params, loss_fn):
        loss, grads = compiled(jax.value_and_grad(loss_fn), params)
        return optax.apply_updates(params, adam.update(grads, adam.init(params))[0]), float(loss)

    def close(a, b):
        # Adam's first step is about the learning rate times the sign: tiny gradients may differ in sign
        rows = [(np.ravel(x), np.ravel(y)) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)]
        x, y = (np.concatenate(part) for part in zip(*rows, strict=True))
        return np.mean(np.abs(x - y) > 0.05 * TINY.learning_rate) < 2e-3

    feature = task.spatial_feature(trunk, b.window[..., 6:])
    query, loss = updated(
        state.query, lambda p: memory.memory_loss(state.bank, task.encoder.apply(p, feature), b.identity)
    )
    assert close(new.query, query) and metrics["memory"] == pytest.approx(loss, rel=1e-4)

    q = task.encoder.apply(query, feature)
    bank, report = memory.update(state.bank, q, b.identity, stream_key(0, "memory"), b.source)
    assert_same(new.bank, bank, atol=1e-5)
    # the key that was written is the trained layer's, not the layer's before its step
    written = new.bank.keys[report.slot[0]]
    assert np.abs(written - task.encoder.apply(state.query, feature)[0]).max() > 1e-3

    x, y = (jnp.float32(p) / 127.5 - 1 for p in (b.window, b.target))

    def paint(params):
        rngs = {"dropout": stream_key(0, "dropout")}
        outputs = task.generator.apply(params, x, b.identity, train=True, rngs=rngs)
        return blend(outputs, [x[..., 6:]]), outputs.attention[..., :1]

    def logits(params, picture):
        return task.discriminator.apply(params, jnp.concatenate([x, picture], -1))

    fake = compiled(paint, state.params)[0]
    discriminator, loss = updated(
        state.discriminator,
        lambda p: (
            0.5 * jnp.mean(jax.nn.softplus(logits(p, fake))) + 0.5 * jnp.mean(jax.nn.softplus(-logits(p, y)))
        ),
    )
    assert close(new.discriminator, discriminator)
    assert metrics["discriminator"] == pytest.approx(loss, rel=1e-4)

    def generator_loss(params, judge):
        fake, mask = paint(params)
        variation = jnp.abs(jnp.diff(mask, axis=1)).sum() + jnp.abs(jnp.diff(mask, axis=2)).sum()
        adversarial = jnp.mean(jax.nn.softplus(-logits(judge, fake)))
        return adversarial + 100 * jnp.abs(fake - y).mean() + 2 * mask.mean() + 1e-5 * variation

    params, loss = updated(state.params, lambda p: generator_loss(p, discriminator))
    assert close(new.params, params)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    before_its_step = float(compiled(generator_loss, state.params, state.discriminator))
    assert abs(before_its_step - loss) > 2e-5 * loss  # the check above can tell the two apart


@pytest.mark.long
def test_jit_equals_eager(task, state, trunk) -> None:
    b = batch()
    with jax.disable_jit():
        code = task.read(trunk, state.query, state.bank, b.window[..., 6:])
        picture = task.refine(state.params, b.identity, b.window)
    np.testing.assert_allclose(
        code, jax.jit(task.read)(trunk, state.query, state.bank, b.window[..., 6:]), atol=1e-6
    )
    np.testing.assert_allclose(picture, jax.jit(task.refine)(state.params, b.identity, b.window), atol=2e-4)


def test_the_memory_answers_with_the_identity_of_a_picture(task, step, state, trunk) -> None:
    assert np.all(state.bank.source_id == memory.EMPTY)
    for k in range(4):
        state, _ = step(state, batch(k), trunk)
    assert sorted(np.asarray(state.bank.source_id))[-5:] == [memory.EMPTY, 0, 1, 2, 3]
    for k in range(4):
        read = task.read(trunk, state.query, state.bank, batch(k).window[..., 6:])
        np.testing.assert_allclose(read, identity(k), atol=1e-6)


def test_calibration_makes_pictures_differ_in_direction(task, trunk) -> None:
    def mean_cosine(trunk) -> float:
        f = task.spatial_feature(trunk, pictures(6, SIDE, SIDE, 3, seed=9))
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        return float((f @ f.T)[np.triu_indices(6, 1)].mean())

    assert mean_cosine(task.random_trunk()) > 0.8
    assert mean_cosine(trunk) < 0.1


def test_window_and_target_share_crop_and_flip() -> None:
    rng = np.random.default_rng(0)
    enlarged = rng.integers(0, 256, (3, 36, 36, 3), np.uint8)
    data = PaperData(enlarged, enlarged, np.eye(3, dtype=np.float32), np.ones(3, bool), SIDE, flip=True)
    seen = set()
    for _ in range(20):
        b = data.batch(rng, 1)
        np.testing.assert_array_equal(b.window[..., 6:], b.target)
        assert b.window.shape == (1, SIDE, SIDE, 9)
        np.testing.assert_array_equal(b.window[..., :3], b.window[..., 3:6])  # t-2 is before the start
        seen.add(bytes(b.target))
    assert len(seen) > 15
    mirrored = dataclasses.replace(data, bare=enlarged[:, :32, :32], target=enlarged[:, :32, :32])
    starts = {int(mirrored.batch(rng, 1).target[0, 0, 0, 0]) for _ in range(20)}
    assert starts == {int(enlarged[1, 0, 0, 0]), int(enlarged[1, 0, 31, 0])}


def test_projected_identities_are_unit_and_keep_angles() -> None:
    values = np.random.default_rng(0).normal(size=(5, 48)).astype(np.float32)
    values[1] = values[0] + 0.01 * values[2]
    features = projected(values, 512)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    assert features[0] @ features[1] > 0.98 > features[0] @ features[2]


def layers_of(k: int, side: int = SIDE) -> Layers:
    rng = np.random.default_rng(100 + k)
    bare, background = rng.random((2, side, side, 3)).astype(np.float32)
    alpha = np.ones((side, side), np.float32)
    return Layers(bare, bare, bare, np.zeros((side, side), np.int8), alpha, background)


def features_of(n: int) -> ZoneFeatures:
    return ZoneFeatures(*[np.zeros((n, 4), np.float32)] * len(ZoneFeatures._fields))


def test_saved_and_loaded_it_paints_the_same(task, trunk, after, tmp_path) -> None:
    state = after[0]
    save_paper_refiner(tmp_path, TINY, state, trunk, {"loss": None}, {"generator": "starts at random"})
    loaded = load_refiner(tmp_path)
    assert isinstance(loaded, PaperRefiner) and loaded.preset == "paper"
    kept = PaperRefiner(task, state.params, state.query, state.bank, trunk)
    for side in (SIDE, 48):
        a, b = (r.sequence(features_of(2))(0, layers_of(0, side)) for r in (kept, loaded))
        assert a.shape == (side, side, 3) and a.min() >= 0 and a.max() <= 1 and a.std() > 0.01
        np.testing.assert_array_equal(a, b)


def test_codes_between_reads(task, trunk, state, monkeypatch) -> None:
    """Frame k sees the value read at frame 0, 25, ... or the last, or a mixture by distance."""
    from talkjax.infer import paper_refiner

    n, seen = 32, []
    numbers = {bare_composite(layers_of(k)).tobytes(): k for k in range(n)}
    monkeypatch.setattr(
        paper_refiner, "_read", lambda task, trunk, query, bank, p: np.float32([[numbers[p.tobytes()]]])
    )

    def refine(task, params, code, window, key):
        seen.append(float(code[0, 0]))
        return np.zeros((1, SIDE, SIDE, 3), np.float32)

    monkeypatch.setattr(paper_refiner, "_refine", refine)
    refiner = PaperRefiner(task, state.params, state.query, state.bank, trunk)
    for ahead in (layers_of, None):
        paint = refiner.sequence(features_of(n), ahead)
        for k in range(n):
            paint(k, layers_of(k))
    np.testing.assert_allclose(seen[:n], range(n), atol=1e-4)
    np.testing.assert_allclose(seen[n:], np.maximum(np.arange(n) - READ_EVERY, 0), atol=1e-4)


def test_the_training_loop_takes_a_state_that_is_handed_over(state) -> None:
    handed = jax.tree.map(_HandOver, state)
    looped = run_steps(lambda s, b: (s, {"loss": jnp.sum(b)}), handed, lambda _: np.zeros(1), 1, chunk=1)
    assert_same(looped, state, rtol=0, atol=0)
    assert all(leaf._array is None for leaf in jax.tree.leaves(handed))
