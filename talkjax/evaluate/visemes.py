"""The viseme grid: mouths of the real clip and of the result at the clearest instance of each kind of
sound."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from talkjax.data.coarticulation import BILABIALS, LABIODENTALS, PHONES
from talkjax.evaluate.strip import BACKGROUND, CELL, GAP, INK, LABEL_HEIGHT, MUTED, draw_text, window
from talkjax.face import mesh468
from talkjax.infer.general_weights import GeneralNetwork

VISEMES: Mapping[str, tuple[str, ...]] = {
    "m b p": BILABIALS,
    "f v": LABIODENTALS,
    "w": ("w",),
    "oo": ("uw", "uh"),
    "oh": ("ow", "ao", "oy"),
    "ah": ("aa", "ah", "aw"),
    "a eh": ("ae", "eh", "ay"),
    "ee": ("iy", "y", "ih", "ey"),
    "r er": ("r", "er", "axr"),
    "l n t d": ("l", "n", "t", "d"),
    "s z": ("s", "z"),
    "sh ch": ("sh", "zh", "ch", "jh"),
    "th": ("th", "dh"),
    "silence": ("pau",),
}
MOUTH_HEIGHT = 110
MIN_SHARE = 0.2
"""A viseme is shown only where the network thinks it this likely."""


def viseme_frames(network: GeneralNetwork, rows: np.ndarray, n_frames: int) -> dict[str, int]:
    """Viseme -> the frame in which the general network hears it most surely.

    Args:
      rows: raw log-mel of the clip's sound `[4t 40]`.
    """
    share = network.phone_probabilities(rows)[:n_frames]
    found = {}
    for name, phones in VISEMES.items():
        together = share[:, [PHONES.index(phone) for phone in phones]].sum(1)
        k = int(np.argmax(together))
        if together[k] >= MIN_SHARE:
            found[name] = k
    return found


def viseme_grid(
    mouths: Mapping[str, tuple[int, np.ndarray, np.ndarray, np.ndarray]], per_row: int = 7
) -> np.ndarray:
    """One picture `[h w 3]` uint8: per viseme the real mouth above that of the result.

    Args:
      mouths: viseme -> (frame number for the label, real frame, result frame, landmarks `[478 2+]` px).
    """
    cells = []
    for name, (number, real, result, landmarks) in mouths.items():
        lips = np.asarray(landmarks, np.float64)[mesh468.OUTER_LIPS, :2]
        head = np.full((LABEL_HEIGHT, CELL, 3), BACKGROUND, np.uint8)
        draw_text(head, name, 2, LABEL_HEIGHT - 8, 10, INK)
        draw_text(head, str(number), CELL - 40, LABEL_HEIGHT - 8, 8, MUTED)
        space = np.full((GAP, CELL, 3), BACKGROUND, np.uint8)
        pictures = [window(frame, lips, 1.5, MOUTH_HEIGHT) for frame in (real, result)]
        cells.append(np.concatenate([head, pictures[0], space, pictures[1]]))
    blank = np.full_like(cells[0], BACKGROUND[0])
    cells += [blank] * (-len(cells) % per_row)
    gap = np.full((len(blank), 2 * GAP, 3), BACKGROUND, np.uint8)
    lines = []
    for start in range(0, len(cells), per_row):
        row = [part for cell in cells[start : start + per_row] for part in (cell, gap)]
        lines.append(np.concatenate(row, axis=1))
    return np.concatenate(lines)
