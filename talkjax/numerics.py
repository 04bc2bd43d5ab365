"""Small numerical pieces with a stated gradient at the bad point."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def matmul(a: Float[Array, "*b i j"], b: Float[Array, "*b j k"]) -> Float[Array, "*b i k"]:
    """Matrix product at HIGHEST precision: geometry must not drop to bfloat16 on TPU or TF32 on GPU."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def einsum(spec: str, *operands: Float[Array, "..."]) -> Float[Array, "..."]:
    """`jnp.einsum` at HIGHEST precision, for geometry."""
    return jnp.einsum(spec, *operands, precision=jax.lax.Precision.HIGHEST)


def safe_norm(x: Float[Array, "*b n"], axis: int = -1, keepdims: bool = False) -> Float[Array, "..."]:
    """Euclidean norm whose gradient at the zero vector is zero (not NaN)."""
    squared = jnp.sum(x * x, axis=axis, keepdims=keepdims)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def normalize(x: Float[Array, "*b n"], axis: int = -1) -> Float[Array, "*b n"]:
    """Unit vectors; the zero vector stays zero and passes zero gradient through the length."""
    norm = safe_norm(x, axis=axis, keepdims=True)
    return x / jnp.where(norm > 0, norm, 1.0)


def safe_divide(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    """`a / b`, and zero with zero gradient where `b` is zero."""
    nonzero = b != 0
    return jnp.where(nonzero, a / jnp.where(nonzero, b, 1.0), 0.0)


def mean(x: Float[Array, "..."]) -> Float[Array, ""]:
    """Mean over everything, one axis after the other.

    A CPU sums in order, and a float32 sum of half a million numbers in order is wrong in the fifth digit.
    That is more than all else that differs between one device and many.
    """
    while x.ndim > 1:
        x = jnp.mean(x, axis=1)  # not the last axis first: channels are few, and rows vectorize
    return jnp.mean(x)


def replicated(x: Array) -> Array:
    """The same array, whole on every device of the mesh in force (`jax.set_mesh`); no effect without one.

    For small values that decide where something is written: computed alike everywhere, they need no
    agreement.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec())


def by_rows(x: Array) -> Array:
    """The same array, cut along its leading axis only, as batches are on the mesh in force; see `replicated`.

    Convolutions are given nothing else: the compiler's partitioning of a convolution over channels gives
    wrong numbers for some strides and dilations (jax issue #16894; measured here with a dilated one on CPU).
    """
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(name for name in ("data", "fsdp") if name in mesh.axis_names)
    if mesh.empty or not axes:
        return x
    return jax.lax.with_sharding_constraint(x, jax.sharding.PartitionSpec(axes))
