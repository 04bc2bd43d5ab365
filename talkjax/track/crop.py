"""The square around the head in which everything about the face happens.

Its centre and side follow the tracked pose alone, so it moves as smoothly as the head does and has the same
size relative to the head in every frame. Pixel coordinates are continuous: pixel j covers [j, j + 1).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from talkjax.face import mesh468
from talkjax.face.points import landmark_part, landmark_rows
from talkjax.face.pose import apply_pose
from talkjax.raster.camera import project
from talkjax.types import Camera, FaceModel, Pose

HEAD_CENTER = (0.0, -0.24, -0.3)
"""Middle of the face between forehead, chin and ears, model space, dm."""

SIDE_DM = 2.2
"""Side of the square at the depth of the head's middle, dm: the face mesh with room for an open jaw."""


class CropTrack(NamedTuple):
    """Squares in image pixels, one per frame."""

    center: np.ndarray  # [t 2] x, y
    side: np.ndarray  # [t]


def head_center(model: FaceModel) -> np.ndarray:
    """`HEAD_CENTER` [3] in the frame of any model with the outer corners of the eyes."""
    corners = landmark_rows(model, mesh468.OUTER_EYE_CORNERS)
    return landmark_part(model).mean[corners].mean(0) + np.asarray(HEAD_CENTER, np.float32)


def crop_track(pose: Pose, camera: Camera, model: FaceModel | None = None) -> CropTrack:
    """The head square of every frame of `pose` (`[t 3]` each); `model` is the lifted one if omitted."""
    point = jnp.asarray(HEAD_CENTER if model is None else head_center(model))[None, :]
    center_cam = apply_pose(point, pose)
    center = project(center_cam, camera)[..., 0, :]
    side = SIDE_DM * camera.focal / (camera.distance - center_cam[..., 0, 2])
    return CropTrack(np.asarray(center, np.float32), np.asarray(side, np.float32))


def crop_camera(camera: Camera, center: Float[Array, "*b 2"], side: Float[Array, "*b"], size: int) -> Camera:
    """The camera that sees the square `side` around `center` as an image of `size` x `size` pixels."""
    scale = size / side
    corner = center - side[..., None] / 2
    return Camera(
        focal=camera.focal * scale,
        center=(camera.center - corner) * scale[..., None],
        distance=jnp.broadcast_to(jnp.asarray(camera.distance), scale.shape),
    )


def _affine(center: np.ndarray, side: float, size: int) -> np.ndarray:
    """2 x 3 map from image to crop in OpenCV's convention (integer pixel centres)."""
    scale = size / side
    offset = size / 2 - scale * np.asarray(center, np.float64) + 0.5 * scale - 0.5
    return np.array([[scale, 0, offset[0]], [0, scale, offset[1]]], np.float64)


def cut(image: UInt8[np.ndarray, "h w 3"], center: np.ndarray, side: float, size: int) -> np.ndarray:
    """Cuts and resizes the square, repeating the border where it leaves the image.

    Shrinking by more than a fifth is done in two steps (fine crop, then area average) against aliasing.
    """
    fine = size if side <= 1.2 * size else 2 * size
    crop = cv2.warpAffine(
        image,
        _affine(center, side, fine),
        (fine, fine),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop if fine == size else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def paste_back(
    image: np.ndarray, crop: np.ndarray, alpha: np.ndarray, center: np.ndarray, side: float
) -> np.ndarray:
    """Blends a crop back into the full frame: `image * (1 - alpha) + crop * alpha`, bounds-safe.

    Args:
      image: `[h w 3]` uint8, not modified.
      crop: `[s s 3]` float32 in [0, 255].
      alpha: `[s s]` float32 in [0, 1], zero on the crop's border.
    """
    where = placed(crop, alpha, center, side, image.shape[:2])
    if where is None:
        return image
    window, layer, mix = where
    out = image.copy()
    patch = out[window].astype(np.float32)
    out[window] = np.clip(patch + mix * (layer - patch) + 0.5, 0, 255).astype(np.uint8)
    return out


def placed(
    crop: np.ndarray, alpha: np.ndarray, center: np.ndarray, side: float, shape: tuple[int, ...]
) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray] | None:
    """A crop resampled to where it lies in a frame of `shape` `(h, w)`; arguments as `paste_back`.

    Returns:
      (rows and columns of the frame, color `[y x 3]` in about [0, 255], alpha `[y x 1]` in [0, 1]); None
      where the crop lies outside the frame.
    """
    h, w = shape
    half = side / 2
    x0, y0 = (max(int(np.floor(c - half)), 0) for c in center)
    x1, y1 = min(int(np.ceil(center[0] + half)) + 1, w), min(int(np.ceil(center[1] + half)) + 1, h)
    if x1 <= x0 or y1 <= y0:
        return None
    inverse = cv2.invertAffineTransform(_affine(center, side, crop.shape[0]))
    inverse[:, 2] -= (x0, y0)
    size = (x1 - x0, y1 - y0)
    # the crop's color is extended past its mask, so color and alpha can be resampled apart
    layer = cv2.warpAffine(
        np.dstack([crop, alpha]).astype(np.float32), inverse, size, flags=cv2.INTER_CUBIC, borderValue=0
    )
    return (slice(y0, y1), slice(x0, x1)), layer[..., :3], np.clip(layer[..., 3:], 0, 1)


def native_size(crops: CropTrack, *, smallest: int = 192, largest: int = 512) -> int:
    """Crop resolution (a multiple of 32) nearest to the clip's own resolution of the head."""
    return int(np.clip(round(float(np.median(crops.side)) / 32) * 32, smallest, largest))


def stack_cameras(camera: Camera, crops: CropTrack, size: int) -> Camera:
    """One crop camera per frame, stacked along the first axis."""
    return jax.tree.map(
        jnp.asarray, crop_camera(camera, jnp.asarray(crops.center), jnp.asarray(crops.side), size)
    )
