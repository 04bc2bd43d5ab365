"""How well a general sound-to-face network does on held-out voices and languages, also through bad lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.audio.running import normalize_rows
from talkjax.audio.spoil import SILENT_ROW, TELEPHONE_HZ, band_centers
from talkjax.data.coarticulation import CHANNELS
from talkjax.data.mapping_batches import Item, music_rows
from talkjax.evaluate.speech import auc, pearson
from talkjax.tasks.mapping_general import N_CHANNELS, GeneralMappingTask

PAD_FRAMES = 64
"""Utterances are filled up to a multiple of this, so that few lengths are compiled."""
MUSIC_DB = 10.0
NOISE_DB = -50.0
SILENCE_FRAMES = 100


def telephone(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nothing outside 300 to 3400 Hz, as an 8 kHz line leaves it."""
    del rng
    inside = (band_centers() > TELEPHONE_HZ[0]) & (band_centers() < TELEPHONE_HZ[1])
    return np.where(inside, rows, SILENT_ROW).astype(np.float32)


def _power(rows: np.ndarray) -> float:
    return float(np.log(np.mean(np.exp(rows).sum(-1)) + 1e-7))


def with_music(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Synthetic music 10 dB under the speech."""
    piece = music_rows(int(rng.integers(1000, 1010)), pieces=1)[0]
    piece = np.take(piece, np.arange(len(rows)), axis=0, mode="wrap")
    gain = _power(rows) - _power(piece) - MUSIC_DB * np.log(10) / 10
    return np.logaddexp(rows, piece + gain).astype(np.float32)


def quiet(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """20 dB softer, with the hiss of a recorder 30 dB under the speech."""
    hiss = np.log(rng.exponential(size=rows.shape) + 1e-3) + _power(rows) - np.log(rows.shape[1]) - 6.9
    return (np.logaddexp(rows, hiss) - 4.6).astype(np.float32)


DEGRADATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "clean": lambda rows, rng: rows,
    "telephone": telephone,
    "music": with_music,
    "quiet": quiet,
}


class GeneralPredictor:
    """Whole-utterance predictions of a general network, in few compiled lengths."""

    def __init__(self, task: GeneralMappingTask, params: Any):
        def run(params: Any, rows: jax.Array) -> dict[str, jax.Array]:
            outputs, _ = task.net.apply({"params": params}, normalize_rows(rows)[None])
            outputs = {name: value[0] for name, value in outputs.items()}
            face = outputs["face"] * task.scales.scale + task.scales.mean
            flags = jax.nn.sigmoid(outputs["flags"])
            exp = face[..., N_CHANNELS:]
            return {
                "channels": face[..., :N_CHANNELS],
                "gap": exp @ task.scales.gap,
                "exp": exp,
                "closed": flags[..., 0],
                "speech": flags[..., 1],
                "phones": jnp.argmax(outputs["phones"], -1),
            }

        self._run, self._params = jax.jit(run), params

    def __call__(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Raw log-mel rows `[4t 40]` -> channels `[t 7]`, exp `[t e]`, gap, closed, speech, phones `[t]`."""
        n = len(rows) // 4
        padded = np.full((4 * (-(-n // PAD_FRAMES) * PAD_FRAMES), rows.shape[1]), SILENT_ROW, np.float32)
        padded[: 4 * n] = rows[: 4 * n]
        return {k: np.asarray(v)[:n] for k, v in self._run(self._params, jnp.asarray(padded)).items()}


def heldout_figures(
    predictor: GeneralPredictor, items: Sequence[Item], gap: np.ndarray, degradation: str = "clean"
) -> dict[str, Any]:
    """r of jaw, lip opening and all articulators over the frames of all items, and how closed lips are told.

    Args:
      gap: `[e]` dm of lip opening per unit of each expression coefficient.
    """
    rng = np.random.default_rng(0)
    predicted: dict[str, list[np.ndarray]] = {
        k: [] for k in ("channels", "gap", "closed", "speech", "phones")
    }
    for item in items:
        rows = DEGRADATIONS[degradation](item.rows[0].astype(np.float32), rng)
        for name, value in predictor(rows).items():
            if name in predicted:
                predicted[name].append(value[item.valid])
    out = {name: np.concatenate(values) for name, values in predicted.items()}
    truth = {
        "channels": np.concatenate([i.channels[i.valid] for i in items]),
        "gap": np.concatenate([(i.exp @ gap)[i.valid] for i in items]),
        "phones": np.concatenate([i.phones[i.valid] for i in items]),
    }
    closed = np.concatenate([i.closed[i.valid] for i in items]) > 0.5
    per_channel = {
        name: pearson(truth["channels"][:, k], out["channels"][:, k]) for k, name in enumerate(CHANNELS)
    }
    return {
        "frames": len(closed),
        "jaw": per_channel["jaw"],
        "lips": pearson(truth["gap"], out["gap"]),
        "channels": per_channel,
        "amplitude": float(out["gap"].std() / (truth["gap"].std() + 1e-9)),
        "closed_auc": auc(out["closed"], closed),
        "phone_accuracy": float((out["phones"] == truth["phones"])[truth["phones"] >= 0].mean()),
    }


def silence_speeds(predictor: GeneralPredictor, items: Sequence[Item]) -> dict[str, float]:
    """Mean speed of the predicted lip opening in 4 s of silence or noise, over that in the items' speech.

    `*_after_speech` goes on after an utterance; the others are recordings of nothing.
    """
    rng = np.random.default_rng(1)

    def speed(gap: np.ndarray) -> float:
        return float(np.abs(np.diff(gap)).mean())

    speech = float(np.mean([speed(predictor(i.rows[0].astype(np.float32))["gap"]) for i in items]))
    shape = (4 * SILENCE_FRAMES, items[0].rows.shape[-1])
    digital = np.full(shape, SILENT_ROW, np.float32)
    white = np.log(rng.exponential(size=shape) + 1e-3).astype(np.float32)
    before = items[0].rows[0].astype(np.float32)
    n = len(items[0])
    level = _power(before) - np.log(shape[1]) + NOISE_DB * np.log(10) / 10
    # -50 dB of full scale: white noise of unit power has a total level of 10.4 in these rows
    cases = {
        "digital": digital,
        "noise": np.logaddexp(white + 10.4 - np.log(shape[1]) - 11.5, SILENT_ROW),
        "digital_after_speech": np.concatenate([before, digital]),
        "noise_after_speech": np.concatenate([before, white + level]),
    }
    ratios = {}
    for name, rows in cases.items():
        gap = predictor(rows.astype(np.float32))["gap"]
        ratios[name] = speed(gap[n + 10 :] if name.endswith("speech") else gap) / speech
    return ratios
