"""Sound to mouth: the steps of `mapping_session`, many frames per call, states as flat dicts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from talkjax.infer import mapping_session
from talkjax.infer.bundle.layout import SAMPLES, BundleConfig
from talkjax.infer.bundle.trees import flatten
from talkjax.train.params_file import nested

GENERAL_PARTS = ("front_", "block_", "mix_", "flags")
"""What the sense of speech needs of the general network."""


def mapping_arrays(mapping: mapping_session.Mapping) -> dict[str, np.ndarray]:
    """A mapping's weights and targets by name; heads that are not used here are left out."""
    weights = dict(mapping.weights)
    weights["general"] = {k: v for k, v in weights["general"].items() if k.startswith(GENERAL_PARTS)}
    return flatten({"weights": weights, "targets": mapping.targets._asdict()})


def _parts(arrays: dict[str, Any]) -> tuple[Any, Any]:
    tree = nested(arrays)
    weights = dict(tree["weights"])
    if "members" in weights:
        members = weights["members"]
        weights["members"] = tuple(members[str(k)] for k in range(len(members)))
    return weights, tree["targets"]


def start_sound(arrays: dict[str, Any], config: BundleConfig) -> dict[str, Array]:
    """The state before any sound."""
    start, _, _ = mapping_session.PROGRAMS[config.mapping]
    return flatten(start(*_parts(arrays)))


def sound_program(config: BundleConfig) -> Any:
    """(mapping, state, samples `[t 640]`) -> state, exp `[t e]`; t a multiple of the preset's block."""
    start, step, block = mapping_session.PROGRAMS[config.mapping]

    def sound(
        arrays: dict[str, Any], state: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        weights, targets = _parts(arrays)
        shape = jax.tree.structure(jax.eval_shape(start, weights, targets))
        names = list(flatten(jax.eval_shape(start, weights, targets)))

        def one(state: Any, samples: Array) -> tuple[Any, Array]:
            state, made = step(weights, targets, state, samples)
            return state, made.reshape(block, -1)

        blocks = inputs["samples"].reshape(-1, block * SAMPLES)
        moved, made = jax.lax.scan(one, jax.tree.unflatten(shape, [state[n] for n in names]), blocks)
        exp = made.reshape(inputs["samples"].shape[0], -1)[:, : config.n_exp]
        return flatten(moved), {"exp": exp}

    return sound
