"""Index tables of the 468-point face mesh (+ 2 x 5 iris points) that the landmark network predicts.

Points 0-467 are the mesh, 468-472 the iris of the person's right eye (image left), 473-477 the left eye's.
LEFT and RIGHT are the person's, so RIGHT_* points lie on the left side of an unmirrored image.
All triangles are counter-clockwise seen from the front with y up, and the skin, mouth and eye faces together
form one oriented surface whose only border is FACE_OVAL. The connectivity and the point numbering are
MediaPipe's (Apache-2.0, see NOTICE); the mouth and eye strips and the point groups are this project's.
"""

from __future__ import annotations

import numpy as np

from talkjax.face.mesh468_triangles import TRIANGLES
from talkjax.types import EYES, MOUTH, SKIN

N_MESH = 468
N_LANDMARKS = 478


def _indices(*values: int) -> np.ndarray:
    table = np.array(values, np.int32)
    table.setflags(write=False)
    return table


def _strip(loop: np.ndarray) -> np.ndarray:
    """Triangles `[n - 2, 3]` that fill a hole with border loop `[n]`: corner, upper side, corner, lower side.

    The loop starts at the corner on the left of the image; a zigzag joins the upper to the lower side, so
    that no triangle is long and thin when the hole opens.
    """
    half = len(loop) // 2
    upper, lower = loop[1:half], loop[:half:-1]
    triangles = [(loop[0], lower[0], upper[0])]
    for k in range(half - 2):
        triangles += [(upper[k], lower[k], upper[k + 1]), (lower[k], lower[k + 1], upper[k + 1])]
    triangles.append((upper[-1], lower[-1], loop[half]))
    return np.array(triangles, np.int32)


# Loops: corner on the image's left, along the upper side, corner on the right, back along the lower side.
OUTER_LIPS = _indices(
    *(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146),
)
INNER_LIPS = _indices(
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
RIGHT_EYE = _indices(33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = _indices(362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382)

# Brows: lower then upper row, from the outer end to the nose.
RIGHT_BROW = _indices(46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
LEFT_BROW = _indices(276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
RIGHT_IRIS = _indices(468, 469, 470, 471, 472)  # centre first
LEFT_IRIS = _indices(473, 474, 475, 476, 477)
NOSE_RIDGE = _indices(168, 6, 197, 195, 5, 4)  # from between the eyes to the tip

# Border of the mesh: top of the forehead, down the image's right side, chin (152), up the left side.
FACE_OVAL = _indices(
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)

# The 80 lip points in the order of the network's lip head: four rings from the outer border inwards, each
# ring's lower side (with both corners on the outermost and innermost) before its upper side.
LIPS = _indices(
    *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
    *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
)
_LIP_ROWS = LIPS.reshape(4, 20)
UPPER_LIP = _indices(*_LIP_ROWS[:, 11:].reshape(-1))  # 36, without the corners
LOWER_LIP = _indices(*np.delete(_LIP_ROWS[:, :11], (0, 10), axis=1).reshape(-1))  # 36
LIP_CORNERS = _indices(*_LIP_ROWS[:, (0, 10)].reshape(-1))  # 8: left, right of each ring

# Points that speech and expression move least: forehead, ridge of the nose, rims of the eye sockets.
STABLE = _indices(
    *(10, 151, 9, 8, 168, 6, 197, 195, 33, 133, 362, 263, 67, 297, 109, 338),
    *(69, 299, 104, 333, 130, 359, 243, 463, 244, 464, 245, 465, 193, 417, 122, 351),
)

# Single points that other code names.
RIGHT_EYE_OUTER, RIGHT_EYE_INNER, LEFT_EYE_INNER, LEFT_EYE_OUTER = 33, 133, 362, 263
UPPER_LIP_INNER, LOWER_LIP_INNER, NOSE_TIP, FOREHEAD_TOP, CHIN = 13, 14, 4, 10, 152
OUTER_EYE_CORNERS = _indices(RIGHT_EYE_OUTER, LEFT_EYE_OUTER)  # their distance is the unit of all errors

FACES_SKIN = np.array(TRIANGLES.split(), np.int32).reshape(852, 3)
FACES_MOUTH = _strip(INNER_LIPS)  # [18 3] between the lips
FACES_EYES = np.concatenate([_strip(RIGHT_EYE), _strip(LEFT_EYE)])  # [28 3] between the lids
FACES = np.concatenate([FACES_SKIN, FACES_MOUTH, FACES_EYES])  # [898 3]
FACE_REGION = np.repeat(np.array([SKIN, MOUTH, EYES], np.int32), [852, 18, 28])  # [898] types.SKIN ...
for _table in (FACES_SKIN, FACES_MOUTH, FACES_EYES, FACES, FACE_REGION):
    _table.setflags(write=False)
