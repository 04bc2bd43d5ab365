"""Imported ArcFace weights answer like PyTorch, from all three kinds of file; bad files end in one line.

The golden was written by PyTorch: `tests/oracles/torch_face_embedding.py golden OUT_DIR`.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from talkjax.assets import face_embedding_weights
from talkjax.assets.face_embedding_weights import load_face_embedding
from talkjax.assets.onnx_file import Node, read_onnx
from talkjax.assets.safetensors_file import read_safetensors
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError
from talkjax.nets.face_embedding import FaceEmbedding

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "face_embedding"
ONNX, PTH = GOLDEN / "iresnet.onnx", GOLDEN / "iresnet.pth"


def write_safetensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> pathlib.Path:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        kind = {"float32": "F32", "int64": "I64"}[str(value.dtype)]
        places = [len(data), len(data) + value.nbytes]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": places}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


@pytest.fixture(scope="module")
def by_names() -> dict:
    return load_face_embedding(PTH)["embedding"]


def test_it_answers_like_pytorch(by_names) -> None:
    with np.load(GOLDEN / "iresnet.npz") as golden:
        pixels, want = golden["pixels"], golden["output"]
    assert np.abs(want).max() > 0.5
    net = FaceEmbedding(units=(1, 2, 1, 1), width=3, features=8)
    got = jax.jit(net.apply)(by_names, np.float32(pixels) / 255)
    np.testing.assert_allclose(got, want, atol=1e-4)


def same(a: dict, b: dict) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-6)


def test_all_kinds_of_file_hold_the_same(by_names, tmp_path) -> None:
    """The graph went through an exporter, which folded norms and numbered tensors."""
    same(load_face_embedding(ONNX)["embedding"], by_names)
    path = write_safetensors(tmp_path / "x.safetensors", read_torch_file(PTH))
    same(load_face_embedding(path)["embedding"], by_names)


def altered(monkeypatch, change) -> dict:
    """The graph with its nodes and tensors changed by `change(nodes, tensors)`."""
    graph = read_onnx(ONNX)
    nodes, tensors = list(graph.nodes), {name: value.copy() for name, value in graph.tensors.items()}
    change(nodes, tensors)
    graph = dataclasses.replace(graph, nodes=tuple(nodes), tensors=tensors)
    monkeypatch.setattr(face_embedding_weights, "read_onnx", lambda path: graph)
    return load_face_embedding(pathlib.Path("x.onnx"))["embedding"]


def scaled(offset: float):
    """A graph that takes raw pixels, as those from MXNet do: (pixel - offset) / 128."""

    def change(nodes, tensors) -> None:
        first = nodes[0]
        tensors |= {"o": np.float32(offset), "f": np.float32([1 / 128])}
        nodes[0] = dataclasses.replace(first, inputs=("scaled", *first.inputs[1:]))
        picture = first.inputs[0]
        nodes[:0] = [Node("Sub", (picture, "o"), ("a",), {}), Node("Mul", ("a", "f"), ("scaled",), {})]

    return change


def test_scaling_inside_the_graph_is_folded(monkeypatch, by_names) -> None:
    got = altered(monkeypatch, scaled(127.5))
    stem = by_names["params"]["stem"]["kernel"] * 127.5 / 128
    np.testing.assert_allclose(got["params"]["stem"]["kernel"], stem, rtol=2e-5, atol=1e-6)
    with pytest.raises(InputError, match="does not center its pixels"):
        altered(monkeypatch, scaled(100.0))


def nth(kind: str, k: int, **changes):
    def change(nodes, tensors) -> None:
        at = [i for i, node in enumerate(nodes) if node.op == kind][k]
        settings = {**nodes[at].settings, **changes.get("settings", {})}
        nodes[at] = dataclasses.replace(nodes[at], op=changes.get("op", kind), settings=settings)

    return change


def spoil(nodes, tensors) -> None:
    next(value for value in tensors.values() if value.ndim == 4).fill(np.nan)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (nth("Conv", 2, settings={"strides": [3, 3]}), "strides"),
        (nth("Conv", 1, settings={"group": 3}), "group"),
        (nth("PRelu", 1, op="Relu"), "where PRelu"),
        (nth("Add", 0, op="Mul"), "where Add"),
        (nth("Gemm", 0, op="MatMul"), "where Gemm"),
        (spoil, "not finite"),
    ],
)
def test_other_graphs_are_refused(monkeypatch, change, why) -> None:
    with pytest.raises(InputError, match=f"x.onnx is no ArcFace network .*{why}") as error:
        altered(monkeypatch, change)
    assert "\n" not in str(error.value)


def test_other_state_dicts_are_refused(tmp_path) -> None:
    tensors = read_torch_file(PTH)
    lacking = {k: v for k, v in tensors.items() if k != "layer2.1.bn3.running_mean"}
    for changed, why in (
        (lacking, "no layer2.1.bn3.running_mean"),
        (tensors | {"fc.weight": np.zeros((8, 95), np.float32)}, "takes 95 numbers of 24 channels"),
        (tensors | {"logits.weight": np.zeros(3, np.float32)}, "unknown tensor logits.weight"),
    ):
        with pytest.raises(InputError, match=why):
            load_face_embedding(write_safetensors(tmp_path / "x.safetensors", changed))


def test_damaged_files_end_in_one_line(tmp_path) -> None:
    rng = np.random.default_rng(0)
    packed = write_safetensors(tmp_path / "whole.safetensors", read_torch_file(PTH)).read_bytes()
    for name, whole in (("x.onnx", ONNX.read_bytes()), ("x.safetensors", packed)):
        noise = [rng.integers(0, 256, 500, np.uint8).tobytes() for _ in range(10)]
        for data in (b"", whole[:7], whole[: len(whole) // 3], whole[:-1], *noise):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(InputError) as error:
                load_face_embedding(tmp_path / name)
            assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"missing.onnx cannot be read .*No such file"):
        load_face_embedding(tmp_path / "missing.onnx")
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(InputError, match=r"a has 4 bytes for shape \(2,\)"):
        read_safetensors(tmp_path / "x.safetensors")
