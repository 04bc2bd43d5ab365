"""Draws one utterance of a corpus: sound, phones, articulators, deformers, lip gap, and a strip of mouths.

    python -m launch.look_corpus --corpus=DIR --index=0 --out=look.png
    python -m launch.look_corpus --corpus=DIR --index=0 --out=look.png --model=IDENTITY/track/model.npz
    python -m launch.look_corpus --corpus=DIR --closures     # do m, b, p close, and when, for every voice

With a person's model the strip shows that person's mouth (shaded mesh); it is left out otherwise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

import talkjax  # noqa: F401  (sets XLA_FLAGS before JAX starts)
from talkjax.assets.model_file import load_model
from talkjax.data.coarticulation import BILABIALS, CHANNELS
from talkjax.data.speech_corpus import FPS, SAMPLE_RATE, SpeechCorpus, Utterance
from talkjax.data.speech_deformers import lip_gap
from talkjax.errors import InputError, TalkjaxError
from talkjax.face import mesh468
from talkjax.face.deformers import EXP_NAMES

_CORPUS = flags.DEFINE_string("corpus", None, "Folder of the corpus.")
_INDEX = flags.DEFINE_integer("index", 0, "Position of the utterance.")
_OUT = flags.DEFINE_string("out", "look.png", "The picture.")
_MODEL = flags.DEFINE_string("model", None, "model.npz of a prepared person, for the mouths.")
_CLOSURES = flags.DEFINE_bool("closures", False, "Print how m, b and p close, instead of drawing.")
_START = flags.DEFINE_float("start", 0.0, "Seconds.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Seconds drawn.")

_DEFORMERS = ("jawOpen", "lowerDown", "upperUp", "pucker", "stretch_R", "rollLower", "chinRaise", "press")
_MOUTHS = 20


def _curves(ax: Axes, times: np.ndarray, values: np.ndarray, names: tuple[str, ...]) -> None:
    for k, name in enumerate(names):
        ax.plot(times, values[:, k], linewidth=1.0, label=name, color=f"C{k}")
    ax.legend(fontsize=6, ncols=8, loc="upper right", frameon=False)


def _phones(ax: Axes, utterance: Utterance) -> None:
    start = 0.0
    for phone, end in utterance.phones:
        ax.axvline(start, color="0.8", linewidth=0.5)
        if _START.value <= start < _START.value + _SECONDS.value:
            ax.text((start + end) / 2, 0.9, phone, ha="center", fontsize=6, clip_on=True)
        start = end


def _mouth(ax: Axes, neutral: np.ndarray, basis: np.ndarray, exp: np.ndarray) -> None:
    """The skin around the mouth, front view, lit from the upper left."""
    verts = neutral + np.einsum("e,evc->vc", exp, basis)
    corners = verts[mesh468.FACES_SKIN]
    corners = corners[np.argsort(corners[..., 2].mean(1))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = np.clip(0.35 + 0.65 * normals @ np.array([-0.3, 0.4, 0.86]), 0, 1)
    ax.add_collection(
        PolyCollection(corners[..., :2], facecolors=np.outer(light, [1, 0.85, 0.75]), edgecolors="face")
    )
    middle = neutral[[13, 14]].mean(0)
    ax.set(xlim=(middle[0] - 0.45, middle[0] + 0.45), ylim=(middle[1] - 0.45, middle[1] + 0.3))
    ax.set(aspect="equal", xticks=[], yticks=[], facecolor="0.15")


def draw(utterance: Utterance, path: Path, model: Path | None) -> None:
    """Writes the picture."""
    figure = Figure(figsize=(15, 11 if model else 8.5), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(5 if model else 4, 1, height_ratios=[1, 1.3, 1.3, 1, 1.6][: 5 if model else 4])
    axes = [figure.add_subplot(grid[k]) for k in range(4)]
    axes[0].plot(
        np.arange(len(utterance.wav)) / SAMPLE_RATE, utterance.wav / 32768, linewidth=0.4, color="0.3"
    )
    axes[0].set(ylim=(-1, 1), title=f"{utterance.key}  {utterance.voice}  {utterance.text[:100]}")
    _phones(axes[0], utterance)
    times = (np.arange(len(utterance)) + 0.5) / FPS
    exp = utterance.exp.astype(np.float64)
    _curves(axes[1], times, utterance.channels, CHANNELS)
    _curves(axes[2], times, exp[:, [EXP_NAMES.index(n) for n in _DEFORMERS]], _DEFORMERS)
    _curves(axes[3], times, lip_gap(exp)[:, None], ("lip gap, dm",))
    for ax in axes:
        ax.set(xlim=(_START.value, _START.value + _SECONDS.value))
    if model is not None:
        face = load_model(model)
        neutral, basis = np.asarray(face.mean, np.float64), np.asarray(face.exp_basis, np.float64)
        row = grid[4].subgridspec(2, _MOUTHS // 2)
        frames = np.linspace(_START.value, _START.value + _SECONDS.value, _MOUTHS, endpoint=False) * FPS
        for k, frame in enumerate(np.clip(frames.astype(int), 0, len(utterance) - 1)):
            ax = figure.add_subplot(row[k // (_MOUTHS // 2), k % (_MOUTHS // 2)])
            _mouth(ax, neutral, basis, exp[frame])
            ends = [end for _, end in utterance.phones]
            phone = utterance.phones[min(int(np.searchsorted(ends, (frame + 0.5) / FPS)), len(ends) - 1)][0]
            ax.set_title(f"{(frame + 0.5) / FPS:.2f} {phone}", fontsize=7)
    figure.savefig(path)


def closures(corpus: SpeechCorpus) -> None:
    """Prints, per voice, how many of m, b, p bring the lip gap below 15 % of the utterance's median opening.

    And, at b and p after another sound, when the lips are closest against when the sound is faintest.
    """
    closed: dict[str, list[bool]] = {}
    offset: dict[str, list[float]] = {}
    for utterance in corpus:
        ends = [0.0, *(end for _, end in utterance.phones)]
        spoken = np.zeros(len(utterance), bool)
        for (phone, end), start in zip(utterance.phones, ends, strict=False):
            spoken[int(start * FPS) : int(end * FPS) + 1] |= phone != "pau"
        if not spoken.any():
            continue
        voice = utterance.voice.split("+")[0]
        gap = lip_gap(utterance.exp.astype(np.float64))
        energy = np.convolve(utterance.wav.astype(np.float64) ** 2, np.ones(160), "same")
        for k, (phone, end) in enumerate(utterance.phones):
            if phone not in BILABIALS:
                continue
            shut = gap[int(ends[k] * FPS) : int(np.ceil(end * FPS))].min()
            closed.setdefault(voice, []).append(bool(shut < 0.15 * np.median(gap[spoken])))
            if phone != "m" and k and utterance.phones[k - 1][0] not in ("pau", *BILABIALS):
                low, high = max(ends[k] - 0.06, 0.0), end + 0.06
                first = int(low * SAMPLE_RATE)
                faint = (first + int(np.argmin(energy[first : int(high * SAMPLE_RATE)]))) / SAMPLE_RATE
                frames = np.arange(int(low * FPS), min(int(high * FPS) + 1, len(gap)))
                offset.setdefault(voice, []).append((frames[np.argmin(gap[frames])] + 0.5) / FPS - faint)
    for voice in sorted(closed):
        share, n = np.mean(closed[voice]), len(closed[voice])
        print(
            f"{voice:36s} {share:.4f} of {n} closed; lips {1000 * np.median(offset.get(voice, [0])):+.0f} ms"
        )
    everything = np.concatenate(list(closed.values()))
    print(f"all: {everything.sum()} of {len(everything)} closed")


def main(argv: list[str]) -> None:
    try:
        if not _CORPUS.value:
            raise InputError("--corpus is missing", expected="--corpus=DIR")
        corpus = SpeechCorpus.open(_CORPUS.value)
        if _CLOSURES.value:
            closures(corpus)
            return
        if not 0 <= _INDEX.value < len(corpus):
            raise InputError(f"--index={_INDEX.value}", expected=f"0 .. {len(corpus) - 1}")
        draw(corpus[_INDEX.value], Path(_OUT.value), Path(_MODEL.value) if _MODEL.value else None)
        print(_OUT.value)
    except TalkjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    app.run(main)
