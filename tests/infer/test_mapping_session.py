"""A mapping as a stream: chunks of any size give the very same frames, and the mouth comes to rest."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.data.synthetic_voice import load_voice
from talkjax.infer.general_weights import load_general
from talkjax.infer.mapping_session import (
    LOOKAHEAD_MS,
    PAPER_BLOCK,
    REST_AFTER,
    REST_RAMP,
    Mapping,
    feed_rest,
    start_rest,
)
from talkjax.tasks import mapping as paper
from talkjax.tasks.mapping_personal import personal_net
from talkjax.tasks.mapping_targets import Targets
from tests.nets.weights import random_variables

N_EXP = 5


@pytest.fixture(scope="module")
def targets() -> Targets:
    ones = np.ones(N_EXP, np.float32)
    return Targets(
        mean=np.zeros(N_EXP + 6, np.float32), scale=np.full(N_EXP + 6, 0.3, np.float32),
        lips=np.ones((N_EXP, 3), np.float32), gap=0.1 * ones, gap_mean=np.float32(0.05),
        gap_scale=np.float32(0.1), closer=2 * ones, closed_gap=np.float32(0), relative=np.float32(0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def mapping(targets) -> Mapping:
    rng = np.random.default_rng(0)
    member = random_variables(personal_net(N_EXP), jnp.zeros((1, 8, 40)))["params"]
    weights = {
        "members": (jax.tree.map(np.asarray, member),),
        "ridge_weights": rng.normal(0, 0.02, (28, 40, N_EXP + 6)).astype(np.float32),
        "ridge_bias": np.zeros(N_EXP + 6, np.float32),
        "share": np.float32(0.5),
        "gain": np.float32(1.2),
        "press": np.array([0.4, 0.8], np.float32),
        "general": load_general().params,
        "rest": np.full(N_EXP, -0.7, np.float32),
    }
    return Mapping("default", targets, weights)


@pytest.fixture(scope="module")
def wav() -> np.ndarray:
    return load_voice("voice_drive").wav[: 640 * 60]


def test_where_chunks_end_changes_no_bit(mapping, wav) -> None:
    exp, pose = mapping(wav, 60)
    assert exp.shape == (60, N_EXP) and pose.shape == (60, 6)
    rng = np.random.default_rng(1)
    for largest in (200, 5000):
        stream, parts, at, first = mapping.stream(), [], 0, None
        while at < len(wav):
            size = int(rng.integers(0, largest))
            parts.append(stream.push(wav[at : at + size]))
            at += size
            if first is None and len(parts[-1][0]):
                first = at
        parts.append(stream.finish())
        np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), exp)
        np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), pose)
        assert first is not None and first - largest < LOOKAHEAD_MS * 16 <= 4000
    with pytest.raises(ValueError, match="finished"):
        stream.push(wav)


def test_the_first_frames_do_not_depend_on_what_follows(mapping, wav) -> None:
    exp, _ = mapping(wav, 60)
    short, _ = mapping(wav[: 640 * 30], 30)
    np.testing.assert_array_equal(short[:24], exp[:24])  # the look-ahead is 247.5 ms, 6.2 frames
    longer, _ = mapping(wav[: 640 * 30], 50)  # silence goes on
    assert len(longer) == 50
    np.testing.assert_array_equal(longer[:24], short[:24])


@pytest.mark.parametrize("sound", ["digital", "noise"])
def test_silence_is_a_mouth_at_rest(mapping, sound) -> None:
    noise = np.random.default_rng(2).standard_normal(64_000).astype(np.float32) * 10 ** (-50 / 20)
    exp, _ = mapping(noise if sound == "noise" else 0 * noise, 100)
    np.testing.assert_allclose(exp[15:], np.full((85, N_EXP), -0.7), atol=0.05)


def test_rest_eases_in_after_speech_and_lets_go_at_once() -> None:
    state, weights = start_rest(), []
    for probability in [0.0] * 3 + [1.0] * 10 + [0.4] * 4 + [0.0] * 30:
        state, weight = feed_rest(state, jnp.float32(probability))
        weights.append(float(weight))
    assert weights[2] == 1.0 and weights[6] == 0.0
    assert weights[16] == 0.0  # 0.4 is still speech once it has begun
    rising = np.array(weights[17:])
    assert rising[REST_AFTER - 1] == 0 and rising[REST_AFTER + REST_RAMP] == 1
    assert np.all(np.diff(rising) >= 0) and np.diff(weights).max() < 0.25


def test_paper_preset_streams_its_whole_sequence_network(targets, wav, monkeypatch) -> None:
    from talkjax.audio.mfcc import mfcc_windows
    from talkjax.infer import mapping_session
    from talkjax.nets.mapping_net import PaperMappingNet

    small = PaperMappingNet(out_dim=70, channels=(2, 2, 4, 4, 4), hidden=(16, 8), state=8)
    monkeypatch.setattr(mapping_session, "make_net", lambda n_exp: small)
    monkeypatch.setattr(paper, "make_net", lambda n_exp: small)
    variables = random_variables(small, jnp.zeros((1, 4, 28, 12)))
    weights = {
        "variables": variables, "start_pose": np.zeros(6, np.float32), "general": load_general().params,
        "rest": np.zeros(N_EXP, np.float32),
    }  # fmt: skip
    _, pose = Mapping("paper", targets, weights)(wav[: 640 * 40], 40)
    whole = paper.MappingTask(targets).predict(variables, mfcc_windows(jnp.asarray(wav[: 640 * 40]), 40))
    np.testing.assert_allclose(pose[:30], whole[:30, -6:], atol=1e-5)
    relative = Mapping("paper", targets._replace(relative=np.float32(1)), weights)(wav[: 640 * 40], 40)[1]
    np.testing.assert_allclose(relative[:30], np.cumsum(whole[:30, -6:], 0), atol=1e-4)
    assert PAPER_BLOCK > 1
