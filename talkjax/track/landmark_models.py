"""The two networks of the landmark tracker behind one small interface, on LiteRT or in pure JAX.

Both backends read the same model bytes and give the same numbers to about 1e-6. LiteRT runs the convolutions
of the attention mesh in four pieces (see tflite_surgery) with the custom operators in numpy between them;
JAX runs the whole graph in one jitted function.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from talkjax.errors import InputError
from talkjax.track.landmark_layout import assemble, mesh_layout
from talkjax.track.landmark_litert import Runner, has_litert, litert_runners
from talkjax.track.tflite_graph import Graph, read_graph
from talkjax.track.tflite_jax import graph_function, graph_params

DETECTOR_SIZE, MESH_SIZE = 128, 192
BACKENDS = ("auto", "litert", "jax")
_JAX_BATCH = 6  # one compilation serves every batch: shorter ones are padded


@dataclasses.dataclass(frozen=True)
class LandmarkModels:
    """The networks as functions of a batch.

    Attributes:
      detect: crops `[b 128 128 3]` float32 in [-1, 1] -> (regressors `[b 896 16]`, logits `[b 896]`).
      mesh: crops `[b 192 192 3]` float32 in [0, 1] -> (points `[b 478 3]` in crop pixels, presence `[b]` in
        [0, 1]).
      backend: "litert" or "jax".
    """

    detect: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    mesh: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    backend: str


def _as_detector(run: Runner, outputs: list[str]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    regressors, logits = outputs.index("regressors"), outputs.index("classificators")

    def detect(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = run(crops)
        return np.asarray(values[regressors]), np.asarray(values[logits])[..., 0]

    return detect


def _jax_runner(graph: Graph, outputs: tuple[int, ...]) -> Runner:
    apply, params = jax.jit(graph_function(graph, outputs)), jax.device_put(graph_params(graph))

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        parts = []
        for start in range(0, len(x), _JAX_BATCH):
            part = x[start : start + _JAX_BATCH]
            padded = np.concatenate([part, np.zeros((_JAX_BATCH - len(part), *part.shape[1:]), part.dtype)])
            parts.append([np.asarray(v)[: len(part)] for v in apply(params, padded)])
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    return run


def jax_models(detector: bytes, mesh: bytes) -> LandmarkModels:
    """Both networks in pure JAX, on JAX's default device; each compiled once."""
    detector_graph, mesh_graph = read_graph(detector), read_graph(mesh)
    layout = mesh_layout(mesh_graph)
    run_detector = _jax_runner(detector_graph, detector_graph.outputs)
    run_mesh = _jax_runner(mesh_graph, layout.outputs)
    names = [detector_graph.names[t] for t in detector_graph.outputs]
    return LandmarkModels(
        _as_detector(run_detector, names), lambda crops: assemble(layout, run_mesh(crops)), "jax"
    )


def litert_models(detector: bytes, mesh: bytes) -> LandmarkModels:
    """Both networks on LiteRT's XNNPACK kernels, two threads."""
    detector_graph, mesh_graph = read_graph(detector), read_graph(mesh)
    layout = mesh_layout(mesh_graph)
    run_detector, run_mesh = litert_runners(detector, mesh, mesh_graph, layout)
    names = [detector_graph.names[t] for t in detector_graph.outputs]
    return LandmarkModels(
        _as_detector(run_detector, names), lambda crops: assemble(layout, run_mesh(crops)), "litert"
    )


def build_models(detector: bytes, mesh: bytes, backend: str = "auto") -> LandmarkModels:
    """The networks on the wished backend; "auto" takes LiteRT where it is installed.

    Raises:
      InputError: unknown backend, or LiteRT asked for where it has no wheel.
    """
    if backend not in BACKENDS:
        raise InputError(f"unknown landmark backend {backend!r}", expected=" or ".join(BACKENDS))
    if backend == "litert" and not has_litert():
        raise InputError(
            "the package ai-edge-litert is not installed", fix="install it, or use the backend 'jax'"
        )
    if backend == "litert" or (backend == "auto" and has_litert()):
        return litert_models(detector, mesh)
    return jax_models(detector, mesh)
