"""Paints the room behind the synthetic person."""

from __future__ import annotations

import cv2
import numpy as np

from talkjax.data.synthetic_noise import SpaceNoise, linear_from_srgb, srgb_from_linear


def paint_room(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Background [height width 3] linear: a wall, a picture, book shelves and a plant, out of focus."""
    scale = height / 480
    noise = SpaceNoise(rng)
    y, x = np.mgrid[0:height, 0:width] / height
    points = np.stack([x, y], -1)
    wall = linear_from_srgb((0.60, 0.585, 0.55)) * (1.05 - 0.45 * x / x.max() - 0.15 * y)[..., None]
    wall = wall * (1 + 0.035 * noise.fractal(points, 0.25, 5))[..., None]
    image = srgb_from_linear(wall).astype(np.float32)
    right = width - int(165 * scale)
    for shelf in range(4):
        top, bottom = int((-60 + 130 * shelf) * scale), int((58 + 130 * shelf) * scale)
        cv2.rectangle(image, (right, top), (width, bottom), (0.17, 0.13, 0.10), -1)
        left = right + int(4 * scale)
        while left < width:
            wide, tall = int(rng.uniform(8, 21) * scale), int(rng.uniform(70, 108) * scale)
            hue, value = rng.uniform(0, 1), rng.uniform(0.18, 0.55)
            color = value * (0.72 + 0.28 * np.cos(2 * np.pi * (hue + np.array([0.0, 0.38, 0.62]))))
            if rng.uniform() > 0.12:
                cv2.rectangle(image, (left, bottom - tall), (left + wide - 2, bottom), color.tolist(), -1)
                band = bottom - int(tall * rng.uniform(0.6, 0.85))
                cv2.rectangle(
                    image,
                    (left, band),
                    (left + wide - 2, band + int(7 * scale)),
                    (color * 1.3 + 0.1).tolist(),
                    -1,
                )
            left += wide
        cv2.rectangle(image, (right, bottom), (width, bottom + int(12 * scale)), (0.36, 0.27, 0.19), -1)
    frame = np.array([[8, 40], [128, 52], [128, 270], [8, 282]]) * scale
    cv2.fillPoly(image, [frame.astype(np.int32)], (0.30, 0.28, 0.25), cv2.LINE_AA)
    inner = np.array([[19, 54], [117, 64], [117, 258], [19, 268]]) * scale
    cv2.fillPoly(image, [inner.astype(np.int32)], (0.72, 0.66, 0.52), cv2.LINE_AA)
    for _ in range(26):  # an abstract picture in the frame
        center = (int(rng.uniform(25, 112) * scale), int(rng.uniform(68, 250) * scale))
        axes = (int(rng.uniform(4, 20) * scale), int(rng.uniform(8, 40) * scale))
        color = rng.uniform(0.15, 0.75) * rng.uniform(0.5, 1.0, 3)
        cv2.ellipse(image, center, axes, rng.uniform(0, 180), 0, 360, color.tolist(), -1, cv2.LINE_AA)
    for _ in range(60):  # leaves
        base = np.array([70 + rng.normal(0, 12), 470.0]) * scale
        tip = base + np.array([rng.normal(0, 55), -rng.uniform(40, 150)]) * scale
        color = np.array([0.16, 0.30, 0.13]) * rng.uniform(0.6, 1.5)
        middle, along = (base + tip) / 2, tip - base
        cv2.ellipse(
            image,
            tuple(int(c) for c in middle),
            (int(np.hypot(*along) / 2), int(7 * scale)),
            np.degrees(np.arctan2(along[1], along[0])),
            0,
            360,
            color.tolist(),
            -1,
            cv2.LINE_AA,
        )
    blurred = cv2.GaussianBlur(np.clip(image, 0, 1), (0, 0), 2.6 * scale)
    return linear_from_srgb(blurred).astype(np.float32)
