"""Batches of the refiner: window in order, one shift for all images, weight on mouth and eyes."""

from __future__ import annotations

import numpy as np
import pytest

from talkjax.infer import training_data
from talkjax.infer.training_data import RefinerData
from talkjax.types import EYES, MOUTH, SKIN

T, SIZE = 6, 32


@pytest.fixture
def data() -> RefinerData:
    """Every image has one bright pixel in the middle, its level tells kind and frame."""

    def images(base: int) -> np.ndarray:
        out = np.zeros((T, SIZE, SIZE, 3), np.uint8)
        out[:, SIZE // 2, SIZE // 2] = base + np.arange(T)[:, None]
        return out

    region = np.full((T, SIZE, SIZE), -1, np.int8)
    region[:, SIZE // 2, SIZE // 2] = MOUTH
    weight = images(40)[..., 0]
    rows = np.arange(T, dtype=np.float32)[:, None]
    return RefinerData(
        images(10), images(50), images(100), images(200), region, weight, np.ones(T, bool), rows, 10 * rows
    )


def test_all_images_of_a_frame_are_shifted_alike(data):
    frames = np.array([4, 0, 5, 1, 3])
    batch = data.batch(np.random.default_rng(0), frames)
    inputs = batch.inputs
    places = set()
    for row, k in enumerate(frames):
        at = np.unravel_index(inputs.many[row, ..., 0].argmax(), (SIZE, SIZE))
        places.add(at)
        window = [10 + max(k - 2, 0)] * 3 + [10 + max(k - 1, 0)] * 3 + [10 + k] * 3
        assert inputs.window[row][at].tolist() == window  # oldest first; the first frame stands in before it
        assert inputs.many[row][at][0] == 50 + k and inputs.one[row][at][0] == 100 + k
        assert batch.target[row][at][0] == 200 + k and batch.weight[row][at] == 40 + k
        assert inputs.region[row][at] == MOUTH and (inputs.region[row] >= 0).sum() == 1
        assert max(abs(place - SIZE // 2) for place in at) <= training_data.SHIFT
    assert len(places) > 2
    np.testing.assert_array_equal(batch.source, frames)
    np.testing.assert_array_equal(batch.values[:, 0], 10 * frames)
    np.testing.assert_array_equal(inputs.features[:, 0], frames)


def test_a_batch_follows_from_its_generator(data):
    first, second, other = (data.batch(np.random.default_rng(seed), np.array([2, 3])) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.target, second.target)
    assert not np.array_equal(first.target, other.target)


def test_errors_count_most_at_mouth_and_eyes_and_little_outside():
    region = np.full((256, 256), -1)
    region[60:200, 60:200] = SKIN
    region[150:160, 110:150] = MOUTH
    region[90:95, 80:100] = EYES
    weight = training_data.error_weight(region).astype(float)
    skin, outside = weight[120, 180], weight[10, 10]
    assert weight[155, 130] == weight[92, 90] == weight.max() == 255
    assert skin == pytest.approx(255 / 3, abs=1) and outside == pytest.approx(255 * 0.05 / 3, abs=1)
    assert weight[146, 130] == 255 and weight[130, 130] == skin  # lips around the mouth's inside, not further


def test_bytes_round_and_clip():
    assert training_data.to_bytes(np.array([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 1.3])).tolist() == [
        0, 0, 0, 1, 255, 255,
    ]  # fmt: skip
