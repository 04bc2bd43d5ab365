"""Figures of single pictures against the real frame: PSNR, SSIM, sharpness, seam.

All of them take sRGB 8-bit values (uint8, or float in the same 0..255 range).
"""

from __future__ import annotations

import cv2
import numpy as np

PSNR_CAP = 100.0
"""Decibels reported for identical pictures, where the ratio would be infinite."""

SHARPNESS_SIZE = 160
"""Crop side in pixels for the sharpness: about the size at which a face is seen in a video call."""

SSIM_SIGMA, SSIM_RADIUS = 1.5, 5  # Wang et al. 2004: gaussian window, 11 x 11
SSIM_C1, SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(out: np.ndarray, real: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal to noise ratio in dB of two pictures `[h w c]` over `mask` `[h w]`; nan for no pixels."""
    squared = (out.astype(np.float64) - real.astype(np.float64)) ** 2
    chosen = squared if mask is None else squared[mask]
    if chosen.size == 0:
        return float("nan")
    error = float(chosen.mean())
    return PSNR_CAP if error == 0 else min(PSNR_CAP, 10 * float(np.log10(255.0**2 / error)))


def ssim_map(out: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Structural similarity per pixel `[h w]` of two pictures `[h w c]`, averaged over the channels.

    Gaussian window of sigma 1.5 cut at 5 px, population covariance, borders mirrored with the edge pixel
    (Wang et al. 2004, eq. 13; the settings that the literature reports).
    """
    out, real = out.astype(np.float64), real.astype(np.float64)
    taps = 2 * SSIM_RADIUS + 1

    def local_mean(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (taps, taps), SSIM_SIGMA, borderType=cv2.BORDER_REFLECT)

    mean_out, mean_real = local_mean(out), local_mean(real)
    variance_out = local_mean(out * out) - mean_out * mean_out
    variance_real = local_mean(real * real) - mean_real * mean_real
    covariance = local_mean(out * real) - mean_out * mean_real
    numerator = (2 * mean_out * mean_real + SSIM_C1) * (2 * covariance + SSIM_C2)
    denominator = (mean_out**2 + mean_real**2 + SSIM_C1) * (variance_out + variance_real + SSIM_C2)
    ratio = numerator / denominator
    return ratio.mean(axis=-1) if ratio.ndim == 3 else ratio


def grey(image: np.ndarray) -> np.ndarray:
    """Luma `[h w]` float32 of an RGB picture `[h w 3]` (Rec. 601 weights; grey levels, not rounded)."""
    return cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)


def laplacian_variance(image: np.ndarray, mask: np.ndarray) -> float:
    """Variance of the 4-neighbour Laplacian of the luma over `mask` `[h w]`; nan for no pixels."""
    chosen = cv2.Laplacian(grey(image), cv2.CV_32F)[mask]
    return float(chosen.astype(np.float64).var()) if chosen.size else float("nan")


def border_gradient(image: np.ndarray, paste_mask: np.ndarray) -> float:
    """Mean absolute luma gradient across the border of `paste_mask` `[h w]` in [0, 1], grey levels per px.

    The gradient of the picture is taken along the border's normal (the mask's own gradient), weighted by how
    fast the mask changes: a feathered paste is judged over its whole feather. nan for a mask without border.
    """
    # a hard mask has no usable normal at one pixel; the small blur gives one and hardly widens a feather
    alpha = cv2.GaussianBlur(np.asarray(paste_mask, np.float32), (5, 5), 1.0)
    normal_y, normal_x = np.gradient(alpha)
    weight = np.hypot(normal_x, normal_y)
    total = float(weight.sum())
    if total < 1e-6:
        return float("nan")
    slope_y, slope_x = np.gradient(grey(image))
    # |grad alpha| * |grad I . n| = |grad I . grad alpha|
    return float(np.abs(slope_x * normal_x + slope_y * normal_y).sum()) / total


def seam(out: np.ndarray, real: np.ndarray, paste_mask: np.ndarray) -> float:
    """`border_gradient` of the result minus that of the real frame: 0 when the paste cannot be seen."""
    return border_gradient(out, paste_mask) - border_gradient(real, paste_mask)
