"""The two networks of the landmark tracker behind one small interface, on LiteRT or in pure JAX.

Both backends read the same model bytes and give the same numbers to about 1e-6. LiteRT runs the convolutions
of the attention mesh in four pieces (see tflite_surgery) with the custom operators in numpy between them;
JAX runs the whole graph in one jitted function.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from talkjax.errors import InputError
from talkjax.face.mesh468 import N_LANDMARKS, N_MESH
from talkjax.track.landmark_ops import LIGHT_OPERATORS, run_light
from talkjax.track.tflite_graph import Graph, Operator, read_graph
from talkjax.track.tflite_jax import graph_function, graph_params
from talkjax.track.tflite_surgery import cut_model

DETECTOR_SIZE, MESH_SIZE = 128, 192
BACKENDS = ("auto", "litert", "jax")
# Two interpreters of one thread each, on halves of a batch, beat one interpreter of two threads: these
# networks are so small that threads inside an operator mostly wait for each other, badly so on a busy
# machine.
_LITERT_LANES = 2
_JAX_BATCH = 6  # one compilation serves every batch: shorter ones are padded

Runner = Callable[[np.ndarray], tuple[np.ndarray, ...]]


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


@dataclasses.dataclass(frozen=True)
class MeshLayout:
    """Where the attention mesh's answers are: tensor indices, and the points that each head replaces."""

    points: int
    presence: int
    heads: tuple[tuple[int, np.ndarray], ...]  # (tensor [b n 2], indices [n]): lips, eyes
    irises: tuple[tuple[int, np.ndarray], ...]  # (tensor [b 5 2], the eye's rim [16])

    @property
    def outputs(self) -> tuple[int, ...]:
        return (self.points, self.presence, *(t for t, _ in self.heads), *(t for t, _ in self.irises))


def mesh_layout(graph: Graph) -> MeshLayout:
    """Reads the layout off the graph: which head belongs to which points stands in its window's options."""
    made_by = {o.outputs[0]: o for o in graph.operators}

    def window_of(operator: Operator) -> Operator:
        """The Landmarks2TransformMatrix behind a TransformLandmarks' matrix input."""
        while operator.name != "Landmarks2TransformMatrix":
            source = operator.inputs[1 if operator.name == "TransformLandmarks" else 0]
            operator = made_by[source]
        return operator

    heads, irises = [], []
    for operator in graph.operators:
        if operator.name != "TransformLandmarks":
            continue
        subset = np.array(window_of(operator).options["subset_idxs"])
        (count,) = graph.shapes[operator.inputs[0]][1:2]
        if count == len(subset):
            heads.append((operator.outputs[0], subset))
        else:
            irises.append((operator.outputs[0], subset[:16]))
    by_name = {graph.names[t]: t for t in graph.outputs}
    return MeshLayout(by_name["output_mesh_identity"], by_name["conv_faceflag"], tuple(heads), tuple(irises))


def _assemble(layout: MeshLayout, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Refined points `[b 478 3]` and presence `[b]` from the tensors of `layout.outputs`.

    Heads refine x and y only. An iris gets the mean depth of its eye's rim.
    """
    batch = len(outputs[0])
    coarse = np.asarray(outputs[0], np.float32).reshape(batch, N_MESH, 3)
    points = np.concatenate([coarse, np.zeros((batch, N_LANDMARKS - N_MESH, 3), np.float32)], axis=1)
    head_values = outputs[2 : 2 + len(layout.heads)]
    for (_, indices), values in zip(layout.heads, head_values, strict=True):
        points[:, indices, :2] = values
    first = N_MESH
    for (_, rim), values in zip(layout.irises, outputs[2 + len(layout.heads) :], strict=True):
        points[:, first : first + 5, :2] = values
        points[:, first : first + 5, 2] = coarse[:, rim, 2].mean(axis=1)[:, None]
        first += 5
    logit = np.asarray(outputs[1], np.float64).reshape(batch)
    return points, (1 / (1 + np.exp(-logit))).astype(np.float32)


def _as_detector(run: Runner, outputs: list[str]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    regressors, logits = outputs.index("regressors"), outputs.index("classificators")

    def detect(crops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values = run(crops)
        return np.asarray(values[regressors]), np.asarray(values[logits])[..., 0]

    return detect


# --- JAX ---------------------------------------------------------------------------------------------------


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
        _as_detector(run_detector, names), lambda crops: _assemble(layout, run_mesh(crops)), "jax"
    )


# --- LiteRT ------------------------------------------------------------------------------------------------


class _LiteRtRunner:
    """One model on LiteRT's CPU kernels; one interpreter per batch size, made when first asked for."""

    def __init__(self, model: bytes):
        self._model = model
        self._ready: dict[int, tuple[Any, int, list[int]]] = {}

    def _interpreter(self, shape: tuple[int, ...]) -> tuple[Any, int, list[int]]:
        if shape[0] not in self._ready:
            from ai_edge_litert.interpreter import Interpreter

            interpreter = Interpreter(model_content=self._model, num_threads=1)
            source = interpreter.get_input_details()[0]["index"]
            interpreter.resize_tensor_input(source, shape)
            interpreter.allocate_tensors()
            targets = [detail["index"] for detail in interpreter.get_output_details()]
            self._ready[shape[0]] = (interpreter, source, targets)
        return self._ready[shape[0]]

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        interpreter, source, targets = self._interpreter(x.shape)
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return tuple(interpreter.get_tensor(t) for t in targets)


def _one_by_one(run: Runner) -> Runner:
    """For a network whose own reshapes fix the batch at one."""

    def run_all(x: np.ndarray) -> tuple[np.ndarray, ...]:
        rows = [run(x[i : i + 1]) for i in range(len(x))]
        return tuple(np.concatenate(column) for column in zip(*rows, strict=True))

    return run_all


def _in_lanes(lanes: list[Runner], pool: ThreadPoolExecutor) -> Runner:
    """Shares a batch between equal runners, one thread each (a runtime call holds no Python lock)."""

    def run(x: np.ndarray) -> tuple[np.ndarray, ...]:
        shares = [share for share in np.array_split(x, len(lanes)) if len(share)]
        if len(shares) == 1:
            return lanes[0](x)
        parts = list(pool.map(lambda lane, share: lane(share), lanes, shares))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    return run


@dataclasses.dataclass(frozen=True)
class _Stage:
    """A piece of the mesh network: LiteRT computes `outputs` from `source`."""

    source: int
    outputs: tuple[int, ...]


def _heavy_stages(graph: Graph) -> list[_Stage]:
    """The convolutional pieces between the light operators: the backbone, then one per window."""
    sources = [graph.inputs[0]]
    sources += [o.outputs[0] for o in graph.operators if o.name == "TransformTensorBilinear"]
    stages = []
    for source in sources:
        reached, outputs = {source}, []
        for operator in graph.operators:
            inputs = [t for t in operator.inputs if t in reached]
            if not inputs:
                continue
            if operator.name in LIGHT_OPERATORS:
                outputs += [t for t in inputs if t not in outputs]
            else:
                reached.add(operator.outputs[0])
        outputs += [t for t in graph.outputs if t in reached and t not in outputs]
        stages.append(_Stage(source, tuple(outputs)))
    return stages


def _litert_mesh_lane(model: bytes, graph: Graph, layout: MeshLayout) -> Runner:
    """The mesh network on its own interpreters: heavy stages in LiteRT, light operators in numpy."""
    stages = {
        s.source: (_LiteRtRunner(cut_model(model, [s.source], s.outputs)), s.outputs)
        for s in _heavy_stages(graph)
    }
    light = [o for o in graph.operators if o.name in LIGHT_OPERATORS]

    def run(crops: np.ndarray) -> tuple[np.ndarray, ...]:
        values: dict[int, np.ndarray] = {}

        def put(tensor: int, value: np.ndarray) -> None:
            values[tensor] = value
            if tensor in stages:
                stage, outputs = stages[tensor]
                values.update(zip(outputs, stage(np.ascontiguousarray(value, np.float32)), strict=True))

        put(graph.inputs[0], crops)
        for operator in light:

            def read(i: int, tensors: tuple[int, ...] = operator.inputs) -> np.ndarray:
                tensor = tensors[i]
                return values[tensor] if tensor in values else graph.constants[tensor]

            put(operator.outputs[0], run_light(operator, read, graph, np))
        return tuple(values[t] for t in layout.outputs)

    return run


def litert_models(detector: bytes, mesh: bytes) -> LandmarkModels:
    """Both networks on LiteRT's XNNPACK kernels, two threads."""
    detector_graph, mesh_graph = read_graph(detector), read_graph(mesh)
    layout = mesh_layout(mesh_graph)
    pool = ThreadPoolExecutor(_LITERT_LANES, thread_name_prefix="landmarks")
    lanes = range(_LITERT_LANES)
    run_detector = _in_lanes([_one_by_one(_LiteRtRunner(detector)) for _ in lanes], pool)
    run_mesh = _in_lanes([_litert_mesh_lane(mesh, mesh_graph, layout) for _ in lanes], pool)
    names = [detector_graph.names[t] for t in detector_graph.outputs]
    return LandmarkModels(
        _as_detector(run_detector, names), lambda crops: _assemble(layout, run_mesh(crops)), "litert"
    )


def has_litert() -> bool:
    """Whether the LiteRT runtime is installed here."""
    return importlib.util.find_spec("ai_edge_litert") is not None


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
