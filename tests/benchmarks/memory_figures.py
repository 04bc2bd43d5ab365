"""Figures of the memory experiment: regions from the mesh, who it is, tables over seeds and people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from talkjax.evaluate import picture
from talkjax.evaluate.meter import MIN_REGION_PIXELS
from talkjax.infer import compose
from talkjax.infer.training_data import to_bytes
from talkjax.types import EYES, MOUTH
from tests.benchmarks.refiner_frames import Frames

REGIONS = ("face", "mouth", "mouth_interior", "eyes")


def masks_of(region: np.ndarray) -> dict[str, np.ndarray]:
    """Bool masks `[s s]` from the mesh; a corpus has no landmarks. Mouth and eyes: the strips, grown by 5 and
    3 % of the crop."""

    def grown(mask: np.ndarray, share: float) -> np.ndarray:
        side = 2 * round(share * len(region)) + 1
        return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0

    interior = region == MOUTH
    masks = {"face": region >= 0, "mouth": grown(interior, 0.05), "mouth_interior": interior}
    return masks | {"eyes": grown(region == EYES, 0.03)}


def signature(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Who is it, coarsely: colours of the face on a grid of 12 x 12 within the head crop `[432]`."""
    weight = mask.astype(np.float32)
    cells = [cv2.resize(image * weight[..., None], (12, 12), interpolation=cv2.INTER_AREA)]
    share = cv2.resize(weight, (12, 12), interpolation=cv2.INTER_AREA)[..., None]
    return (cells[0] / np.maximum(share, 0.05) * (share > 0.3)).ravel()


def figures_of(out: np.ndarray, real: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """PSNR, SSIM, sharpness sums of one pasted crop."""
    row, similarity = {}, picture.ssim_map(out, real)
    least = MIN_REGION_PIXELS * (len(region) / 256) ** 2
    side = (picture.SHARPNESS_SIZE,) * 2
    small_out, small_real = (cv2.resize(x, side, interpolation=cv2.INTER_AREA) for x in (out, real))
    for name, mask in masks_of(region).items():
        if mask.sum() < least:
            continue
        row[f"{name} psnr"] = picture.psnr(out, real, mask)
        row[f"{name} ssim"] = float(similarity[mask].mean())
        small = cv2.resize(mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST) > 0
        row[f"{name} sharp"] = picture.laplacian_variance(small_out, small)
        row[f"{name} sharp_real"] = picture.laplacian_variance(small_real, small)
    return row


class Judge:
    """Judges refined crops against real ones; knows what everybody looks like."""

    def __init__(self, frames: Frames, known: np.ndarray):
        self.frames = frames
        some = np.concatenate([known[frames.identity[known] == i][::4] for i in np.unique(frames.identity)])
        self.people = frames.identity[some]
        self.looks = np.stack([signature(frames.target[k], frames.region[k] >= 0) for k in some])

    def pasted(self, picture: np.ndarray, k: int) -> np.ndarray:
        """A refined crop over the real surroundings."""
        f = self.frames
        alpha = compose.face_alpha(f.region[k])
        return to_bytes(compose.composite(picture / np.float32(255), f.target[k] / np.float32(255), alpha))

    def __call__(self, made: np.ndarray, rows: np.ndarray) -> list[dict[str, float]]:
        """One dict of figures per frame."""
        result = []
        for image, k in zip(made, rows, strict=True):
            out = self.pasted(image, int(k))
            row = figures_of(out, self.frames.target[k], self.frames.region[k])
            look = signature(out, self.frames.region[k] >= 0)
            distance = np.linalg.norm(self.looks - look, axis=1)
            theirs = self.people == self.frames.identity[k]
            own, other = distance[theirs].min(), distance[~theirs].min()
            row |= {"own_over_other": float(own / other), "right_person": float(own < other)}
            result.append(row)
        return result


def pooled(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over frames; sharpness as a ratio of sums."""
    keys = sorted({key for row in rows for key in row})
    mean = {k: float(np.mean([row[k] for row in rows if k in row])) for k in keys}
    for name in REGIONS:
        if f"{name} sharp" in mean:
            mean[f"{name} sharpness"] = mean.pop(f"{name} sharp") / mean.pop(f"{name} sharp_real")
    return mean


def table(results: list[dict[str, Any]], people: str, borrow: float) -> str:
    """Markdown of one group. +-: spread over seeds of absolute figures; of `over none`, the paired difference
    in dB, the standard error over people."""
    head = ["code", *(f"{name}, dB" for name in ("face", "mouth", "interior", "eyes"))]
    head += ["SSIM face / mouth", "sharp face / mouth", "own / other", "read right", "cosine"]
    head += ["over none: face", "mouth", "interior", "eyes"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    group = [r for r in results if r["people"] == people and r["borrow"] in (borrow, None)]

    def shown(rows: list[dict[str, Any]], key: str, digits: int, *, spread: bool = False) -> str:
        values = np.array([{**r, **r["mean"]}.get(key, np.nan) for r in rows], float)
        if not np.isfinite(values).all():
            return "-"
        wide = f" +- {values.std(ddof=1):.{digits}f}" if spread and len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{wide}"

    for case in dict.fromkeys(r["case"] for r in group):
        rows = [r for r in group if r["case"] == case]
        none = [r for r in group if r["case"] == "none"]
        cells = [case, *(shown(rows, f"{name} psnr", 2, spread=True) for name in REGIONS)]
        for key, digits in (("ssim", 3), ("sharpness", 2)):
            cells.append(" / ".join(shown(rows, f"{name} {key}", digits) for name in ("face", "mouth")))
        cells += [shown(rows, "own_over_other", 3), shown(rows, "read_right_person", 2)]
        cells += [shown(rows, "code_cosine", 2), *(over(rows, none, f"{name} psnr") for name in REGIONS)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def over(rows: list[dict[str, Any]], none: list[dict[str, Any]], key: str) -> str:
    """Mean difference over shared seeds, frame by frame, and its standard error over people."""
    base = {r["seed"]: r for r in none}
    shared = [(r, base[r["seed"]]) for r in rows if r["seed"] in base and r is not base[r["seed"]]]
    if not shared:
        return "-"
    by_person: dict[int, list[float]] = {}
    for a, b in shared:
        for person, x, y in zip(a["person"], a["frames"], b["frames"], strict=True):
            if key in x and key in y:
                by_person.setdefault(person, []).append(x[key] - y[key])
    means = np.array([np.mean(d) for d in by_person.values()])
    error = f" +- {means.std(ddof=1) / np.sqrt(len(means)):.2f}" if len(means) > 1 else ""
    return f"{means.mean():+.2f}{error}"


def tables(results: list[dict[str, Any]]) -> str:
    """All groups of `table`."""
    text = ""
    for borrow in (0.0, 1.0):
        for people in dict.fromkeys(r["people"] for r in results):
            if any(r["borrow"] == borrow for r in results):
                with_or = "with" if borrow else "without"
                text += f"\n{people}, {with_or} borrowed layers\n\n{table(results, people, borrow)}"
    return text
