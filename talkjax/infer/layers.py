"""The layers of each output frame before refinement: bare render, borrowed appearance, background.

`plan_frames` decides for a whole sequence which training frames lend mouth, eyes and skin; `FrameLayers`
renders frame after frame. Everything is in the head crop (`track/crop.py`), float32 in [0, 1].
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from talkjax.face.render import render_layers
from talkjax.infer import compose
from talkjax.infer.ahead import ahead
from talkjax.infer.appearance import Appearance
from talkjax.infer.person import Person, describe
from talkjax.infer.retrieval import ZoneFeatures, distances, smooth_choice
from talkjax.track.crop import CropTrack, paste_back
from talkjax.track.texture import ALBEDO_SCALE
from talkjax.types import SKIN, Camera, Pose


class FrameSource(Protocol):
    """Background frames with the face geometry that they show."""

    @property
    def exp(self) -> np.ndarray: ...

    @property
    def euler(self) -> np.ndarray: ...

    @property
    def translation(self) -> np.ndarray: ...

    def frame(self, k: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Motion:
    """What the face does: one row per output frame.

    exp `[t e]`, euler and translation `[t 3]`, sh `[t 3 9]`, gaze `[t 2]`, source `[t]` background frame.
    Around a cut of the background, `share` `[t]` of frame `other` `[t]` is blended in; None: no cuts.
    """

    exp: np.ndarray
    euler: np.ndarray
    translation: np.ndarray
    sh: np.ndarray
    gaze: np.ndarray
    source: np.ndarray
    other: np.ndarray | None = None
    share: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.exp)

    @property
    def pose(self) -> Pose:
        return Pose(euler=jnp.asarray(self.euler), translation=jnp.asarray(self.translation))


class Layers(NamedTuple):
    """One frame: bare, many (read from the memory of appearance) and one (of a single look-alike) `[s s 3]`
    in [0, 1], zero off the face; region `[s s]`; alpha `[s s]`; background `[s s 3]`, already warped to the
    new outline."""

    bare: np.ndarray
    many: np.ndarray
    one: np.ndarray
    region: np.ndarray
    alpha: np.ndarray
    background: np.ndarray


class HostPart(NamedTuple):
    """Prepared without JAX: full background frame and its head crop, uint8; the crop warped to the new
    outline; the albedo textures `[s s 9]` (mean, many, one)."""

    full: np.ndarray
    crop: np.ndarray
    warped: np.ndarray
    texture: np.ndarray


class _Shown(NamedTuple):
    """Background frames `[t]`, where their faces are in the output frames' crops `[t v 2]`, and where these
    faces would be at the output's head pose."""

    frames: np.ndarray
    seen_px: np.ndarray
    turned_px: np.ndarray


class _Zone(NamedTuple):
    """Texels `[m]` of a zone of the face, their share `[m 1]` and mean `[m 3]`; strip: 1, 0 for skin."""

    texels: np.ndarray
    share: np.ndarray
    mean: np.ndarray
    strip: np.ndarray


_BLOCK = 8  # frames
_WEIGHTS = np.arange(256, dtype=np.float32)
_SEEN = np.stack([np.minimum(_WEIGHTS / 64, 1), (_WEIGHTS > 0).astype(np.float32)])
"""How much a frame is believed that sees a texel with weight 0 to 255: of skin, and of strips. A closed mouth
or eye shows little of its strip, but what it shows is what is wanted."""


def choose_frames(
    features: ZoneFeatures, bank: ZoneFeatures, own_index: np.ndarray | None = None
) -> list[np.ndarray]:
    """The look-alike of every frame of a sequence, `[t]` per zone."""
    pairs = zip(features, bank, strict=True)
    return [smooth_choice(distances(wanted, stored, own_index=own_index)) for wanted, stored in pairs]


class FrameLayers:
    """Renders the layers of a planned sequence, frame by frame."""

    def __init__(
        self,
        person: Person,
        motion: Motion,
        source: FrameSource,
        appearance: Appearance | None = None,
        own_index: np.ndarray | None = None,
    ):
        """Plans the sequence.

        Args:
          appearance: what `many` is read from; None: `many` and `one` are the mean, like the bare render.
          own_index: `[t]` training frame that each output frame is (when building training data), so that
            it does not borrow from itself.
        """
        self.person, self.motion, self.source = person, motion, source
        self.crops: CropTrack = person.crops(motion.pose)
        self.cameras: Camera = person.cameras(self.crops)
        features = describe(person.model, motion.exp, motion.euler, motion.translation, motion.gaze)
        self._appearance = appearance
        if appearance is not None:
            self._one = choose_frames(features, person.features, own_index)
            self._codes = appearance.codes(features, own_index)
        self._new_px = person.verts_px(motion.exp, motion.pose, self.cameras)
        self._shown = self._shown_px(motion.source)
        self._other = None if motion.other is None else self._shown_px(motion.other)
        self._rests: tuple[int, list[np.ndarray]] | None = None
        self._zones = [self._zone(soft) for soft in person.zones]

    def _zone(self, soft: np.ndarray) -> _Zone:
        index = np.flatnonzero(soft > 0)
        strip = (self.person.texels.region[index] != SKIN).astype(np.intp)
        return _Zone(index, soft[index, None], self.person.bank.mean[index], strip)

    def _shown_px(self, frames: np.ndarray) -> _Shown:
        source, motion = self.source, self.motion
        euler, translation = source.euler[frames], source.translation[frames]
        pose = Pose(euler=jnp.asarray(euler), translation=jnp.asarray(translation))
        seen = self.person.verts_px(source.exp[frames], pose, self.cameras)
        if np.array_equal(euler, motion.euler) and np.array_equal(translation, motion.translation):
            return _Shown(frames, seen, seen)
        return _Shown(frames, seen, self.person.verts_px(source.exp[frames], motion.pose, self.cameras))

    def _background(self, k: int, shown: _Shown) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Whole frame with the head at its new pose, its crop, and the crop warped to the new outline."""
        side = float(self.crops.side[k])
        scale, corner = side / self.person.crop_size, self.crops.center[k] - side / 2
        seen = self.source.frame(int(shown.frames[k]))
        full, moved_px = compose.move_head(
            seen, shown.turned_px[k] * scale + corner, shown.seen_px[k] * scale + corner
        )
        crop = self.person.cut(full, self.crops, k)
        return full, crop, compose.warp_background(crop, self._new_px[k], (moved_px - corner) / scale)

    def _met(self, k: int, shown: _Shown) -> np.ndarray:
        """Whole frame with the warped crop put back."""
        full, crop, warped = self._background(k, shown)
        if warped is crop:
            return full
        alpha = compose.crop_alpha(crop.shape[0])
        return paste_back(full, warped, alpha, self.crops.center[k], float(self.crops.side[k]))

    def host_part(self, k: int) -> HostPart:
        """What a thread can do ahead of time: read and warp the background, mix the borrowed textures."""
        share = 0.0 if self.motion.share is None else float(self.motion.share[k])
        if share > 0 and self._other is not None:
            full = compose.morph(self._met(k, self._shown), self._met(k, self._other), share)
            crop = warped = self.person.cut(full, self.crops, k)
        else:
            full, crop, warped = self._background(k, self._shown)
        texture = np.concatenate([self.person.bank.mean, *self._borrowed(k)], axis=-1)
        return HostPart(full, crop, warped, self.person.texels.image(texture))

    def __call__(self, k: int, host: HostPart | None = None) -> Layers:
        """Layers of frame k."""
        host = host or self.host_part(k)
        person, motion = self.person, self.motion
        lit_layers, region_map = render_layers(
            person.renderer,
            jnp.asarray(motion.exp[k]),
            Pose(euler=jnp.asarray(motion.euler[k]), translation=jnp.asarray(motion.translation[k])),
            jnp.asarray(motion.sh[k]),
            jnp.asarray(host.texture),
            jax.tree.map(lambda x: x[k], self.cameras),
            person.crop_size,
        )
        lit, region = np.asarray(lit_layers), np.asarray(region_map)
        return Layers(
            bare=lit[..., :3],
            many=lit[..., 3:6],
            one=lit[..., 6:9],
            region=region,
            alpha=compose.face_alpha(region),
            background=host.warped.astype(np.float32) / 255,
        )

    def frames(self) -> Generator[tuple[int, HostPart, Layers], None, None]:
        """All frames in order; a second thread prepares the next ones while this one is rendered."""
        hosts = ahead(self.host_part(k) for k in range(len(self.motion)))
        for k, host in enumerate(hosts):
            yield k, host, self(k, host)

    def _borrowed(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Albedo `[n 3]`: read from the memory of appearance, and the look-alike's; mean where never seen."""
        bank = self.person.bank
        if self._appearance is None:
            return bank.mean, bank.mean
        one = np.zeros_like(bank.mean)
        for zone, frames in zip(self._zones, self._one, strict=True):
            j = int(frames[k])
            seen = _SEEN[zone.strip, bank.weights[j][zone.texels]]
            color = bank.frames[j][zone.texels].astype(np.float32)
            color /= ALBEDO_SCALE
            color -= zone.mean
            color *= seen[:, None]
            color += zone.mean
            color *= zone.share
            one[zone.texels] += color
        return self._many(k), one

    def _many(self, k: int) -> np.ndarray:
        """Albedo read from the memory, a block of frames at a time; the blocks are the same in any order."""
        assert self._appearance is not None
        block, row = divmod(k, _BLOCK)
        ready = self._rests
        if ready is None or ready[0] != block:
            rows = np.minimum(np.arange(block * _BLOCK, (block + 1) * _BLOCK), len(self.motion) - 1)
            ready = self._rests = block, self._appearance.rests(self._codes, rows)
        return self._appearance.albedo(self.person.bank.mean, ready[1], row)
