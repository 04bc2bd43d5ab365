"""Frames that travel come back; gates switch off what they name; splits share no frame."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.infer import compose
from talkjax.nets import memory
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask
from talkjax.types import EYES, MOUTH, SKIN, MemoryBank
from tests.benchmarks import bench_memory, memory_figures
from tests.benchmarks.refiner_frames import FACES, Frames, Writer, read_frames, write_frames
from tests.benchmarks.refiner_variants import POOL, STRIDE, Gates, VariantTask, as_arrays
from tests.nets.weights import random_variables

SIZE, N_FEATURES, N_VALUES = 32, 6, 10
SETTINGS = LiteRefinerSettings(
    size=SIZE, n_features=N_FEATURES, n_values=N_VALUES, n_slots=96, steps=4, width=8
)


def _region(size: int = SIZE) -> np.ndarray:
    region = np.full((size, size), -1, np.int8)
    region[4:-4, 6:-6] = SKIN
    region[20:23, 12:20] = MOUTH
    region[10:12, 10:22] = EYES
    return region


def _smooth(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    coarse = rng.uniform(40, 210, (4, 4, 3))
    return np.kron(coarse, np.ones((size // 4, size // 4, 1))).astype(np.uint8)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[Frames, list[dict[str, np.ndarray]]]:
    """Two people, four frames each, written and read back; and what was written."""
    rng, writer, written = np.random.default_rng(0), Writer(95), []
    region = _region()
    alpha = compose.face_alpha(region)[..., None]
    for k in range(8):
        target = _smooth(rng)
        faces = {n: (target + alpha * (_smooth(rng) - target.astype(float))).astype(np.uint8) for n in FACES}
        rows: dict[str, Any] = {"valid": True, "features": np.full(N_FEATURES, k, np.float32)}
        rows |= {"values": np.full(N_VALUES, k, np.float32), "identity": np.int32(k // 4)}
        writer.add(target, region, faces, frame=np.int32(k % 4), **rows)
        written.append({"target": target, "region": region, **faces})
    path = tmp_path_factory.mktemp("frames") / "frames.npz"
    write_frames(path, writer.arrays("train"), {})
    return read_frames(path)["train"], written


def test_frames_come_back(frames: tuple[Frames, list[dict[str, np.ndarray]]]) -> None:
    read, written = frames
    off = compose.face_alpha(_region()) == 0
    for k, row in enumerate(written):
        np.testing.assert_array_equal(read.region[k], row["region"])
        for name in FACES:
            made = getattr(read, name)[k]
            np.testing.assert_array_equal(made[off], read.target[k][off])
            assert np.abs(made.astype(float) - row[name]).mean() < 4
    np.testing.assert_array_equal(read.features[:, 0], np.arange(8))


def test_window_stays_within_a_person(frames: tuple[Frames, list[dict[str, np.ndarray]]]) -> None:
    read, _ = frames
    np.testing.assert_array_equal(read.bare1[4], read.bare[4])
    np.testing.assert_array_equal(read.bare2[5], read.bare[4])
    np.testing.assert_array_equal(read.bare2[7], read.bare[5])


def _bank() -> tuple[MemoryBank, np.ndarray]:
    rng = np.random.default_rng(1)
    keys = rng.normal(size=(96, 32)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    source = np.where(np.arange(96) % 3 == 0, memory.EMPTY, np.arange(96) % 2 * STRIDE + np.arange(96))
    values = rng.normal(size=(96, N_VALUES)).astype(np.float32)
    bank = MemoryBank(
        keys=jnp.asarray(keys),
        values=jnp.asarray(values),
        age=jnp.zeros(96),
        source_id=jnp.asarray(source, jnp.int32),
    )
    return bank, rng.normal(size=(N_FEATURES, 32)).astype(np.float32)


def test_reading_is_the_task_s_own_unless_restricted() -> None:
    bank, query = _bank()
    features = np.random.default_rng(2).normal(size=(5, N_FEATURES)).astype(np.float32)
    own = jnp.asarray([0, 10, STRIDE + 41, STRIDE + 7, 90])
    person = jnp.asarray(own // STRIDE)

    @jax.jit
    def read(bank: MemoryBank, features: Any, own: Any) -> tuple[Any, ...]:
        free = VariantTask(SETTINGS, Gates(), 0.0, person).read_code(bank, query, features, own)
        expected = LiteRefinerTask(SETTINGS).read_code(bank, query, features, own)
        restricted = VariantTask(SETTINGS, Gates(own=1.0), 0.0, person)
        return free, expected, *restricted.reading(bank, query, features, own)

    free, expected, code, right = read(bank, features, own)
    np.testing.assert_allclose(free, expected, atol=1e-5)
    np.testing.assert_allclose(right, 1, atol=1e-6)
    q = features @ query
    scores = q / np.linalg.norm(q, axis=1, keepdims=True) @ np.asarray(bank.keys).T
    source = np.asarray(bank.source_id)
    for k in range(5):
        usable = (source >= 0) & (source // STRIDE == int(person[k])) & (np.abs(source - int(own[k])) > 10)
        order = [j for j in np.argsort(-scores[k]) if usable[j]][:4]
        weight = np.exp(20 * (scores[k, order] - scores[k, order[0]]))
        slow = (weight / weight.sum()) @ np.asarray(bank.values)[order]
        np.testing.assert_allclose(code[k], slow, atol=1e-4)


def test_code_is_given_without_memory() -> None:
    bank, query = _bank()
    given = jnp.arange(2 * N_VALUES, dtype=jnp.float32).reshape(2, N_VALUES)
    task = VariantTask(SETTINGS, Gates(memory=0.0), given, jnp.zeros(2, jnp.int32))
    code = jax.jit(task.read_code)(bank, query, jnp.ones((2, N_FEATURES)))
    np.testing.assert_allclose(code, given)


def test_gates_switch_off_what_they_name() -> None:
    rng = np.random.default_rng(3)
    generator = LiteRefinerTask(SETTINGS).generator
    params = random_variables(generator, jnp.zeros((1, SIZE, SIZE, 18)), jnp.zeros((1, N_VALUES)))

    @jax.jit
    def forward(gates: Gates, *x: Any) -> tuple[jax.Array, jax.Array]:
        code, *pictures = x
        outputs: Any = generator.apply(params, jnp.concatenate(pictures, -1), code)
        return VariantTask(SETTINGS, gates)._forward(params, *x), outputs.color

    code = jnp.ones((1, N_VALUES))

    def image(channels: int) -> np.ndarray:
        return rng.uniform(-1, 1, (1, SIZE, SIZE, channels)).astype(np.float32)

    window, many, one, masks = image(9), image(3), image(3), image(3) > 0
    masks = masks.astype(np.float32)

    def made(gates: Gates, *pictures: np.ndarray) -> np.ndarray:
        return np.asarray(forward(as_arrays(gates), code, *pictures, masks)[0])

    other_window = np.concatenate([image(6), window[..., 6:]], -1)
    for gate, pictures in (
        ("window", (other_window, many, one)),
        ("borrow", (window, image(3), image(3))),
    ):
        off = Gates(**{gate: 0.0})  # type: ignore[arg-type]
        np.testing.assert_array_equal(made(off, window, many, one), made(off, *pictures))
        assert np.abs(made(Gates(), window, many, one) - made(Gates(), *pictures)).max() > 1e-3
    picture, color = forward(as_arrays(Gates(attention=0.0)), code, window, many, one, masks)
    np.testing.assert_allclose(picture, color, atol=1e-5)


def test_a_smaller_memory_keeps_the_other_slots_youngest() -> None:
    # misses go to the oldest slot, ages grow by 1 a step and carry noise of a few steps
    state = jax.eval_shape(LiteRefinerTask(SETTINGS).init)
    bank, _ = _bank()
    age = np.asarray(bench_memory.smaller(state.replace(bank=bank), POOL).bank.age)
    assert (age[:POOL] == 0).all() and age[POOL:].max() < -1e6


def _tiny(n_people: int, n_frames: int) -> Frames:
    t = n_people * n_frames
    blank = np.zeros((t, 1, 1, 3), np.uint8)
    identity, frame = np.divmod(np.arange(t), n_frames)
    none = np.zeros((t, 1))
    region = np.zeros((t, 1, 1), np.int8)
    rows = (region, np.ones(t, bool), none, none, identity, frame)
    return Frames(blank, blank, blank, blank, *rows, blank, blank)


def test_splits_share_no_frame() -> None:
    frames = _tiny(8, 20)
    split = bench_memory.split_of(frames, tail=0.25, new=0.25, judged=3)
    rows = np.concatenate(split)
    assert len(rows) == len(np.unique(rows))
    assert set(frames.identity[split.new]) == {6, 7} == set(frames.identity[split.new_first])
    assert frames.frame[split.train].max() == 14 and frames.frame[split.seen].min() == 15
    assert len(split.train) == 6 * 15 and len(split.seen) == 6 * 3


def test_gain_over_none_is_paired() -> None:
    def row(case: str, seed: int, values: list[float]) -> dict[str, Any]:
        frames = [{"face psnr": v} for v in values]
        return {"case": case, "seed": seed, "person": [0, 0, 1, 1], "frames": frames}

    none = [row("none", s, [20, 21, 30, 31]) for s in (0, 1)]
    better = [row("memory", s, [21, 22, 33, 34]) for s in (0, 1)]
    assert memory_figures.over(better, none, "face psnr") == "+2.00 +- 1.00"


def test_same_person_is_recognised(
    frames: tuple[Frames, list[dict[str, np.ndarray]]], tmp_path: Path
) -> None:
    read, _ = frames
    judge = memory_figures.Judge(read, np.array([0, 4]))
    (row,) = judge(read.target[:1], np.array([0]))
    assert row["right_person"] == 1 and row["face psnr"] > 40
    (wrong,) = judge(read.target[4:5], np.array([0]))
    assert wrong["own_over_other"] > row["own_over_other"]
