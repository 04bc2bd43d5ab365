"""Wavefront OBJ and MTL text of a textured triangle mesh."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Float, Int


def obj_text(
    verts: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    uvs: Float[np.ndarray, "v 2"],
    *,
    note: str = "",
    material: tuple[str, str] | None = None,
) -> str:
    """The file's text; vertex and texture coordinate share their number.

    Args:
      verts: in the unit and axes that `note` names. faces: 0-based, counter-clockwise from outside.
      uvs: in [0, 1], v down (OBJ's own v goes up).
      material: (name of the mtl file, name of the material in it).
    """
    out = io.StringIO()
    for line in note.splitlines():
        out.write(f"# {line}\n")
    if material is not None:
        out.write(f"mtllib {material[0]}\n")
    np.savetxt(out, verts, fmt="v %.6f %.6f %.6f")
    np.savetxt(out, np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1), fmt="vt %.6f %.6f")
    if material is not None:
        out.write(f"usemtl {material[1]}\n")
    np.savetxt(out, np.repeat(np.asarray(faces) + 1, 2, axis=1), fmt="f %d/%d %d/%d %d/%d")
    return out.getvalue()


def mtl_text(name: str, texture: str) -> str:
    """One matt material whose color is a picture."""
    return f"newmtl {name}\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {texture}\n"
