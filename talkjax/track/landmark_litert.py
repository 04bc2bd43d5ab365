"""The two networks on LiteRT's CPU kernels.

The convolutions of the attention mesh run in four pieces (see tflite_surgery) with the custom operators in
numpy between them.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from talkjax.track.landmark_layout import MeshLayout
from talkjax.track.landmark_ops import LIGHT_OPERATORS, run_light
from talkjax.track.tflite_graph import Graph
from talkjax.track.tflite_surgery import cut_model

# Two interpreters of one thread each, on halves of a batch, beat one interpreter of two threads: in networks
# this small the threads inside an operator mostly wait for each other, badly so on a busy machine.
_LANES = 2

Runner = Callable[[np.ndarray], tuple[np.ndarray, ...]]


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


def litert_runners(
    detector: bytes, mesh: bytes, mesh_graph: Graph, layout: MeshLayout
) -> tuple[Runner, Runner]:
    """Functions of a batch: the detector's outputs, and the tensors of `layout.outputs`; two threads."""
    pool = ThreadPoolExecutor(_LANES, thread_name_prefix="landmarks")
    lanes = range(_LANES)
    run_detector = _in_lanes([_one_by_one(_LiteRtRunner(detector)) for _ in lanes], pool)
    run_mesh = _in_lanes([_litert_mesh_lane(mesh, mesh_graph, layout) for _ in lanes], pool)
    return run_detector, run_mesh


def has_litert() -> bool:
    """Whether the LiteRT runtime is installed here."""
    return importlib.util.find_spec("ai_edge_litert") is not None
