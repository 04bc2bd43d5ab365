"""C++ peers of the rasterizer benchmark, compiled when it runs; see raster_peers.cpp for what each is."""

from __future__ import annotations

import ctypes
import pathlib
import shutil
import subprocess
import tempfile
from typing import Any

import numpy as np

SOURCE = pathlib.Path(__file__).with_name("raster_peers.cpp")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")


def find_compiler() -> str | None:
    """The C++ compiler's path, or None."""
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


class Peers:
    """The compiled peers, called with numpy arrays; each call overwrites the outputs of the last."""

    def __init__(self, compiler: str, height: int, width: int, n_verts: int):
        with tempfile.TemporaryDirectory() as folder:
            library = pathlib.Path(folder) / "peers.so"
            subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(library)], check=True)
            self._library = ctypes.CDLL(str(library))
        self._size = (ctypes.c_int(height), ctypes.c_int(width))
        self.ids = np.zeros((height, width), np.int32)
        self.bary = np.zeros((height, width, 3), np.float32)
        self.depth = np.zeros((height, width), np.float32)
        self.grad_clip = np.zeros((n_verts, 4), np.float32)

    def published_kind(self, clip: np.ndarray, faces: np.ndarray) -> None:
        """Ids, barycentrics and depth: box per triangle, homogeneous weights per pixel, float z-buffer."""
        self._call("published_kind", clip, faces, len(faces), (self.ids, self.bary, self.depth))

    def screen_space(self, clip: np.ndarray, faces: np.ndarray) -> None:
        """The same in screen space, with what is constant hoisted out of the pixel loop."""
        self._call("screen_space", clip, faces, len(faces), (self.ids, self.bary, self.depth))

    def tuned_ids(self, clip: np.ndarray, faces: np.ndarray) -> None:
        """Ids and depth: integer edge functions stepped along the box, top-left rule."""
        self._call("tuned_ids", clip, faces, len(faces), (self.ids, self.depth))

    def bary_backward(
        self, clip: np.ndarray, faces: np.ndarray, ids: np.ndarray, grad_bary: np.ndarray
    ) -> np.ndarray:
        """Gradient `[v 4]` of the clip vertices from that of the barycentrics `[h w 3]` at `ids`."""
        self._call("bary_backward", clip, faces, None, (ids, grad_bary, self.grad_clip))
        return self.grad_clip

    def _call(
        self,
        name: str,
        clip: np.ndarray,
        faces: np.ndarray,
        n_faces: int | None,
        arrays: tuple[np.ndarray, ...],
    ) -> None:
        assert clip.dtype == np.float32 and faces.dtype == np.int32
        assert all(a.flags.c_contiguous for a in (clip, faces, *arrays))
        counted = () if n_faces is None else (ctypes.c_int(n_faces),)
        function: Any = getattr(self._library, name)
        function.restype = None
        function(
            _pointer(clip),
            ctypes.c_int(len(clip)),
            _pointer(faces),
            *counted,
            *self._size,
            *map(_pointer, arrays),
        )


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
