"""Head motion of an identity: the decoder against generators without a network, and plots to look at.

    python -m tests.benchmarks.bench_motion --identity=real --identities_dir=identities --out_dir=/tmp/motion

Every row is the mean over seeds of a minute of motion (largest value for correlation, loop and jump). Rows:
`decoder` (what `--pose=generated` uses), `decoder, uncalibrated`, `autoregression` (vector AR on the same
normal series), `surrogate` (random phases of the clip's own spectrum, interpolated), `segments` (pieces of
the clip with cross-fades, as in a motion graph), and the clip's own halves against each other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from absl import app, flags
from scipy.special import ndtri

import talkjax  # noqa: F401  (before JAX)
from talkjax.audio.rhythm import voice_rhythm
from talkjax.config import MotionConfig
from talkjax.data.synthetic_voice import fit_voice, load_voice
from talkjax.evaluate import motion as figures
from talkjax.evaluate.plots import plot_pose
from talkjax.infer import head_style, motion_baseline
from talkjax.infer.person import load_segment
from talkjax.infer.personal_motion import HeadMotion, fit_decoder
from talkjax.infer.voice_response import no_response
from talkjax.media.reader import read_audio
from talkjax.track.identity import Identity

_IDENTITY = flags.DEFINE_string("identity", None, "prepared identity", required=True)
_DIR = flags.DEFINE_string("identities_dir", None, "folder of all identities")
_AUDIO = flags.DEFINE_string("audio", None, "voice to move to; none: the embedded ones")
_SEEDS = flags.DEFINE_integer("seeds", 5, "motions per row")
_SECONDS = flags.DEFINE_float("seconds", 60.0, "length of a motion")
_OUT = flags.DEFINE_string("out_dir", None, "folder for PNG plots")
_STEPS = flags.DEFINE_integer("steps", 120, "steps of fine-tuning")


def _voice(seconds: float) -> np.ndarray:
    if _AUDIO.value:
        wav = read_audio(Path(_AUDIO.value), 16_000)
        return np.resize(wav, round(seconds * 16_000))
    return fit_voice(load_voice("voice_drive"), seconds).wav


def surrogate(normal: np.ndarray, n_keys: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian series with the clip's cross-spectrum (mean of 5 neighbouring frequencies), random phases."""
    keys = normal[:: head_style.KEY_STRIDE]
    window = np.hanning(len(keys))[:, None]
    spectrum = np.fft.rfft((keys - keys.mean(0)) * window, axis=0)
    cross = np.einsum("fi,fj->fij", spectrum, spectrum.conj()) / (window**2).sum()
    kernel = np.ones(5) / 5
    cross = np.apply_along_axis(lambda x: np.convolve(np.pad(x, 2, mode="edge"), kernel, "valid"), 0, cross)
    at = np.fft.rfftfreq(n_keys)
    known = np.fft.rfftfreq(len(keys))
    out = np.zeros((len(at), 6), complex)
    roots = np.linalg.cholesky(cross + 1e-9 * np.eye(6))
    for k, frequency in enumerate(at):
        noise = (rng.standard_normal(6) + 1j * rng.standard_normal(6)) / np.sqrt(2)
        out[k] = roots[np.argmin(np.abs(known - frequency))] @ noise
    series = np.fft.irfft(out * np.sqrt(n_keys), n_keys, axis=0)
    return series / series.std(0)


def segments(
    euler: np.ndarray, n_frames: int, rng: np.random.Generator, piece: int = 50, fade: int = 8
) -> np.ndarray:
    """Pieces of the clip, each beginning where the angles are near the last one's end."""
    out = euler[:0]
    start = int(rng.integers(0, len(euler) - piece))
    while len(out) < n_frames:
        part = euler[start : start + piece]
        if len(out):
            share = (np.arange(fade) + 1)[:, None] / (fade + 1)
            out = np.concatenate([out[:-fade], out[-fade:] * (1 - share) + part[:fade] * share, part[fade:]])
        else:
            out = part
        distance = np.abs(euler[: len(euler) - piece] - out[-fade]).sum(1)
        start = int(rng.choice(np.argsort(distance)[:12]))
    return out[:n_frames]


def autoregression_nats(normal: np.ndarray, order: int) -> float:
    """The decoder's `personal` for the vector AR: nats per key of the last 15 %, fitted to the rest."""
    cut = round(0.85 * len(normal))
    model = motion_baseline.fit_autoregression(normal[:cut], order)
    lags = head_style.KEY_STRIDE * np.arange(1, order + 1)
    away = np.stack(
        [normal[t] - np.einsum("pij,pj->i", model.weights, normal[t - lags]) for t in range(cut, len(normal))]
    )
    white = np.linalg.solve(model.root, away.T)
    log_scale = np.log(np.diag(model.root)).sum() + 3 * np.log(2 * np.pi)
    return float(0.5 * (white**2).sum(0).mean() + log_scale)


def row(name: str, motions: list[np.ndarray], train: np.ndarray, heldout: np.ndarray | None) -> str:
    hs = np.array([figures.histogram_similarity(e, train)[0] for e in motions])
    std = np.mean([figures.std_ratios(e, train) for e in motions], 0)
    speed = np.mean([figures.speed_ratios(e, train) for e in motions], 0)
    spectrum = np.mean([figures.spectrum_distance(e, train) for e in motions])
    axes = np.mean([figures.axis_correlation_distance(e, train) for e in motions])
    cells = [
        f"{hs.mean():.3f} ({hs.min():.3f})",
        "/".join(f"{s:.2f}" for s in std),
        "/".join(f"{s:.2f}" for s in speed),
    ]
    cells += [f"{spectrum:.1f}", f"{axes:.2f}"]
    if heldout is not None:
        own = figures.histogram_similarity(train, heldout)[0]
        there = np.mean([figures.histogram_similarity(e, heldout)[0] for e in motions])
        cells.append(f"{there:.3f} = {there / own:.2f} x {own:.3f}")
    else:
        cells.append("-")
    cells.append(f"{figures.seed_correlation(motions):.2f}")
    cells.append(f"{max(figures.loop_peak(e) for e in motions):.2f}")
    cells.append(f"{max(figures.jump_ratio(e, train) for e in motions):.2f}")
    return f"{name:<24}" + "".join(f"{c:>19}" for c in cells)


HEAD = (
    "HS train (min)",
    "std p/y/r",
    "speed p/y/r",
    "spectrum dB",
    "axis corr. off by",
    "HS held out",
    "seeds r",
    "loop",
    "jump",
)


def main(argv: list[str]) -> None:
    del argv
    identity = Identity.open(_IDENTITY.value, _DIR.value)
    train = load_segment(identity.root / "clip", identity.root / "track")
    heldout = None
    if identity.has_stage("heldout_track"):
        heldout = load_segment(identity.root / "heldout", identity.root / "heldout_track").euler
    style, normal = head_style.fit_head_style(train.euler, train.translation, train.valid)
    n = round(_SECONDS.value * 25)
    keys, wav = head_style.key_count(n), _voice(_SECONDS.value)
    rhythm = np.asarray(voice_rhythm(np.asarray(train.wav(), np.float32), len(train)))
    fitted, nats = fit_decoder(normal, rhythm, MotionConfig(steps=_STEPS.value))
    print(f"nats per key of the last 15 % of the training frames: decoder {nats}, ", end="")
    print(", ".join(f"autoregression of order {p} {autoregression_nats(normal, p):.2f}" for p in (3, 4, 8)))
    straight = np.repeat(ndtri((np.arange(2001) + 0.5) / 2001)[None], 6, 0)
    plain = fitted._replace(drawn=straight, mix=np.eye(6), mixed=straight, response=no_response(6))
    decoder, uncalibrated = HeadMotion(fitted, style), HeadMotion(plain, style)
    autoregression = motion_baseline.fit_autoregression(normal)
    rng = np.random.default_rng
    seeds = range(_SEEDS.value)

    def played(series: np.ndarray) -> np.ndarray:
        return head_style.play_keys(style, series, n)[0]

    rows = {
        "decoder": [decoder(wav, n, s).euler for s in seeds],
        "decoder, uncalibrated": [uncalibrated(wav, n, s).euler for s in seeds],
        "autoregression": [
            head_style.play_keys(style, motion_baseline.simulate(autoregression, keys, rng(s)), n)[0]
            for s in seeds
        ],
        "surrogate": [head_style.play_keys(style, surrogate(normal, keys, rng(s)), n)[0] for s in seeds],
        "segments": [segments(train.euler.astype(float), n, rng(s)) for s in seeds],
    }
    print(f"{'':<24}" + "".join(f"{h:>19}" for h in HEAD))
    for name, motions in rows.items():
        print(row(name, motions, train.euler, heldout))
    half = len(train) // 2
    print(row("clip, 2nd by 1st half", [train.euler[half:]], train.euler[:half], None))
    if _OUT.value:
        folder = Path(_OUT.value)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("decoder", "autoregression"):
            traces = {
                "real": train.euler,
                **{f"seed {s}": rows[name][s][: 2 * len(train)] for s in range(min(3, len(seeds)))},
            }
            (folder / f"motion_{_IDENTITY.value}_{name}.png").write_bytes(plot_pose(traces))


if __name__ == "__main__":
    app.run(main)
