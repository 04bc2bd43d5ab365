"""Imported R-Net weights answer like PyTorch; bad files are refused in one line and execute nothing.

The golden was written by PyTorch: `tests/oracles/torch_reconstruction.py golden tests/goldens/rnet`.
"""

from __future__ import annotations

import pathlib
import pickle
import re
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from talkjax.assets.rnet_weights import RnetWeights, load_tensorflow_weights, load_torch_weights
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError
from talkjax.face.coeffs import unpack
from talkjax.nets.reconstruction_net import CoeffSizes, ReconstructionNet, fold

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "rnet"
HEADS = ("id", "ex", "tex", "angles", "gamma", "XY", "Z")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "rnet_small.npz") as data:
        return dict(data)


def tf_names(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's tensors under TF-slim's names, kernels HWIO."""
    parts = {
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    }
    named = {}
    for name, value in tensors.items():
        *path, part = name.split(".")
        if part == "num_batches_tracked":
            continue
        if path[0] == "final_layers":
            scope = f"fc-{HEADS[int(path[1])]}"
        elif path[1].startswith("layer"):
            scope = f"resnet_v1_50/block{path[1][5:]}/unit_{int(path[2]) + 1}/bottleneck_v1/"
            scope += {"downsample": "shortcut", "bn": "conv"}.get(path[3].rstrip("123"), path[3])
            scope += path[3][2:] if path[3].startswith("bn") else ""
        else:
            scope = "resnet_v1_50/conv1"
        if value.ndim == 4:
            named[f"{scope}/weights"] = value.transpose(2, 3, 1, 0)
        elif path[0] == "final_layers":
            named[f"{scope}/biases"] = value
        else:
            named[f"{scope}/BatchNorm/{parts[part]}"] = value
    return named


def write_graph(path: pathlib.Path, tensors: dict[str, np.ndarray], prefix: str = "") -> None:
    """A frozen graph by TensorFlow's own message definitions, with nodes of other kinds between."""
    from tensorboardX.proto.graph_pb2 import GraphDef

    graph = GraphDef()
    graph.node.add(name="input_imgs", op="Placeholder").attr["dtype"].type = 1
    for k, (name, value) in enumerate(tensors.items()):
        node = graph.node.add(name=prefix + name, op="Const")
        node.attr["dtype"].type = 1
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        for size in value.shape:
            tensor.tensor_shape.dim.add(size=size)
        if k % 2:
            tensor.float_val.extend(value.ravel().tolist())
        else:
            tensor.tensor_content = np.ascontiguousarray(value, "<f4").tobytes()
        graph.node.add(name=f"{prefix}{name}/read", op="Identity", input=[prefix + name])
    shape = graph.node.add(name="resnet/shape", op="Const").attr["value"].tensor
    shape.dtype = 3
    shape.int_val.append(224)
    graph.versions.producer = 21
    path.write_bytes(graph.SerializeToString())


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return read_torch_file(GOLDEN / "rnet_small.pth")["net_recon"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, np.ndarray]) -> pathlib.Path:
    path = tmp_path_factory.mktemp("graph") / "model.pb"
    write_graph(path, tf_names(tensors), prefix="tower/")
    return path


def difference(weights: RnetWeights, image: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference to an output `id exp tex euler sh xy z`, over the largest output of its kind."""
    net = ReconstructionNet(CoeffSizes(*weights.sizes), weights.width, weights.blocks, weights.stride_last)
    # one layout in each form: transformed kernels are slower to compile
    net, variables = fold(net, weights.variables, winograd_kernels=not weights.stride_last)
    got = jax.jit(net.apply)(variables, image)
    n_id, n_exp, n_tex = weights.sizes
    pieces = np.split(expected, np.cumsum([n_id, n_exp, n_tex, 3, 27]), -1)
    pad = [(80 - n_id), (64 - n_exp), (80 - n_tex), 0, 0, 0]
    packed = np.concatenate([np.pad(p, ((0, 0), (0, n))) for p, n in zip(pieces, pad, strict=True)], -1)
    want = unpack(packed, n_id=n_id, n_exp=n_exp, n_tex=n_tex)
    pairs = [
        (got.id_coeffs, want.id_coeffs),
        (got.exp_coeffs, want.exp_coeffs),
        (got.tex_coeffs, want.tex_coeffs),
        (got.pose.euler, want.pose.euler),
        (got.pose.translation, want.pose.translation),
        (got.sh_coeffs, want.sh_coeffs),
    ]
    assert min(np.abs(w).max() for _, w in pairs) > 0.1  # a net that answers zero would agree with anything
    return max(float(np.abs(g - w).max() / max(1.0, np.abs(w).max())) for g, w in pairs)


def test_pytorch_checkpoint(golden: dict[str, np.ndarray]) -> None:
    weights = load_torch_weights(GOLDEN / "rnet_small.pth")
    assert (weights.sizes, weights.width, weights.blocks) == ((6, 5, 4), 3, (1, 2, 2, 1))
    assert difference(weights, np.float32(golden["pixels"] / 255), golden["torch_output"]) < 1e-4


def test_tensorflow_graph(golden: dict[str, np.ndarray], graph: pathlib.Path) -> None:
    weights = load_tensorflow_weights(graph)
    assert (weights.sizes, weights.blocks, weights.stride_last) == ((6, 5, 4), (1, 2, 2, 1), True)
    assert difference(weights, np.float32(golden["pixels"] / 255), golden["tf_output"]) < 1e-4


class Evil:
    """Pickles as a call of `print`."""

    def __reduce__(self) -> tuple:
        return (print, ("executed",))


class Getattr:
    def __reduce__(self) -> tuple:
        return (getattr, (np.ndarray, "tofile"))


def torch_zip(path: pathlib.Path, content: bytes) -> pathlib.Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return path


@pytest.mark.parametrize("bad", [Evil(), Getattr(), {"net_recon": Evil()}], ids=["call", "getattr", "inside"])
def test_pickles_with_code_are_refused(
    tmp_path: pathlib.Path, bad: object, capsys: pytest.CaptureFixture
) -> None:
    path = torch_zip(tmp_path / "evil.pth", pickle.dumps(bad))
    with pytest.raises(InputError, match=r"names (builtins|__builtin__).*no tensor.*expected a checkpoint"):
        load_torch_weights(path)
    assert capsys.readouterr().out == ""


def test_functions_cannot_be_changed(tmp_path: pathlib.Path) -> None:
    # GLOBAL torch._utils._rebuild_parameter, BUILD with (None, {"__defaults__": (1,)})
    code = b"ctorch._utils\n_rebuild_parameter\n(N}S'__defaults__'\n(I1\ntstb."
    with pytest.raises(InputError, match="sets attributes of a function"):
        load_torch_weights(torch_zip(tmp_path / "evil.pth", code))


def rewritten(tmp_path: pathlib.Path, change) -> pathlib.Path:
    """The golden with `change(name, bytes)` applied to each member (None drops it)."""
    path = tmp_path / "changed.pth"
    with zipfile.ZipFile(GOLDEN / "rnet_small.pth") as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return path


def test_damaged_checkpoints_are_refused(tmp_path: pathlib.Path) -> None:
    whole = (GOLDEN / "rnet_small.pth").read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole[: len(whole) // 2])
    for path in (
        cut,
        rewritten(tmp_path, lambda name, data: data[:-4] if name.endswith("data/0") else data),
        torch_zip(tmp_path / "empty.pth", pickle.dumps({})),
        tmp_path / "missing.pth",
    ):
        with pytest.raises(InputError) as error:
            load_torch_weights(path)
        assert "\n" not in str(error.value)


def test_memory_is_not_for_the_asking(tmp_path: pathlib.Path) -> None:
    """A few numbers repeated by a stride of 0 into terabytes."""
    state = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI1\ntQ"
        b"I0\n(I999999\nI999999\nt(I0\nI0\nttR."
    )
    path = torch_zip(tmp_path / "wide.pth", state)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(4))
    with pytest.raises(InputError, match=r"size \(999999, 999999\) in 1 numbers"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("fc-Z/biases"), "no fc-Z/biases"),
        (lambda t: t.update({"fc-gamma/biases": np.zeros(26, np.float32)}), r"shape \(26,\), not 27"),
        (lambda t: t["fc-id/biases"].fill(np.nan), "not finite"),
        (lambda t: t.pop("resnet_v1_50/block2/unit_1/bottleneck_v1/conv1/weights"), "no resnet_v1_50/block2"),
        (lambda t: t["resnet_v1_50/conv1/BatchNorm/moving_variance"].fill(-1), "moving_variance is negative"),
        (lambda t: t.update({"resnet_v1_50/logits/weights": np.zeros(3, np.float32)}), "unknown tensor"),
    ],
)
def test_other_networks_are_refused(tmp_path: pathlib.Path, tensors, change, why: str) -> None:
    named = {name: value.copy() for name, value in tf_names(tensors).items()}
    change(named)
    write_graph(tmp_path / "other.pb", named)
    with pytest.raises(InputError, match=f"other.pb is no R-Net .*{why}"):
        load_tensorflow_weights(tmp_path / "other.pb")


def test_damaged_graphs_are_refused(tmp_path: pathlib.Path, graph: pathlib.Path) -> None:
    whole, path = graph.read_bytes(), tmp_path / "bad.pb"
    rng = np.random.default_rng(0)
    shorter = [whole[:n] for n in (1, len(whole) // 3, len(whole) - 1)]
    noise = [rng.integers(0, 256, 2000, np.uint8).tobytes() for _ in range(20)]
    for data in (b"", *shorter, *noise):
        path.write_bytes(data)
        with pytest.raises(InputError) as error:
            load_tensorflow_weights(path)
        assert "\n" not in str(error.value)


def test_importing_needs_neither_framework() -> None:
    code = "import sys, talkjax.assets.rnet_weights; print({'torch', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"set\(\)\s*", done.stdout)
