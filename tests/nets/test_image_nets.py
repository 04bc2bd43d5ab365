"""Generators, discriminator, trunk: sizes of the reference, jit equal to op-by-op (a known compiler bug)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.nets.blend import GeneratorOutputs, blend
from talkjax.nets.generator_lite import LiteGenerator
from talkjax.nets.generator_paper import PaperGenerator
from talkjax.nets.key_encoder import KeyEncoder
from talkjax.nets.layers import BatchStatNorm, instance_modulation, moments
from talkjax.nets.patch_discriminator import PatchDiscriminator
from talkjax.nets.resnet import ResNet18, fold_batch_norm
from tests.nets.weights import draw, random_variables


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def spec(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize(
    ("net", "inputs", "parameters"),
    [
        (PaperGenerator(), (spec(1, 256, 256, 9), spec(1, 512)), 259_055_556),
        (PaperGenerator(adain_hidden=512), (spec(1, 256, 256, 9), spec(1, 512)), 59_937_732),
        (PatchDiscriminator(), (spec(1, 256, 256, 12),), 2_774_849),
        (ResNet18(), (spec(1, 256, 256, 3),), 11_171_712),
    ],
    ids=["generator", "slim generator", "discriminator", "trunk"],
)
def test_parameter_counts(net, inputs, parameters) -> None:
    assert count(jax.eval_shape(net.init, jax.random.key(0), *inputs)) == parameters


def test_output_shapes_at_full_size() -> None:
    key = jax.random.key(0)
    x, code = spec(2, 256, 256, 9), spec(2, 512)
    for net, n in ((PaperGenerator(), 1), (LiteGenerator(n_candidates=3), 3)):
        out, variables = jax.eval_shape(net.init_with_output, key, x, code)
        assert out.color.shape == out.residual.shape == (2, 256, 256, 3)
        assert out.attention.shape == (2, 256, 256, n + 1)
    assert count(variables) < 1.6e6
    logits = jax.eval_shape(PatchDiscriminator().init_with_output, key, spec(2, 256, 256, 12))[0]
    assert logits.shape == (2, 30, 30, 1)
    assert jax.eval_shape(ResNet18().init_with_output, key, spec(2, 224, 224, 3))[0].shape == (2, 512)


NETS = {
    "lite": (LiteGenerator(width=8, n_blocks=1, n_candidates=2), (draw(2, 32, 32, 9), draw(2, 6, seed=1))),
    "paper": (PaperGenerator(width=4, n_levels=5), (draw(2, 64, 64, 9), draw(2, 6, seed=1))),
    "discriminator": (PatchDiscriminator(width=4), (draw(2, 32, 32, 12),)),
    "trunk": (ResNet18(width=4), (jnp.abs(draw(2, 64, 64, 3)),)),
}


@pytest.mark.parametrize("name", NETS)
def test_jit_equals_op_by_op(name) -> None:
    net, inputs = NETS[name]
    variables = random_variables(net, *inputs)
    jitted, eager = jax.jit(net.apply)(variables, *inputs), net.apply(variables, *inputs)
    for a, b in zip(jax.tree.leaves(jitted), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert jnp.ptp(b) > 1e-2 or not b.any()


def test_lite_generator_starts_from_the_first_candidate() -> None:
    net = LiteGenerator(width=4, n_blocks=0, n_candidates=2)
    inputs = draw(1, 16, 16, 6), draw(1, 6, seed=1)
    out = jax.jit(net.init_with_output)(jax.random.key(0, impl="rbg"), *inputs)[0]
    weights = out.attention.mean((0, 1, 2))
    assert weights[0] > weights[1] > weights[2]
    np.testing.assert_allclose(out.attention.sum(-1), 1, atol=1e-6)
    assert jnp.abs(out.residual).max() < 0.5


@pytest.mark.parametrize("name", ["lite", "paper"])
def test_generators_listen_to_the_code_of_their_own_sample(name) -> None:
    net, (x, code) = NETS[name]
    variables = random_variables(net, x, code)
    a, b = (net.apply(variables, x, c).color for c in (code, code.at[1].add(1.0)))
    np.testing.assert_allclose(a[0], b[0], atol=1e-6)
    assert jnp.abs(a[1] - b[1]).max() > 1e-3


def test_paper_dropout_is_off_at_inference_unless_asked() -> None:
    net, inputs = NETS["paper"]
    variables = random_variables(net, *inputs)

    def run(net, seed, **how):
        return net.apply(variables, *inputs, rngs={"dropout": jax.random.key(seed)}, **how).color

    np.testing.assert_array_equal(run(net, 0), run(net, 1))
    assert jnp.abs(run(net, 0, train=True) - run(net, 1, train=True)).max() > 1e-4
    reference = net.clone(dropout_at_inference=True)
    np.testing.assert_array_equal(run(reference, 0), run(net, 0, train=True))


def test_blend_is_the_papers_mix() -> None:
    keep = jax.nn.sigmoid(draw(2, 4, 4, 1))
    color, composite = draw(2, 4, 4, 3, seed=1), draw(2, 4, 4, 3, seed=2)
    outputs = GeneratorOutputs(color, jnp.zeros_like(color), jnp.concatenate([keep, 1 - keep], -1))
    expected = keep * composite + (1 - keep) * color
    np.testing.assert_allclose(blend(outputs, [composite]), expected, atol=1e-6)
    np.testing.assert_allclose(blend(outputs, composite[None]), expected, atol=1e-6)
    with pytest.raises(ValueError, match="2 candidate images, but attention for 1"):
        blend(outputs, [composite, composite])


def test_moments_and_norms_against_numpy() -> None:
    x = np.random.default_rng(0).normal(3, 2, (3, 6, 5, 4)).astype(np.float32)
    mean, variance = moments(jnp.asarray(x), (1, 2))
    np.testing.assert_allclose(mean, x.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var((1, 2)), rtol=1e-4)
    constant = moments(jnp.full((1, 8, 8, 1), 1e3 + 0.1), (1, 2))[1]
    assert constant >= 0

    shift, scale = draw(3, 4), draw(3, 4, seed=1)
    mean, std = x.mean((1, 2), keepdims=True), np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    expected = (x - mean) / std * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(instance_modulation(x, shift, scale), expected, atol=1e-4)

    norm = BatchStatNorm()
    y = norm.apply(norm.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(y, (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5), atol=1e-4)


def test_folded_batch_norm_is_the_norm_after_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 6, 6, 3)), rng.normal(size=(1, 1, 3, 4))
    scale, bias, mean, var = rng.normal(size=4), rng.normal(size=4), rng.normal(size=4), rng.random(4) + 0.5
    folded, offset = fold_batch_norm(kernel, scale, bias, mean, var)
    expected = (x @ kernel[0, 0] - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(x @ folded[0, 0] + offset, expected, rtol=1e-10)


def test_keys_have_unit_length() -> None:
    net, x = KeyEncoder(8), draw(4, 16)
    q = net.apply(net.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(jnp.linalg.norm(q, axis=-1), 1, rtol=1e-5)
