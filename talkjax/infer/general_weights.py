"""The general sound-to-face network that ships with the package (docs/mapping_card.md says how it came to
be)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.audio.running import normalize_rows
from talkjax.errors import InputError
from talkjax.face.deformers import EXP_NAMES
from talkjax.tasks.mapping_general import N_CHANNELS, GeneralScales, general_net
from talkjax.train.params_file import load_params

GENERAL_FILE = Path(__file__).parent.parent / "data" / "embedded" / "mapping_general.npz"
CLOSED_FLAG, SPEECH_FLAG = 0, 1


@dataclasses.dataclass(frozen=True)
class GeneralNetwork:
    """params: of `general_net`, float32. metadata: phones, corpus, configuration and figures of its
    training."""

    params: Any
    scales: GeneralScales
    metadata: dict[str, Any]

    def outputs(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw log-mel rows `[4t 40]` -> (`face` standardised `[t 7+e]`, `flags` logits `[t 2]`)."""
        n_exp, n_phones = len(self.scales.gap), len(self.metadata["phones"])
        face, flags, _ = _outputs(n_exp, n_phones)(self.params, jnp.asarray(rows, jnp.float32))
        return np.asarray(face), np.asarray(flags)

    def phone_probabilities(self, rows: np.ndarray) -> np.ndarray:
        """`[t p]` in the order of `metadata["phones"]`."""
        n_exp, n_phones = len(self.scales.gap), len(self.metadata["phones"])
        return np.asarray(_outputs(n_exp, n_phones)(self.params, jnp.asarray(rows, jnp.float32))[2])

    def lip_gap(self, rows: np.ndarray) -> np.ndarray:
        """`[t]` dm of lip opening on an average face, without any knowledge of the person."""
        face, _ = self.outputs(rows)
        exp = (face * self.scales.scale + self.scales.mean)[:, N_CHANNELS:]
        return exp @ self.scales.gap


@functools.cache
def _outputs(n_exp: int, n_phones: int) -> Any:
    net = general_net(n_exp, n_phones)

    def run(params: Any, rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        outputs, _ = net.apply({"params": params}, normalize_rows(rows)[None])
        return outputs["face"][0], outputs["flags"][0], jax.nn.softmax(outputs["phones"][0])

    return jax.jit(run)


@functools.cache
def load_general(path: Path = GENERAL_FILE) -> GeneralNetwork:
    """The network of `launch/mapping_general.py`.

    Raises:
      InputError: missing, damaged, or made for other expression deformers.
    """
    tree, metadata = load_params(path)
    if metadata.get("kind") != "mapping_general" or len(tree["scales"]["gap"]) != len(EXP_NAMES):
        raise InputError(
            f"{path.name} is no general mapping for {len(EXP_NAMES)} expression deformers",
            fix="make it with python -m launch.train --config=configs/mapping_general.py",
            code="weights_mismatch",
        )
    params = jax.tree.map(lambda x: np.asarray(x, np.float32), tree["params"])
    return GeneralNetwork(params, GeneralScales(**tree["scales"]), metadata)
