"""The networks: graph reading, surgery, custom operators, and the two backends against each other."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from talkjax.errors import InputError
from talkjax.track import landmark_ops
from talkjax.track.landmark_layout import mesh_layout
from talkjax.track.landmark_litert import has_litert
from talkjax.track.landmark_models import build_models
from talkjax.track.landmark_roi import crop_roi
from talkjax.track.tflite_graph import read_graph
from talkjax.track.tflite_jax import graph_function, graph_params, run_operator
from talkjax.track.tflite_surgery import cut_model

needs_litert = pytest.mark.skipif(not has_litert(), reason="ai-edge-litert has no wheel here")


@pytest.fixture(scope="module")
def model_bytes(model_files):
    return {key: model_files[key].read_bytes() for key in ("detector", "mesh")}


@pytest.fixture(scope="module")
def face_crops(clip_frames):
    """`[3 192 192 3]` crops of the real face, one of them turned."""
    rois = np.array([[548, 390, 470, 0.02], [540, 380, 520, 0.5], [560, 400, 430, -0.1]])
    return np.stack([crop_roi(clip_frames[0], roi) for roi in rois]).astype(np.float32) / 255


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


# --- reading and cutting ------------------------------------------------------------------------------------


@needs_litert
@pytest.mark.parametrize("name", ["detector", "mesh"])
def test_reader_agrees_with_the_generated_schema(model_bytes, name):
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    graph = read_graph(model_bytes[name])
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model_bytes[name], 0))
    subgraph = model.subgraphs[0]
    assert graph.inputs == tuple(subgraph.inputs) and graph.outputs == tuple(subgraph.outputs)
    dtypes = {0: np.float32, 1: np.float16, 2: np.int32}
    for i, tensor in enumerate(subgraph.tensors):
        assert graph.shapes[i] == tuple(tensor.shape) and graph.names[i] == tensor.name.decode()
        data = model.buffers[tensor.buffer].data
        if data is not None:
            values = np.frombuffer(bytes(data), dtypes[tensor.type])
            np.testing.assert_array_equal(graph.constants[i].ravel(), values)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}

    def number(code) -> int:  # old files hold it in a field of one byte
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    codes = [c.customCode.decode() if c.customCode else names[number(c)] for c in model.operatorCodes]
    nodes = [n for n in subgraph.operators if codes[n.opcodeIndex] != "DEQUANTIZE"]
    for node, operator in zip(nodes, graph.operators, strict=True):
        assert operator.name == codes[node.opcodeIndex]
        assert operator.inputs == tuple(node.inputs) and operator.outputs == tuple(node.outputs)
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "MAX_POOL_2D"):
            want = node.builtinOptions
            got = operator.options
            assert (got["padding"], got["stride_w"], got["stride_h"]) == (
                want.padding,
                want.strideW,
                want.strideH,
            )
            assert got["activation"] == want.fusedActivationFunction


def test_reader_refuses_other_bytes():
    with pytest.raises(ValueError, match="TFL3"):
        read_graph(b"\0" * 64)


def test_cut_keeps_exactly_what_is_between(model_bytes):
    graph = read_graph(model_bytes["mesh"])
    (lips, *_) = [o.outputs[0] for o in graph.operators if o.name == "TransformTensorBilinear"]
    answer = next(o.inputs[0] for o in graph.operators if o.name == "TransformLandmarks")
    head = read_graph(cut_model(model_bytes["mesh"], [lips], [answer]))
    assert head.inputs == (lips,) and head.outputs == (answer,)
    assert not {o.name for o in head.operators} & {"TransformTensorBilinear", "TransformLandmarks"}
    made = {lips}
    for operator in head.operators:  # in order, and nothing from outside
        assert all(t in made or t in graph.constants for t in operator.inputs)
        made.add(operator.outputs[0])
    assert answer in made
    with pytest.raises(ValueError, match="not computed"):
        cut_model(model_bytes["mesh"], [answer], [answer])


def test_layout_of_the_mesh(model_bytes):
    layout = mesh_layout(read_graph(model_bytes["mesh"]))
    assert [len(indices) for _, indices in layout.heads] == [80, 71, 71]
    assert layout.heads[1][1][0] == 33 and layout.heads[2][1][0] == 263  # the person's right eye comes first
    assert [rim[0] for _, rim in layout.irises] == [33, 263]


# --- custom operators ---------------------------------------------------------------------------------------

OPTIONS = {
    "subset_idxs": [2, 0, 5, 7],
    "left_rotation_idx": 2,
    "right_rotation_idx": 5,
    "target_rotation_radians": 0.0,
    "scale_x": 1.5,
    "scale_y": 1.5,
    "output_width": 16,
    "output_height": 12,
}


@pytest.mark.parametrize("xp", [np, jnp])
def test_window_is_level_centred_and_scaled(xp):
    points = np.random.default_rng(0).uniform(5, 40, (2, 9, 3)).astype(np.float32)
    matrix = np.asarray(landmark_ops.window_matrix(points, OPTIONS, xp), np.float64)
    for b in range(2):
        inverse = np.linalg.inv(matrix[b])
        window = points[b, [2, 0, 5, 7], :2] @ inverse[:2, :2].T + inverse[:2, 3]
        assert window[0, 1] == pytest.approx(window[2, 1], abs=1e-4)  # the two named points lie level
        assert window[0, 0] < window[2, 0]
        np.testing.assert_allclose(window.min(0) + window.max(0), [16, 12], atol=1e-3)  # centred
        np.testing.assert_allclose(np.ptp(window, axis=0), [16 / 1.5, 12 / 1.5], rtol=1e-4)
        back = landmark_ops.transform_points(window[None].astype(np.float32), matrix[b : b + 1], np)
        np.testing.assert_allclose(back[0], points[b, [2, 0, 5, 7], :2], atol=1e-3)


@pytest.mark.parametrize("xp", [np, jnp])
def test_samples_against_scipy(xp):
    rng = np.random.default_rng(1)
    features = rng.normal(size=(2, 20, 24, 3)).astype(np.float32)
    matrix = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    matrix[0, :2, :2], matrix[0, :2, 3] = [[0.9, -0.3], [0.3, 0.9]], [4, 1]
    matrix[1, :2, :2], matrix[1, :2, 3] = [[2.1, 0.2], [-0.2, 1.9]], [-3, 2]  # reaches over the border
    got = np.asarray(landmark_ops.sample_window(features, matrix, OPTIONS, xp))
    v, u = np.mgrid[:12, :16] + 0.5
    for b in range(2):
        x = matrix[b, 0, 0] * u + matrix[b, 0, 1] * v + matrix[b, 0, 3] - 0.5
        y = matrix[b, 1, 0] * u + matrix[b, 1, 1] * v + matrix[b, 1, 3] - 0.5
        outside = (x < 0) | (x > 23) | (y < 0) | (y > 19)
        assert outside.any() == (b == 1)
        for c in range(3):
            want = ndimage.map_coordinates(features[b, ..., c], [y, x], order=1, mode="nearest")
            np.testing.assert_allclose(got[b, ..., c], np.where(outside, 0, want), atol=2e-5)


# --- backends -----------------------------------------------------------------------------------------------


@needs_litert
def test_backends_agree(model_bytes, pure_jax, face_crops):
    litert = build_models(**model_bytes, backend="litert")
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 128, 128, 3)).astype(np.float32)
    for a, b in zip(pure_jax.detect(noise), litert.detect(noise), strict=True):
        assert a.shape == b.shape and _relative(a, b) < 1e-4
    points, presence = pure_jax.mesh(face_crops)
    want_points, want_presence = litert.mesh(face_crops)
    assert points.shape == (3, 478, 3) and presence.shape == (3,)
    assert _relative(points, want_points) < 1e-5
    np.testing.assert_allclose(presence, want_presence, atol=1e-5)
    assert want_presence.min() > 0.99
    single = np.concatenate([litert.mesh(face_crops[i : i + 1])[0] for i in range(3)])
    np.testing.assert_allclose(single, want_points, atol=1e-3)


def test_whole_network_under_jit_equals_operator_by_operator(model_bytes, face_crops):
    """The compiler fault behind talkjax.xla_flags first showed in this network (grouped convolutions)."""
    graph = read_graph(model_bytes["detector"])
    graph = dataclasses.replace(graph, operators=graph.operators[:45])  # down to the second pooling
    x = 2 * face_crops[:1, 32:160, 32:160] - 1
    values = {graph.inputs[0]: x}
    for operator in graph.operators:
        inputs = [values.get(t, graph.constants.get(t)) for t in operator.inputs]
        apply = jax.jit(lambda *a, o=operator: run_operator(o, lambda i: a[i], graph))
        values[operator.outputs[0]] = np.asarray(apply(*inputs))
    assert [o.name for o in graph.operators].count("MAX_POOL_2D") == 2
    outputs = tuple(o.outputs[0] for o in graph.operators[-3:])
    whole = jax.jit(graph_function(graph, outputs))(graph_params(graph), x)
    for tensor, got in zip(outputs, whole, strict=True):
        assert _relative(np.asarray(got), values[tensor]) < 1e-4


def test_presence_tells_a_face_from_none(models, face_crops):
    blank = np.full((1, 192, 192, 3), 0.5, np.float32)
    _, presence = models.mesh(np.concatenate([face_crops, blank]))
    assert presence[:3].min() > 0.9 and presence[3] < 0.1


def test_points_lie_on_the_face(models, clip_frames, face_crops):
    points, _ = models.mesh(face_crops)
    right_eye, left_eye, chin, top = (points[:, i, :2] for i in (33, 263, 152, 10))
    assert (right_eye[[0, 2], 0] < left_eye[[0, 2], 0]).all() and (chin[:, 1] > top[:, 1]).all()
    assert (np.abs(points[:, 468:473, :2].mean(1) - points[:, [33, 133], :2].mean(1)) < 6).all()
    assert (np.abs(points[:, 473:, :2].mean(1) - points[:, [263, 362], :2].mean(1)) < 6).all()


def test_unknown_backend_is_refused():
    with pytest.raises(InputError, match="auto or litert or jax"):
        build_models(b"", b"", "torch")
