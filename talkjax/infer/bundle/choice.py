"""What the memory of appearance says of a frame, and which training frames lend it detail, block by block:
`appearance`, and `retrieval` with a state.

The dynamic programming runs on; the choice for a frame is read off `lookahead` frames later. Where the best
paths of all bank frames have met by then, and they nearly always have, it is the choice for the whole video.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from talkjax.face.model import face_verts
from talkjax.infer.bundle.layout import BundleConfig
from talkjax.infer.retrieval import FAR, JUMP_COST, ZONES, zone_columns
from talkjax.numerics import matmul
from talkjax.types import FaceModel


def start_choice(n_bank: int, lookahead: int) -> dict[str, Array]:
    """Nothing seen: cost of ending at each bank frame, and where the last frames' paths came from."""
    return {
        "cost": jnp.zeros((len(ZONES), n_bank)),
        "back": jnp.zeros((lookahead, len(ZONES), n_bank), jnp.int32),
        "begun": jnp.bool_(False),
    }


def zone_distances(columns: tuple[Array, ...], look: dict[str, Any]) -> Float[Array, "t 3 n"]:
    """Distance of every frame to every bank frame in each zone."""
    out = []
    for zone, wanted in zip(ZONES, columns, strict=True):
        center = look[zone].mean(0)  # small numbers: the differences below are of squares
        stored, wanted = look[zone] - center, wanted - center
        squared = (wanted**2).sum(-1)[:, None] + (stored**2).sum(-1)[None] - 2 * matmul(wanted, stored.T)
        out.append(jnp.sqrt(jnp.maximum(squared, 0)))
    return jnp.stack(out, 1)


def _forward(
    cost: Float[Array, "3 n"], begun: Array, distance: Float[Array, "3 n"]
) -> tuple[Array, Int[Array, "3 n"]]:
    """One frame of `retrieval.smooth_choice` in all zones: (cost, where it came from).

    The least cost is taken off, so that the numbers stay small however long the voice is.
    """
    n = cost.shape[1]
    own = jnp.broadcast_to(jnp.arange(n, dtype=jnp.int32), cost.shape)
    best = jnp.argmin(cost, 1, keepdims=True).astype(jnp.int32)
    value = jnp.broadcast_to(jnp.take_along_axis(cost, best, 1) + JUMP_COST, cost.shape)
    choice = jnp.broadcast_to(best, cost.shape)
    before = jnp.concatenate([jnp.full((cost.shape[0], 1), FAR, cost.dtype), cost[:, :-1]], 1)
    for candidate, source in ((cost, own), (before, jnp.maximum(own - 1, 0))):
        better = candidate <= value
        value, choice = jnp.where(better, candidate, value), jnp.where(better, source, choice)
    value = jnp.where(begun, value, 0.0) + distance
    return value - value.min(1, keepdims=True), jnp.where(begun, choice, own)


def _read(distance: Float[Array, "t 3 n"], look: dict[str, Any]) -> Float[Array, "t r"]:
    """`appearance.ZoneMemory.read` in all zones, one after the other; `r` is 0 without a memory."""
    codes = [jnp.zeros((distance.shape[0], 0))]
    if "frames" in look:
        for k, zone in enumerate(ZONES):
            near = distance[:, k, look["frames"]] / look["length"][k]
            codes.append(matmul(jnp.exp(-(near**2) / 2), look[f"gain_{zone}"]))
    return jnp.concatenate(codes, -1)


def choose_program(config: BundleConfig, model: FaceModel) -> Any:
    """(face, look, state, exp `[t e]`, euler, translation `[t 3]`, gaze `[t 2]`, valid `[t]`) -> state,
    outputs.

    Outputs: look `[t r]`, codes of appearance; code `[t f]`, geometry for the refiner's memory; one
    `[t 3]`, bank frames of the frames `lookahead` earlier. Frames that are not `valid` (after the end)
    change nothing.
    """

    def choose(
        face: dict[str, Any], look: dict[str, Any], state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        own = dataclasses.replace(model, mean=face["mean"], exp_basis=face["exp_basis"])
        verts = face_verts(own, jnp.zeros(own.id_basis.shape[0]), inputs["exp"])
        columns = zone_columns(verts, inputs["euler"], inputs["translation"], inputs["gaze"], jnp)
        distance = zone_distances(columns, look)

        def step(carry: tuple[Array, Array], now: tuple[Array, Array]) -> tuple[Any, Array]:
            (cost, begun), (near, valid) = carry, now
            new, back = _forward(cost, begun, near)
            same = jnp.broadcast_to(jnp.arange(cost.shape[1], dtype=jnp.int32), back.shape)
            carry = jnp.where(valid, new, cost), begun | valid
            return carry, jnp.where(valid, back, same)

        start = state["cost"], state["begun"]
        (cost, begun), made = jax.lax.scan(step, start, (distance, inputs["valid"]))
        back = jnp.concatenate([state["back"], made])

        def earlier(at: Int[Array, "3"], back: Int[Array, "3 n"]) -> tuple[Array, Array]:
            return jnp.take_along_axis(back, at[:, None], 1)[:, 0], at

        end = jnp.argmin(cost, 1).astype(jnp.int32)
        _, path = jax.lax.scan(earlier, end, back, reverse=True)
        code = jnp.zeros((distance.shape[0], 0))
        if "code_mean" in look:
            joint = jnp.concatenate(columns, -1) - look["code_mean"]
            code = jnp.clip(matmul(joint, look["code_basis"]), -4, 4)
        count = made.shape[0]
        new = {"cost": cost, "back": back[count:], "begun": begun}
        return new, {"one": path[:count], "look": _read(distance, look), "code": code}

    return choose


def look_arrays(features: Any, geometry: Any | None, appearance: Any | None) -> dict[str, np.ndarray]:
    """What the bank's frames look like; the refiner's code of geometry and memory of appearance where it has
    them."""
    arrays = dict(zip(ZONES, (np.asarray(f, np.float32) for f in features), strict=True))
    if geometry is not None:
        arrays |= {"code_mean": geometry.mean, "code_basis": geometry.basis}
    if appearance is not None:
        arrays["frames"] = appearance.frames.astype(np.int32)
        arrays["length"] = np.array([zone.length for zone in appearance.zones], np.float32)
        for name, zone in zip(ZONES, appearance.zones, strict=True):
            arrays[f"gain_{name}"] = zone.gain.astype(np.float32)
    return arrays
