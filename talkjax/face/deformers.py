"""43 named expression deformers with one meaning for every face.

They stand where the reference has its 64 expression components, but each axis is a facial action (after
the Facial Action Coding System), built from the anchors of whatever neutral is given. So a network that
speaks in these coefficients can drive any person. Coefficients are dimensionless: 0 is neutral, 1 a strong
action, up to about 1.3; the sideways, up-down and forward axes are signed. R and L are the person's own
right (image left, x < 0) and left. Lengths are decimetres, for a face of 0.9 dm between the outer eye
corners. Method and sizes: face.md §2, §5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from talkjax.face import mesh468

_SIDES = (("R", -1.0), ("L", 1.0))
_SIGNED_MARKS = ("LR", "UD", "Fwd")
_JAW_TURN = np.deg2rad(17.0)  # a wide-open mouth
_JAW_SLIDE = np.array([0.0, -0.03, 0.1])  # the joint itself glides forward and down as the mouth opens


@dataclass(frozen=True)
class _Anchors:
    """A neutral and the measures of it that the deformers hang on."""

    verts: np.ndarray  # [468 3]
    half_width: float  # of the mouth
    mouth_y: float
    upper_thickness: float  # of the red of the lips, in the middle
    lower_thickness: float
    hinge: np.ndarray  # [3] axis of the jaw joint, on the mirror plane
    upper: np.ndarray  # [468] bool: above the line between the lips
    eye: dict[str, np.ndarray]  # side -> [2] centre (x, y)

    @property
    def x(self) -> np.ndarray:
        return self.verts[:, 0]

    @property
    def y(self) -> np.ndarray:
        return self.verts[:, 1]


def _measure(neutral: np.ndarray) -> _Anchors:
    mouth_y = float(neutral[[mesh468.UPPER_LIP_INNER, mesh468.LOWER_LIP_INNER], 1].mean())
    upper = neutral[:, 1] > mouth_y
    upper[mesh468.UPPER_LIP] = True
    upper[mesh468.LOWER_LIP] = False
    ears = neutral[[234, 454]].mean(0)
    loops = {"R": mesh468.RIGHT_EYE, "L": mesh468.LEFT_EYE}
    return _Anchors(
        verts=neutral,
        half_width=float(np.abs(neutral[[61, 291], 0]).mean()),
        mouth_y=mouth_y,
        upper_thickness=max(float(neutral[0, 1]) - mouth_y, 0.02),
        lower_thickness=max(mouth_y - float(neutral[17, 1]), 0.02),
        hinge=np.array([0.0, ears[1], ears[2] - 0.13]),
        upper=upper,
        eye={side: neutral[loop, :2].mean(0) for side, loop in loops.items()},
    )


def _smoothstep(value: np.ndarray, start: float, end: float) -> np.ndarray:
    t = np.clip((value - start) / (end - start), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _bump(
    across: np.ndarray, along: np.ndarray, center: tuple[float, float], sizes: tuple[float, float]
) -> np.ndarray:
    """Gaussian weight, 1 at the centre; sizes are standard deviations in dm."""
    return np.exp(-0.5 * (((across - center[0]) / sizes[0]) ** 2 + ((along - center[1]) / sizes[1]) ** 2))


def _move(weight: np.ndarray, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """A displacement field [v 3]: the vector (x, y, z) dm times a weight per vertex."""
    return weight[:, None] * np.array([x, y, z])


def _jaw_weight(a: _Anchors) -> np.ndarray:
    """How much of the jaw's motion each vertex follows: lower lip and chin fully, cheeks in part."""
    side, below, w = np.abs(a.x), a.mouth_y - a.y, a.half_width
    arch = np.sqrt(np.clip(1 - (side / (1.02 * w)) ** 2, 0, None))
    drop = np.clip(below, 0, None)
    low = np.maximum(arch * np.exp(-drop / 0.1), _smoothstep(drop, 0.0, 0.22))
    near_lips = 1 - 0.75 * _smoothstep(side, 1.3 * w, 0.7)
    near_chin = 1 - 0.55 * _smoothstep(side, 0.4, 0.7)
    low = np.where(a.upper, 0.0, low) * np.where(below < 0.22, near_lips, near_chin)
    corners = 0.45 * _bump(side, a.y, (w, a.mouth_y), (0.07, 0.06))
    cheeks = np.where(a.upper, 0.35 * _bump(side, a.y, (1.35 * w, a.mouth_y), (0.12, 0.14)), 0.0)
    return np.maximum.reduce([low, corners, cheeks])


def _jaw(a: _Anchors) -> dict[str, np.ndarray]:
    weight = _jaw_weight(a)
    arm = a.verts - a.hinge
    cos, sin = np.cos(_JAW_TURN), np.sin(_JAW_TURN)
    turned = np.stack([arm[:, 0], cos * arm[:, 1] - sin * arm[:, 2], sin * arm[:, 1] + cos * arm[:, 2]], 1)
    return {
        "jawOpen": (turned - arm + _JAW_SLIDE) * weight[:, None],
        "jawLR": _move(weight, x=0.08),
        "jawFwd": _move(weight, z=0.08),
    }


def _lip_weights(a: _Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the upper and the lower lip: 1 over the red of the lip, 0 at the corners, fading on skin."""
    arch = np.clip(1 - (np.abs(a.x) / (1.02 * a.half_width)) ** 2, 0, None)
    border = np.where(a.upper, a.upper_thickness, a.lower_thickness)
    beyond = np.clip(np.abs(a.y - a.mouth_y) - border, 0, None)
    weight = arch * np.exp(-beyond / 0.06)
    return np.where(a.upper, weight, 0.0), np.where(a.upper, 0.0, weight)


def _lip_edges(a: _Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the lips' inner edges: 1 on the line between the lips, fading over the red."""
    arch = np.clip(1 - (np.abs(a.x) / (1.02 * a.half_width)) ** 2, 0, None)
    weight = arch * np.exp(-np.abs(a.y - a.mouth_y) / 0.08)
    return np.where(a.upper, weight, 0.0), np.where(a.upper, 0.0, weight)


def _lips(a: _Anchors) -> dict[str, np.ndarray]:
    """Actions of the lips as a whole."""
    up, low = _lip_weights(a)
    upper_edge, lower_edge = _lip_edges(a)
    height = np.clip(a.y - a.mouth_y, -1, 1)
    around = _bump(
        np.clip(np.abs(a.x) - 0.2 * a.half_width, 0, None),
        a.y,
        (0.0, a.mouth_y),
        (0.8 * a.half_width, 0.11),
    )
    narrow = -a.x * around
    zero = np.zeros_like(a.x)
    chin = np.where(a.upper, 0.0, _bump(a.x, a.y, (0.0, a.mouth_y - 0.22), (0.18, 0.1)))
    fields = {
        "upperUp": _move(up, y=0.06, z=0.012),
        "lowerDown": _move(low, y=-0.09, z=0.005),
        "pucker": np.stack([0.38 * narrow, -0.1 * height * around, 0.09 * around], 1),
        "funnel": np.stack([0.22 * narrow, 0.035 * (up - low), 0.07 * around], 1),
        "mouthLR": _move(around, x=0.07),
        "mouthUD": _move(around, y=0.05),
        "rollUpper": _move(upper_edge, y=-0.032, z=-0.05),
        "rollLower": _move(lower_edge, y=0.04, z=-0.05),
        "press": np.stack([zero, -0.35 * height * (up + low), -0.02 * (up + low)], 1),
        "chinRaise": np.stack([zero, 0.045 * np.maximum(chin, low), 0.02 * chin], 1),
    }
    return fields


def _mouth_side(a: _Anchors, s: float) -> dict[str, np.ndarray]:
    """Actions of one half of the mouth and its cheek; `s` is the side's sign of x."""
    up, low = _lip_weights(a)
    half = _smoothstep(s * a.x, -0.08, 0.08)
    corner = _bump(s * a.x, a.y, (a.half_width, a.mouth_y), (0.15, 0.11))
    cheek = _bump(s * a.x, a.y, (0.39, a.mouth_y + 0.22), (0.16, 0.14))
    puff = _bump(s * a.x, a.y, (0.39, a.mouth_y), (0.15, 0.18))
    return {
        "upperUp": _move(up * half, y=0.05, z=0.01),
        "lowerDown": _move(low * half, y=-0.06),
        "smile": _move(corner, x=s * 0.055, y=0.05, z=-0.035),
        "frown": _move(corner, y=-0.05, z=-0.005),
        "stretch": _move(corner, x=s * 0.07, y=-0.005, z=-0.03),
        "dimple": _move(corner, x=s * 0.02, z=-0.05),
        "cheek": _move(cheek, x=s * 0.01, y=0.03, z=0.035),
        "puff": _move(puff, x=s * 0.05, z=0.06),
    }


def _lid_fields(a: _Anchors, side: str) -> tuple[np.ndarray, np.ndarray]:
    """The way from upper to lower lid at each vertex's x, faded above the upper and below the lower lid.

    Returns two displacement fields [468 3]: one carried by the upper lid and the skin over it, one by
    the lower lid and the skin under it. Both point from the upper lid to the lower.
    """
    loop = mesh468.RIGHT_EYE if side == "R" else mesh468.LEFT_EYE
    upper_line = a.verts[loop[:9]]
    lower_line = a.verts[np.r_[loop[0], loop[:7:-1]]]
    gap = lower_line - upper_line
    across = np.stack([np.interp(a.x, upper_line[:, 0], gap[:, i], left=0, right=0) for i in range(3)], 1)
    lid_upper = np.interp(a.x, upper_line[:, 0], upper_line[:, 1])
    lid_lower = np.interp(a.x, lower_line[:, 0], lower_line[:, 1])
    above, below = a.y - lid_upper, lid_lower - a.y
    over = np.where(above > below, np.exp(-np.clip(above - 0.012, 0, None) / 0.035), 0.0)
    under = np.where(above > below, 0.0, np.exp(-np.clip(below, 0, None) / 0.035))
    return across * over[:, None], across * under[:, None]


def _upper_face_side(a: _Anchors, side: str, s: float) -> dict[str, np.ndarray]:
    """Actions of one eye, its brow and its side of the nose."""
    over, under = _lid_fields(a, side)
    gap = max(float(np.abs(over[:, 1]).max()), 1e-3)
    brow = a.verts[mesh468.RIGHT_BROW if side == "R" else mesh468.LEFT_BROW]
    inner, outer = brow[[4, 9], :2].mean(0), brow[[1, 2, 6, 7], :2].mean(0)
    brow_in = _bump(s * a.x, a.y, (s * inner[0], inner[1] - 0.04), (0.1, 0.09))
    brow_out = _bump(s * a.x, a.y, (s * outer[0], outer[1] - 0.04), (0.14, 0.09))
    wing = a.verts[98 if side == "R" else 327]
    sneer = _bump(s * a.x, a.y, (s * wing[0], wing[1] - 0.06), (0.08, 0.1))
    both = brow_in + 0.5 * brow_out
    return {
        "blink": 0.95 * over - 0.05 * under,
        "squint": -0.04 / gap * under,
        "wide": -0.035 / gap * over,
        "browInUp": _move(brow_in, y=0.06, z=0.01),
        "browOutUp": _move(brow_out, y=0.06),
        "browDown": np.stack([-s * 0.025 * (brow_in + 0.4 * brow_out), -0.045 * both, 0.01 * brow_in], 1),
        "sneer": _move(sneer, x=s * 0.01, y=0.035, z=0.01),
    }


_WHOLE_FIRST = ("jawOpen", "jawLR", "jawFwd", "upperUp", "lowerDown")
_PER_SIDE = (
    *("upperUp", "lowerDown", "smile", "frown", "stretch", "dimple", "cheek", "puff"),
    *("blink", "squint", "wide", "browInUp", "browOutUp", "browDown", "sneer"),
)
_WHOLE_LAST = ("pucker", "funnel", "mouthLR", "mouthUD", "rollUpper", "rollLower", "press", "chinRaise")
EXP_NAMES = (
    *_WHOLE_FIRST,
    *(f"{name}_{side}" for side, _ in _SIDES for name in _PER_SIDE),
    *_WHOLE_LAST,
)
"""Order of the expression coefficients, the same for every face."""


def expression_deformers(neutral: np.ndarray) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The deformers evaluated on a neutral face.

    Args:
      neutral: [468 3] dm in the canonical frame: origin between the outer eye corners, x through them to
        image right, y up, z out of the face, 0.9 dm between the corners; lips closed, eyes open.

    Returns:
      `EXP_NAMES`; basis [43 468 3] float64 dm per unit coefficient; signed [43] bool, true where a
      coefficient may be negative.
    """
    a = _measure(np.asarray(neutral, np.float64))
    fields = {**_jaw(a), **_lips(a)}
    for side, s in _SIDES:
        for name, field in {**_mouth_side(a, s), **_upper_face_side(a, side, s)}.items():
            fields[f"{name}_{side}"] = field
    signed = np.array([any(mark in name for mark in _SIGNED_MARKS) for name in EXP_NAMES])
    return EXP_NAMES, np.stack([fields[name] for name in EXP_NAMES]), signed
