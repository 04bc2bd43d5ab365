"""Which triangle is seen at each pixel: an integer question, asked outside of differentiation.

Three forms give the same answer: `loops` (CPU), `static` (GPU), `pallas` (TPU; `mosaic`: never interpreted).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from talkjax.errors import InputError
from talkjax.raster import loops, meshlets, static_chunks

_FORMS: dict[str, Callable[..., Array]] = {
    "loops": loops.face_ids,
    "static": static_chunks.face_ids,
    "pallas": meshlets.face_ids,
    "mosaic": functools.partial(meshlets.face_ids, interpret=False),  # for lowering where no TPU is
}
_FORM_OF_PLATFORM = {"cpu": "loops", "gpu": "static", "tpu": "pallas"}
BACKENDS = ("auto", *_FORMS)


def choose(backend: str) -> str:
    """The form that `backend` means; "auto" goes by `jax.default_backend()`.

    Raises:
      InputError: no such backend.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r}", expected=" or ".join(BACKENDS), code="bad_backend")
    return _FORM_OF_PLATFORM.get(jax.default_backend(), "loops") if backend == "auto" else backend


@functools.cache
def visibility(height: int, width: int, cull: bool, form: str = "loops") -> Callable[[Array, Array], Array]:
    """The function (verts_clip [b v 4], faces4 [f 4]) -> face_id [b h w], compiled once per shape.

    vmap adds frames to the batch. Batching the inner loops instead would run every frame as long as the
    slowest, masked (30 times slower).
    """

    @jax.custom_batching.custom_vmap
    def frames(verts_clip: Array, faces4: Array) -> Array:
        if faces4.shape[0] == 0 or verts_clip.shape[0] == 0:
            return jnp.full((verts_clip.shape[0], height, width), -1, jnp.int32)
        return _FORMS[form](verts_clip, faces4, height, width, cull)

    @frames.def_vmap
    def more_frames(axis_size, in_batched, verts_clip, faces4):  # type: ignore[no-untyped-def]
        if not in_batched[1]:
            ids = frames(verts_clip.reshape(-1, *verts_clip.shape[2:]), faces4)
            return ids.reshape(axis_size, -1, height, width), True
        if not in_batched[0]:
            verts_clip = jnp.broadcast_to(verts_clip, (axis_size, *verts_clip.shape))
        return lax.map(lambda pair: frames(*pair), (verts_clip, faces4)), True

    return jax.jit(frames)
