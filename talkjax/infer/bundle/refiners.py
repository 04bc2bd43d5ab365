"""Both refiners frame after frame, the window of the last composites kept in a state."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from talkjax.infer.bundle import resample
from talkjax.infer.bundle.layout import BundleConfig
from talkjax.infer.bundle.pixels import composites
from talkjax.infer.bundle.trees import flatten
from talkjax.infer.detail import SIGMA
from talkjax.infer.paper_refiner import READ_EVERY, PaperRefiner
from talkjax.infer.personal_refiner import LiteRefiner
from talkjax.rng import stream_key
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask, RefinerInputs
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperRefinerTask, Trunk
from talkjax.train.params_file import nested
from talkjax.types import MemoryBank

_BANK = ("keys", "values", "age", "source_id")


def refiner_arrays(refiner: LiteRefiner | PaperRefiner) -> dict[str, np.ndarray]:
    """Weights and memory by name."""
    bank = {name: getattr(refiner.bank, name) for name in _BANK}
    tree: dict[str, Any] = {"params": refiner.params, "query": refiner.query, "bank": bank}
    if isinstance(refiner, PaperRefiner):
        trunk = refiner.trunk
        tree["trunk"] = {"params": trunk.params, "mean": trunk.mean, "scale": trunk.scale}
    return {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}


def refiner_settings(refiner: LiteRefiner | PaperRefiner) -> dict[str, Any]:
    """The task's settings as plain data."""
    return dataclasses.asdict(refiner.task.settings)


def _picture_size(config: BundleConfig) -> int:
    return int(config.refiner_settings["size"])


def start_refiner(config: BundleConfig) -> dict[str, Array]:
    """Nothing seen."""
    size = _picture_size(config)
    state: dict[str, Array] = {
        "past": jnp.zeros((2, size, size, 3), jnp.uint8),
        "frame": jnp.int32(0),
    }
    if config.refiner == "paper":
        n = int(config.refiner_settings["n_values"])
        state |= {"code": jnp.zeros(n), "coming": jnp.zeros(n)}
    return state


def _windows(state: dict[str, Any], bare: Array) -> tuple[Array, Array]:
    """(composites `[b s s 9]` t-2, t-1, t; the last two). The first frame stands in for those before it."""
    past = jnp.where(state["frame"] > 0, state["past"], bare[:1])
    run = jnp.concatenate([past, bare])
    return jnp.concatenate([run[:-2], run[1:-1], run[2:]], -1), run[-2:]


def refine_program(config: BundleConfig) -> Any:
    """(refiner, state, inputs) -> state, face `[b s s 3]` in [0, 1].

    Inputs of both presets: lit, background, alpha of `layers`, region `[b s s]` int8, code `[b f]`.
    """
    return _paper(config) if config.refiner == "paper" else _lite(config)


def _lite(config: BundleConfig) -> Any:
    task = LiteRefinerTask(LiteRefinerSettings(**config.refiner_settings))
    sigma = SIGMA * config.crop_size

    def sharpened(picture: Array, one: Array) -> Array:
        """`detail.with_detail`."""
        change = (config.detail_gain - config.detail_one) * picture
        change = change + config.detail_one * one.astype(jnp.float32) / 255
        return jnp.clip(picture + (change - resample.gaussian(change, sigma)), 0, 1)

    def refine(
        arrays: dict[str, Any], state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        tree, images = nested(arrays), composites(inputs)
        window, past = _windows(state, images["bare"])
        given = RefinerInputs(window, images["many"], images["one"], inputs["region"], inputs["code"])
        code = task.read_code(MemoryBank(**tree["bank"]), tree["query"], given.features)
        picture = jnp.clip((task.refine(tree["params"], code, given) + 1) / 2, 0, 1)
        face = jax.vmap(sharpened)(picture, images["one"])
        return {"past": past, "frame": state["frame"] + face.shape[0]}, {"face": face}

    return refine


def _paper(config: BundleConfig) -> Any:
    """One frame after the other; the memory is read every second, and a reading comes into effect during the
    second after it (`PaperRefiner.sequence` without look-ahead)."""
    settings = PaperRefinerSettings(**config.refiner_settings)
    task, size = PaperRefinerTask(settings), _picture_size(config)
    side = config.crop_size
    shrink, enlarge = ("lanczos", "area") if size > side else ("area", "cubic")

    def fitted(image: Array) -> Array:
        if size == side:
            return image
        other = resample.resized(image.astype(jnp.float32), size, shrink)
        return jnp.clip(jnp.round(other), 0, 255).astype(jnp.uint8)

    def one(tree: dict[str, Any], state: dict[str, Any], bare: Array) -> tuple[dict[str, Array], Array]:
        bare, frame = fitted(bare), state["frame"]
        window, past = _windows(state, bare[None])
        phase = frame % READ_EVERY

        def look(_: None) -> Array:
            trunk = Trunk(**tree["trunk"])
            return task.read(trunk, tree["query"], MemoryBank(**tree["bank"]), bare[None])[0]

        fresh = jax.lax.cond(phase == 0, look, lambda _: state["coming"], None)
        begin = jnp.where(phase == 0, state["coming"], state["code"])
        begin = jnp.where(frame == 0, fresh, begin)
        share = phase / READ_EVERY
        code = (1 - share) * begin + share * fresh
        key = stream_key(settings.seed, "dropout in use", frame) if settings.dropout_in_use else None
        picture = jnp.clip((task.refine(tree["params"], code[None], window, key)[0] + 1) / 2, 0, 1)
        if size != side:
            picture = jnp.clip(resample.resized(picture, side, enlarge), 0, 1)
        return {"past": past, "frame": frame + 1, "code": begin, "coming": fresh}, picture

    def refine(
        arrays: dict[str, Any], state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        tree = nested(arrays)
        state, face = jax.lax.scan(lambda s, bare: one(tree, s, bare), state, composites(inputs)["bare"])
        return state, {"face": face}

    return refine
