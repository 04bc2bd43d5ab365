"""Joints of a face: linear blend skinning with corrective shapes (FLAME; Li et al. 2017, eq. 2-5)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from talkjax.numerics import einsum
from talkjax.types import Skeleton


def axis_angle_matrix(vector: Float[Array, "*b 3"]) -> Float[Array, "*b 3 3"]:
    """Rotation matrices of axis-angle vectors in radians (Rodrigues), smooth at zero."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*vector.shape[:-1], 3, 3)
    squared = jnp.sum(vector**2, axis=-1)[..., None, None]
    small = squared < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    first = jnp.where(small, 1.0 - squared / 6, jnp.sin(angle) / angle)
    second = jnp.where(small, 0.5 - squared / 24, (1 - jnp.cos(angle)) / angle**2)
    return jnp.eye(3) + first * cross + second * einsum("...ij,...jk->...ik", cross, cross)


def turn_joints(
    skeleton: Skeleton,
    shape: Float[Array, "*b v 3"],
    id_coeffs: Float[Array, "*b k"],
    exp_coeffs: Float[Array, "*b e"],
) -> Float[Array, "*b v 3"]:
    """The shape turned at its joints.

    Args:
      shape: of the linear axes, dm.
      exp_coeffs: linear axes, then an axis-angle vector (radians) per moving joint.
    """
    n_joints, n_moving = len(skeleton.parents), 3 * len(skeleton.moving)
    n_linear = exp_coeffs.shape[-1] - n_moving
    batch = jnp.broadcast_shapes(id_coeffs.shape[:-1], exp_coeffs.shape[:-1])
    linear = jnp.concatenate(
        [
            jnp.broadcast_to(id_coeffs, (*batch, id_coeffs.shape[-1])),
            jnp.broadcast_to(exp_coeffs[..., :n_linear], (*batch, n_linear)),
        ],
        axis=-1,
    )
    joints = skeleton.joint_mean + einsum("...k,kjc->...jc", linear, skeleton.joint_basis)
    angles = exp_coeffs[..., n_linear:].reshape(*exp_coeffs.shape[:-1], -1, 3)
    rest = jnp.zeros((*exp_coeffs.shape[:-1], n_joints, 3))
    turns = axis_angle_matrix(rest.at[..., jnp.array(skeleton.moving), :].set(angles))
    bent = (turns[..., 1:, :, :] - jnp.eye(3)).reshape(*turns.shape[:-3], -1)
    shape = shape + einsum("...p,pvc->...vc", bent, skeleton.pose_basis)
    # each joint's transform of a point x at rest: world_turn @ x + world_shift
    world_turn: list[Array] = []
    world_shift: list[Array] = []
    for j, parent in enumerate(skeleton.parents):
        turn, place = turns[..., j, :, :], joints[..., j, :]
        about = place - einsum("...ij,...j->...i", turn, place)
        if parent >= 0:
            about = einsum("...ij,...j->...i", world_turn[parent], about) + world_shift[parent]
            turn = einsum("...ij,...jk->...ik", world_turn[parent], turn)
        world_turn.append(turn)
        world_shift.append(about)
    blended_turn = einsum("vj,...jab->...vab", skeleton.skin_weights, jnp.stack(world_turn, axis=-3))
    blended_shift = einsum("vj,...ja->...va", skeleton.skin_weights, jnp.stack(world_shift, axis=-2))
    return einsum("...vab,...vb->...va", blended_turn, shape) + blended_shift
