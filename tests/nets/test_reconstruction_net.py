"""R-Net: the reference's size, one signature, jit equal to op-by-op (a known compiler bug), fast forms equal
to plain ones. What the numbers are is checked against PyTorch in `tests/assets/test_rnet_weights.py`."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets import winograd
from talkjax.nets.reconstruction_net import CoeffHeads, CoeffSizes, ReconstructionNet, _max_pool, fold
from talkjax.nets.reconstruction_small import SMALL_SIZE, SmallReconstructionNet
from tests.nets.weights import draw, random_variables

SIZES = CoeffSizes(5, 4, 3)
NETS = {
    "resnet": ReconstructionNet(SIZES, width=3, blocks=(1, 2)),
    "small": SmallReconstructionNet(SIZES, width=8, units=1),
}
IMAGE = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 64, 64, 3)), jnp.float32)


@pytest.fixture(scope="module")
def variables() -> dict:
    return {name: random_variables(net, IMAGE) for name, net in NETS.items()}


@pytest.fixture(scope="module")
def answers(variables: dict) -> dict:
    return {name: jax.jit(net.apply)(variables[name], IMAGE) for name, net in NETS.items()}


def largest_difference(a, b) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.abs(x - y).max()) for x, y in pairs)


def resnet50_parameters() -> int:
    """Counted layer by layer: kernel, and two numbers of batch norm per channel."""
    total, channels = 7 * 7 * 3 * 64 + 2 * 64, 64
    for stage, units in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        outer = 4 * inner
        total += channels * outer + 2 * outer  # the shortcut
        for _ in range(units):
            total += channels * inner + 9 * inner * inner + inner * outer + 2 * (2 * inner + outer)
            channels = outer
    return total


def test_resnet_is_the_references() -> None:
    image = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    said, variables = jax.eval_shape(ReconstructionNet().init_with_output, jax.random.key(0), image)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert resnet50_parameters() == 23_508_032
    assert count == 23_508_032 + 257 * 2049
    assert sum(leaf.size for leaf in jax.tree.leaves(said)) == 2 * 257
    assert said.sh_coeffs.shape == (2, 3, 9)


def test_small_is_a_few_megabytes() -> None:
    image = jax.ShapeDtypeStruct((1, SMALL_SIZE, SMALL_SIZE, 3), jnp.float32)
    variables = jax.eval_shape(SmallReconstructionNet().init, jax.random.key(0), image)
    assert list(variables) == ["params"]
    assert 4 * sum(leaf.size for leaf in jax.tree.leaves(variables)) < 6e6


def test_untrained_answers_the_mean_face() -> None:
    said, _ = CoeffHeads(SIZES).init_with_output(jax.random.key(0), draw(2, 7))
    assert (said.id_coeffs.shape, said.exp_coeffs.shape, said.tex_coeffs.shape) == ((2, 5), (2, 4), (2, 3))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(said))


@pytest.mark.parametrize("name", NETS)
def test_jit_equals_op_by_op(name: str, variables: dict, answers: dict) -> None:
    assert jnp.abs(answers[name].id_coeffs).max() > 0.1
    plain = NETS[name].apply(variables[name], IMAGE)
    assert largest_difference(answers[name], plain) < 1e-4


def test_folded_form_is_the_same_network(variables: dict, answers: dict) -> None:
    net, values = fold(NETS["resnet"], variables["resnet"], winograd_kernels=False)
    assert list(values) == ["params"]
    assert largest_difference(answers["resnet"], jax.jit(net.apply)(values, IMAGE)) < 1e-4


def test_batch_statistics_move_in_training_only() -> None:
    net = ReconstructionNet(SIZES, width=3, blocks=(1,))
    values = random_variables(net, IMAGE)
    train = jax.jit(lambda v, x: net.apply(v, x, train=True, mutable=["batch_stats"])[1])
    changed = train(values, IMAGE)
    assert largest_difference(changed["batch_stats"], values["batch_stats"]) > 1e-3
    # the stem's: 0.9 of the old mean and 0.1 of what this batch's convolution gives
    kernel = np.asarray(values["params"]["stem"]["kernel"])
    padded = np.pad(np.asarray(IMAGE), ((0, 0), (3, 3), (3, 3), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (1, 2))[:, ::2, ::2]
    mean = np.einsum("bhwcij,ijco->o", windows, kernel) / (2 * 32 * 32)
    expected = 0.9 * values["batch_stats"]["stem"]["norm"]["mean"] + 0.1 * mean
    np.testing.assert_allclose(changed["batch_stats"]["stem"]["norm"]["mean"], expected, rtol=1e-4)


def test_winograd_is_a_convolution() -> None:
    size = (8, 5)  # whole tiles one way, a part the other
    x, kernel = np.asarray(draw(2, *size, 3)), np.asarray(draw(3, 3, 3, 4, seed=1))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
        np.einsum("bhwc,co->bhwo", padded[:, i : i + size[0], j : j + size[1]], kernel[i, j])
        for i in range(3)
        for j in range(3)
    )
    got = jax.jit(winograd.conv3x3)(x, winograd.transform_kernel(kernel))
    np.testing.assert_allclose(got, expected, atol=2e-5)


@pytest.mark.parametrize(("size", "before"), [(8, 0), (7, 1)])
def test_pool(size: int, before: int) -> None:
    x = jnp.abs(draw(1, size, size, 2))
    expected = nn.max_pool(x, (3, 3), (2, 2), ((before, 1), (before, 1)))
    np.testing.assert_array_equal(_max_pool(x, before), expected)


def test_small_sees_each_row_alone(variables: dict, answers: dict) -> None:
    other = NETS["small"].apply(variables["small"], IMAGE.at[1].set(0.0))
    assert largest_difference(answers["small"].id_coeffs[0], other.id_coeffs[0]) < 1e-4
    assert largest_difference(answers["small"].id_coeffs[1], other.id_coeffs[1]) > 1e-2


def test_small_names_the_sizes_it_takes() -> None:
    with pytest.raises(ValueError, match=r"multiples of 16, got \(112, 100\)"):
        jax.eval_shape(NETS["small"].init, jax.random.key(0), jnp.zeros((1, 112, 100, 3)))
