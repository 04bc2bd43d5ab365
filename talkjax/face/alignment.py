"""The reference's five-point alignment and its 224-pixel crop (reference.md §2.2, §2.4).

Pixels here are the field's: the center of pixel (row i, column j) is (x, y) = (j, i), half a pixel less than
everywhere else in talkjax. `crop_points` says where an image point lies in the crop, whose camera is
`standard_camera`: u = 1015 x / (10 - z) + 112, v = 224 - (1015 y / (10 - z) + 112).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from talkjax.types import Camera

CROP_SIZE = 224
TARGET_SCALE = 102.0
"""Pixels of the crop per model unit of the standard face."""

STANDARD_FIVE = np.array(
    [
        [-0.3115, 0.2904, 0.1338],
        [0.3098, 0.2897, 0.1318],
        [0.0033, -0.0462, 0.5524],
        [-0.2522, -0.3813, 0.2241],
        [0.2485, -0.3813, 0.2224],
    ]
)
"""Eye and eye, nose tip, mouth corners of the mean face, model units; the image's left side first."""

STANDARD_FOCAL, STANDARD_CENTER, STANDARD_DISTANCE = 1015.0, 112.0, 10.0
"""Of the standard camera: focal length and both coordinates of its center in px, distance in model units."""

ARCFACE_SIZE = 112
ARCFACE_FIVE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Where face recognition wants eyes, nose tip and mouth corners in its picture, px (reference.md §5.4)."""

LANDMARKS_68 = np.array(
    [
        *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),  # outline
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # outer lips
        *(78, 82, 13, 312, 308, 317, 14, 87),  # inner lips
    ],
    np.int32,
)
"""Which of the 468 tracked landmarks stands for each of the 68 of the usual annotation."""

_EYE_OF_68 = ((36, 39), (42, 45))
_NOSE_OF_68, _MOUTH_OF_68 = 30, (48, 54)


def standard_camera() -> Camera:
    """The camera of the aligned crop, on this process's default device."""
    return Camera(
        focal=jnp.float32(STANDARD_FOCAL),
        center=jnp.full(2, STANDARD_CENTER, jnp.float32),
        distance=jnp.float32(STANDARD_DISTANCE),
    )


def landmarks_68(landmarks: Float[np.ndarray, "*b 478 c"]) -> Float[np.ndarray, "*b 68 c"]:
    """The 68 points among the 468 (or 478) tracked ones; pixels stay what they were."""
    return np.asarray(landmarks)[..., LANDMARKS_68, :]


def five_points(points_68: Float[np.ndarray, "*b 68 c"]) -> Float[np.ndarray, "*b 5 c"]:
    """Eyes (middle of the corners), nose tip, mouth corners; the image's left side first."""
    points = np.asarray(points_68)
    eyes = [(points[..., a, :] + points[..., b, :]) / 2 for a, b in _EYE_OF_68]
    rest = [points[..., k, :] for k in (_NOSE_OF_68, *_MOUTH_OF_68)]
    return np.stack([*eyes, *rest], axis=-2)


class Alignment(NamedTuple):
    """How a frame becomes the crop.

    size: (width, height) of the image, px. scale: image pixels per model unit (the `s` of the fit). origin:
    [*b 2] where the standard face's origin lies, px with y up from the lowest row.
    """

    size: tuple[int, int]
    scale: np.ndarray  # [*b]
    origin: np.ndarray  # [*b 2]

    @property
    def trans_params(self) -> Float[np.ndarray, "*b 5"]:
        """[w0, h0, 102 / s, tx, ty], as the reference stores it."""
        width, height = (np.full(self.scale.shape, float(side)) for side in self.size)
        return np.stack(
            [width, height, TARGET_SCALE / self.scale, self.origin[..., 0], self.origin[..., 1]], axis=-1
        )


def fit_alignment(five: Float[np.ndarray, "*b 5 2"], size: tuple[int, int]) -> Alignment:
    """Linear least squares for eight unknowns: two rows of an affine projection of `STANDARD_FIVE`.

    Args:
      five: from `five_points`, px, y down. size: (width, height).
    """
    five = np.asarray(five, np.float64)
    y_up = size[1] - 1 - five[..., 1]
    design = np.concatenate([STANDARD_FIVE, np.ones((5, 1))], axis=1)  # the same for both rows
    solve = np.linalg.pinv(design)
    rows = np.stack([five[..., 0] @ solve.T, y_up @ solve.T], axis=-2)  # [*b 2 4]
    scale = np.linalg.norm(rows[..., :3], axis=-1).mean(-1)
    return Alignment(size, scale, rows[..., 3])


def crop_points(points: Float[np.ndarray, "*b n 2"], alignment: Alignment) -> Float[np.ndarray, "*b n 2"]:
    """Points of the image (px, y down) in the crop (px, y down)."""
    points = np.asarray(points, np.float64)
    factor = (TARGET_SCALE / alignment.scale)[..., None]
    u = (points[..., 0] - alignment.origin[..., :1]) * factor + CROP_SIZE / 2
    y_up = alignment.size[1] - 1 - points[..., 1]
    v = CROP_SIZE - ((y_up - alignment.origin[..., 1:]) * factor + CROP_SIZE / 2)
    return np.stack([u, v], axis=-1)


def similarity(points: Float[np.ndarray, "*b n 2"], target: Float[np.ndarray, "*b n 2"]) -> np.ndarray:
    """[*b 2 3]: turn, scale and shift (no mirror) that bring `points` nearest to `target`, least squares."""
    points, target = np.broadcast_arrays(np.asarray(points, np.float64), np.asarray(target, np.float64))
    mean, aim = points.mean(-2), target.mean(-2)
    a, b = points - mean[..., None, :], target - aim[..., None, :]
    # as complex numbers: b = factor a
    dot = (a * b).sum((-1, -2))
    cross = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(-1)
    real, imaginary = np.stack([dot, cross]) / (a * a).sum((-1, -2))
    turn = np.stack([np.stack([real, -imaginary], -1), np.stack([imaginary, real], -1)], -2)
    shift = aim - np.einsum("...ij,...j->...i", turn, mean)
    return np.concatenate([turn, shift[..., None]], -1)
