"""All functions of one file with the shapes that they take, and their lowering.

They repeat in jnp, block by block, what `generate` does with numpy and OpenCV. Needs all of talkjax; the
runtime loads what was lowered from here, and comes here only when it cannot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from talkjax.face.render import FaceRenderer
from talkjax.infer.bundle.choice import choose_program, start_choice
from talkjax.infer.bundle.layout import FIXED, PLATFORMS, PROGRAMS, BundleConfig, draw_batch
from talkjax.infer.bundle.pixels import layers_program, paste_program
from talkjax.infer.bundle.refiners import refine_program, start_refiner
from talkjax.infer.bundle.shape import shape_program, static_model
from talkjax.infer.bundle.sounds import sound_program, start_sound

Arrays = Mapping[str, np.ndarray]


class Exported(NamedTuple):
    """One lowered program: its name, the platform it was lowered for, what it takes beside constants and
    state (name -> `float32[t,3]`), and the bytes of `jax.export`."""

    name: str
    platform: str
    inputs: dict[str, str]
    data: bytes


def make_programs(
    config: BundleConfig, arrays: Mapping[str, Arrays], platform: str
) -> dict[str, Callable[..., Any]]:
    """The functions by name, in the order of `layout.PROGRAMS`; pure, not yet compiled.

    Args:
      arrays: groups of constants; only the face's triangles are looked at.
      platform: which form of the rasterizer `shape` is made with.
    """
    face = arrays["face"]
    model = static_model(face["faces"], face["face_region"], config.n_exp, len(face["mean"]))
    return {
        "sound": sound_program(config),
        "choose": choose_program(config, model),
        "shape": shape_program(config, FaceRenderer.from_model(model), platform),
        "layers": layers_program(config),
        "refine": refine_program(config),
        "paste": paste_program(config),
    }


def start_states(config: BundleConfig, arrays: Mapping[str, Arrays]) -> dict[str, dict[str, np.ndarray]]:
    """The states before the first block."""
    states = {
        "sound": start_sound(dict(arrays["mapping"]), config),
        "choose": start_choice(len(arrays["look"]["mouth"]), config.lookahead),
        "refine": start_refiner(config),
    }
    return {name: {key: np.asarray(leaf) for key, leaf in state.items()} for name, state in states.items()}


def input_shapes(
    config: BundleConfig, arrays: Mapping[str, Arrays], times: Any, batch: Any
) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """What each program takes beside constants and state: `times` frames of sound and choice, `batch` of
    pictures; numbers or symbols."""

    def f32(*shape: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def typed(kind: Any, *shape: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, kind)

    s, e, b, t = config.crop_size, config.n_exp, batch, times
    frame = typed(jnp.uint8, b, config.height, config.width, 3)
    crop = typed(jnp.uint8, b, s, s, 3)
    look = sum(array.shape[-1] for name, array in arrays["look"].items() if name.startswith("gain_"))
    code = arrays["look"]["code_basis"].shape[1] if "code_basis" in arrays["look"] else 0
    place = {"center": f32(b, 2), "side": f32(b)}
    return {
        "sound": {"samples": f32(t * config.sound_block, 640)},
        "choose": {
            "exp": f32(t, e), "euler": f32(t, 3), "translation": f32(t, 3), "gaze": f32(t, 2),
            "valid": typed(jnp.bool_, t),
        },
        "shape": {
            "exp": f32(b, e), "euler": f32(b, 3), "translation": f32(b, 3), "sh": f32(b, 3, 9),
            "shown": f32(b, e), "one": typed(jnp.int32, b, 3), "look": f32(b, look),
        },
        "layers": {
            "uv": f32(b, s, s, 2), "light": f32(b, s, s, 3), "region": typed(jnp.int8, b, s, s),
            "texture": f32(b, config.texture_size, config.texture_size, 9),
            "new": f32(b, 36, 2), "old": f32(b, 36, 2), "frame": frame, **place,
        },
        "refine": {
            "lit": f32(b, s, s, 9), "background": crop, "alpha": f32(b, s, s),
            "region": typed(jnp.int8, b, s, s), "code": f32(b, code),
        },
        "paste": {
            "frame": frame, "face": f32(b, s, s, 3), "background": crop, "alpha": f32(b, s, s),
            "moved": typed(jnp.bool_, b), **place,
        },
    }  # fmt: skip


def shapes_of(arrays: Arrays) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and types alone."""
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}


def lower_all(
    config: BundleConfig, arrays: Mapping[str, Arrays], platforms: tuple[str, ...] = PLATFORMS
) -> list[Exported]:
    """Every program as StableHLO, with symbols for time and batch unless it is of `FIXED`.

    For each platform apart: written for several at once, matrix products and filters become choices between
    platforms, and last bits differ from the same functions under jit.
    """
    states, out = start_states(config, arrays), []
    for platform in platforms:
        programs = make_programs(config, arrays, platform)
        t, b = export.symbolic_shape("t, b")
        for name, (groups, has_state) in PROGRAMS.items():
            sizes = (1, draw_batch(platform)) if name in FIXED else (t, b)
            inputs = input_shapes(config, arrays, *sizes)[name]
            given = [shapes_of(arrays[group]) for group in groups]
            given += [shapes_of(states[name])] if has_state else []
            with _without_locations():
                lowered = export.export(jax.jit(programs[name]), platforms=[platform])(*given, inputs)
            texts = {key: f"{x.dtype}[{','.join(map(str, x.shape))}]" for key, x in inputs.items()}
            out.append(Exported(name, platform, texts, bytes(lowered.serialize())))
    return out


@contextlib.contextmanager
def _without_locations() -> Iterator[None]:
    """StableHLO otherwise names the source file of every operation, with all folders above it."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)
