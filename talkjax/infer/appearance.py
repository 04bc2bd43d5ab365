"""What a person's skin, mouth and eyes look like at any geometry: a memory read by kernel regression.

Keys are the frames' descriptions (`retrieval.ZoneFeatures`), values their albedo in a few principal
components per zone. A read is the posterior mean of a Gaussian process (Rasmussen & Williams 2006, eq. 2.25,
2.23 for the held-out form): near stored frames it follows them, far from all it falls back to the mean. On
the development clip it predicts left-out blocks of textures with 15 to 28 % less squared error than an
average of the four nearest frames does (docs/refiner.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from talkjax.infer.retrieval import ZONES, ZoneFeatures
from talkjax.track.texture import ALBEDO_SCALE, TextureBank
from talkjax.types import SKIN

RANKS = {"mouth": 48, "eyes": 32, "skin": 24}
"""Principal components kept per zone."""
MAX_FRAMES = 600
"""Of a longer clip, so many evenly spaced frames are remembered."""
EXCLUDE = 10
"""Frames around a training frame that its own read may not use."""
LENGTHS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
NOISES = (0.1, 0.3, 1.0, 3.0)
"""Candidates of kernel length (units of the features) and noise (share of the prior variance)."""
_TEST_BLOCK = 30  # frames left out together, with `EXCLUDE` on either side, when these are chosen
_CHUNK = 8192  # texels handled at a time
_GRAM_STRIDE = 3  # every third texel tells the principal directions well enough
_JUDGED = 1500  # texels per zone that reads are compared on


class ZoneMemory(NamedTuple):
    """One zone: texels `[m]` with their share of the zone, `keys [n d]`, `gain [n r]` (what a kernel row is
    multiplied with), `basis [r m 3]`, codes of the remembered frames read without their neighbors `[n r]`."""

    texels: np.ndarray
    share: np.ndarray
    keys: np.ndarray
    gain: np.ndarray
    basis: np.ndarray
    own: np.ndarray
    length: float

    def read(self, features: Float[np.ndarray, "t d"]) -> Float[np.ndarray, "t r"]:
        """Codes of frames described by `features`."""
        return (_kernel(features, self.keys, self.length) @ self.gain).astype(np.float32)


class Appearance(NamedTuple):
    """The memory of all zones over the frames `frames [n]` of the texture bank."""

    zones: tuple[ZoneMemory, ...]
    frames: np.ndarray

    def tree(self) -> dict[str, Any]:
        """Everything that reads need, as nested dicts of arrays; see `appearance_from`."""
        kept = {}
        for name, zone in zip(ZONES, self.zones, strict=True):
            arrays = {key: getattr(zone, key) for key in ("texels", "share", "keys", "gain")}
            arrays["length"] = np.float64(zone.length)
            kept[name] = arrays | {"basis": zone.basis.astype(np.float16)}  # half the size, error 5e-4
        return {"frames": self.frames, **kept}

    def codes(self, features: ZoneFeatures, own_index: np.ndarray | None = None) -> list[np.ndarray]:
        """Codes `[t r]` per zone.

        Args:
          own_index: `[t]` bank frame that each frame is; its read then leaves out `EXCLUDE` frames on either
            side: a network that trains on its own frame's texture only learns to copy.
        """
        read = [zone.read(f) for zone, f in zip(self.zones, features, strict=True)]
        if own_index is None:
            return read
        place = np.searchsorted(self.frames, own_index).clip(max=len(self.frames) - 1)
        same = (self.frames[place] == own_index)[:, None]
        return [np.where(same, zone.own[place], codes) for zone, codes in zip(self.zones, read, strict=True)]

    def rests(self, codes: list[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        """What the albedo of rows of `codes` has over the mean, `[rows m 3]` per zone.

        Several rows at once cost little more than one: reading the bases is most of the work.
        """
        return [
            (code[rows] @ zone.basis.reshape(len(zone.basis), -1)).reshape(len(rows), -1, 3)
            for zone, code in zip(self.zones, codes, strict=True)
        ]

    def albedo(
        self, mean: Float[np.ndarray, "n 3"], rests: list[np.ndarray], row: int
    ) -> Float[np.ndarray, "n 3"]:
        """Albedo per texel of one row of `rests`."""
        out = mean.copy()
        for zone, rest in zip(self.zones, rests, strict=True):
            out[zone.texels] += zone.share[:, None] * rest[row]
        return out


def appearance_from(tree: Mapping[str, Any]) -> Appearance:
    """What `Appearance.tree` gave. It cannot read training frames without their neighbors."""
    zones = []
    for name in ZONES:
        part = tree[name]
        basis, length = np.asarray(part["basis"], np.float32), float(part["length"])
        texels, share, keys, gain = (np.asarray(part[key]) for key in ("texels", "share", "keys", "gain"))
        zones.append(ZoneMemory(texels, share, keys, gain, basis, np.zeros((0, len(basis))), length))
    return Appearance(tuple(zones), np.asarray(tree["frames"]))


def fit_appearance(
    bank: TextureBank,
    features: ZoneFeatures,
    zones: tuple[np.ndarray, ...],
    region: np.ndarray,
    valid: np.ndarray,
) -> Appearance:
    """Remembers a person's textures under their geometry; the kernel is chosen on blocks that are left out.

    Args:
    bank: textures of `t` frames; features: their descriptions; zones: soft masks `[n]` per zone over the
    texels; region `[n]`: kind of each texel; valid `[t]`: frames that are remembered.
    """
    frames = np.flatnonzero(valid)
    frames = frames[np.linspace(0, len(frames) - 1, min(len(frames), MAX_FRAMES)).round().astype(int)]
    memories = []
    for name, described, soft in zip(ZONES, features, zones, strict=True):
        texels = np.flatnonzero(soft > 0)
        strip = region[texels] != SKIN
        codes, basis = _principal(bank, frames, texels, strip, RANKS[name])
        keys = np.asarray(described[frames], np.float64)
        some = np.linspace(0, len(texels) - 1, min(len(texels), _JUDGED)).astype(int)
        truth, seen = _rest(bank, frames, texels[some], strip[some])
        judged = Judged(basis[:, some], truth, seen * np.sqrt(soft[texels[some]]))
        length, noise = choose_kernel(keys, codes, frames, judged)
        inverse = np.linalg.inv(_kernel(keys, keys, length) + noise * np.eye(len(keys)))
        gain = inverse @ codes
        own = codes - held_out_error(inverse, gain, frames, EXCLUDE)
        share, own = soft[texels].astype(np.float32), own.astype(np.float32)
        memories.append(ZoneMemory(texels, share, keys, gain, basis, own, length))
    return Appearance(tuple(memories), frames)


def _kernel(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Squared-exponential kernel between rows, `[a b]` float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.exp(-np.maximum(squared, 0) / (2 * length**2))


class Judged(NamedTuple):
    """Texels on which reads are compared: basis `[r q 3]`, truth `[n q 3]`, weight of each `[n q]`."""

    basis: np.ndarray
    truth: np.ndarray
    weight: np.ndarray

    def error(self, codes: Float[np.ndarray, "b r"], rows: np.ndarray) -> float:
        """Sum of the squared error of frames `rows`."""
        shape = (len(rows), *self.basis.shape[1:])
        read = (codes.astype(np.float32) @ self.basis.reshape(len(self.basis), -1)).reshape(shape)
        return float((((read - self.truth[rows]) * self.weight[rows][..., None]) ** 2).sum())


def choose_kernel(
    keys: np.ndarray, codes: np.ndarray, frames: np.ndarray, judged: Judged
) -> tuple[float, float]:
    """Kernel length and noise whose reads of left-out blocks of frames are nearest the truth."""
    best = (np.inf, LENGTHS[0], NOISES[-1])
    for length in LENGTHS:
        kernel = _kernel(keys, keys, length)
        for noise in NOISES:
            inverse = np.linalg.inv(kernel + noise * np.eye(len(keys)))
            gain, error = inverse @ codes, 0.0
            for first in range(0, len(frames), _TEST_BLOCK):
                rows = np.arange(first, min(first + _TEST_BLOCK, len(frames)))
                near = (frames >= frames[rows[0]] - EXCLUDE) & (frames <= frames[rows[-1]] + EXCLUDE)
                out = np.flatnonzero(near)
                missed = np.linalg.solve(inverse[np.ix_(out, out)], gain[out])
                error += judged.error(codes[rows] - missed[np.isin(out, rows)], rows)
            if error < best[0]:
                best = (error, length, noise)
    return best[1], best[2]


def held_out_error(inverse: np.ndarray, gain: np.ndarray, frames: np.ndarray, reach: int) -> np.ndarray:
    """Truth minus read `[n r]` of every stored frame when all frames within `reach` of it are left out.

    With A = (K + noise I)^-1, frames M out: error_M = (A_MM)^-1 (A y)_M.
    """
    error = np.empty_like(gain)
    for k, frame in enumerate(frames):
        out = np.flatnonzero(np.abs(frames - frame) <= reach)
        error[k] = np.linalg.solve(inverse[np.ix_(out, out)], gain[out])[np.searchsorted(out, k)]
    return error


def _rest(
    bank: TextureBank, frames: np.ndarray, texels: np.ndarray, strip: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the frames' albedo has over the mean `[t m 3]`, 0 where a frame does not see a texel; how much it
    sees of each `[t m]`.

    A closed mouth or eye shows little of its strip, but what it shows is what is wanted.
    """
    weight = np.asarray(bank.weights[:, texels])[frames]
    seen = np.where(strip, weight > 0, np.minimum(weight / np.float32(64), 1)).astype(np.float32)
    albedo = np.asarray(bank.frames[:, texels])[frames].astype(np.float32) / ALBEDO_SCALE
    return seen[..., None] * (albedo - bank.mean[texels]), seen


def _principal(
    bank: TextureBank, frames: np.ndarray, texels: np.ndarray, strip: np.ndarray, rank: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[n r]` and basis `[r m 3]` of the zone's textures: their product is closest to them."""
    n = len(frames)
    gram = np.zeros((n, n), np.float32)
    some, some_strip = texels[::_GRAM_STRIDE], strip[::_GRAM_STRIDE]
    for first in range(0, len(some), _CHUNK):
        part = slice(first, first + _CHUNK)
        rest = _rest(bank, frames, some[part], some_strip[part])[0].reshape(n, -1)
        gram += rest @ rest.T
    _, vectors = np.linalg.eigh(gram.astype(np.float64))
    left = vectors[:, ::-1][:, : min(rank, n)]
    basis = np.empty((left.shape[1], len(texels), 3), np.float32)
    for first in range(0, len(texels), _CHUNK):
        part = slice(first, first + _CHUNK)
        rest = _rest(bank, frames, texels[part], strip[part])[0]
        basis[:, part] = (left.T.astype(np.float32) @ rest.reshape(n, -1)).reshape(left.shape[1], -1, 3)
    size = np.maximum(np.sqrt((basis.astype(np.float64) ** 2).sum((1, 2))), 1e-6)
    return left * size, basis / size[:, None, None].astype(np.float32)
