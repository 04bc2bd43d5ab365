"""Where the attention mesh's answers are in its graph, and how they make 478 points."""

from __future__ import annotations

import dataclasses

import numpy as np

from talkjax.face.mesh468 import N_LANDMARKS, N_MESH
from talkjax.track.tflite_graph import Graph, Operator


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


def assemble(layout: MeshLayout, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
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
