"""The streaming form against the whole-sequence network, and its look-ahead."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.audio.log_mel import log_mel
from talkjax.audio.running import normalize_rows
from talkjax.data.synthetic_voice import load_voice
from talkjax.nets import mapping_stream as stream
from talkjax.nets.mapping_default import DefaultMappingNet, TimeConv
from tests.nets.weights import draw, random_variables

NET = DefaultMappingNet((("out", 3),), width=12, front=8)
FRAMES = 30


@pytest.fixture(scope="module")
def params():
    return random_variables(NET, jnp.zeros((1, 8, 40)))["params"]


@pytest.fixture(scope="module")
def wav() -> np.ndarray:
    return load_voice("voice_train").wav[8000 : 8000 + 640 * (FRAMES + 12)]


@pytest.fixture(scope="module")
def run(params):
    """Sound -> (hidden `[t width]`, windows `[t 28 40]`), frame by frame."""

    @jax.jit
    def step(sound, net, samples):
        sound = stream.feed_sound(sound, samples)
        net, hidden = stream.feed_net(params, net, sound)
        return sound, net, hidden, stream.frame_window(sound)

    def feed(wav: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sound, net = stream.start_sound(), stream.start_net(params)
        lead = np.concatenate([np.zeros(stream.TAIL - stream.LEAD), wav[: stream.LEAD]])
        sound = sound.replace(samples=jnp.asarray(lead, jnp.float32))
        out = []
        for start in range(stream.LEAD, len(wav) - 639, 640):
            sound, net, hidden, window = step(sound, net, wav[start : start + 640])
            out.append((hidden, window))
        hidden, windows = (np.stack(x) for x in zip(*out[stream.DELAY :], strict=True))
        return hidden, windows

    return feed


def test_frames_are_those_of_the_whole_sequence(params, wav, run) -> None:
    rows = normalize_rows(log_mel(jnp.asarray(wav)))
    _, expected = NET.apply({"params": params}, rows[None])
    hidden, windows = run(wav)
    np.testing.assert_allclose(hidden[:FRAMES], expected[0, :FRAMES], atol=1e-4)
    padded = np.pad(rows, ((12, 0), (0, 0)))
    for k in range(0, FRAMES, 7):
        np.testing.assert_allclose(windows[k], padded[4 * k : 4 * k + 28], atol=1e-5)


def test_look_ahead_is_what_the_constant_says_and_under_a_quarter_second(wav, run) -> None:
    assert stream.LOOKAHEAD_MS <= 250
    frame = 12
    needed = frame * 640 + round(stream.LOOKAHEAD_MS * 16)
    changed = wav.copy()
    changed[needed:] = np.random.default_rng(0).normal(size=len(wav) - needed)
    plain, other = run(wav), run(changed)
    np.testing.assert_array_equal(plain[0][: frame + 1], other[0][: frame + 1])
    np.testing.assert_array_equal(plain[1][: frame + 1], other[1][: frame + 1])
    assert np.abs(plain[0][frame + 1] - other[0][frame + 1]).max() > 1e-3  # the next frame hears it


@pytest.mark.parametrize(("size", "left", "stride", "dilation"), [(6, 2, 2, 1), (3, 2, 1, 2), (3, 2, 1, 1)])
def test_time_convolution_sees_what_it_says(size, left, stride, dilation) -> None:
    net, x = TimeConv(5, size, left, stride, dilation), np.asarray(draw(2, 13, 4))
    variables = random_variables(net, x)
    kernel, bias = (np.asarray(variables["params"][n]) for n in ("kernel", "bias"))
    expected = np.zeros((2, -(-13 // stride), 5)) + bias
    for i in range(expected.shape[1]):
        for k in range(size):
            at = i * stride - left + k * dilation
            if 0 <= at < 13:
                expected[:, i] += x[:, at] @ kernel[k]
    np.testing.assert_allclose(net.apply(variables, x), expected, atol=1e-5)


def test_jit_equals_op_by_op_and_dropout_takes_whole_channels(params) -> None:
    rows = draw(2, 32, 40)

    def apply(rows, seed=None):
        rngs = None if seed is None else {"dropout": jax.random.key(seed)}
        return NET.apply({"params": params}, rows, train=seed is not None, rngs=rngs)[0]["out"]

    np.testing.assert_allclose(jax.jit(apply)(rows), apply(rows), atol=1e-4)
    assert jnp.abs(apply(rows, 0) - apply(rows, 1)).max() > 1e-3
