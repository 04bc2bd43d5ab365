"""The reference's GAN, imported, answers like PyTorch; bad files are refused in one line and execute nothing.

The golden was written by PyTorch: `tests/oracles/torch_gan.py golden tests/goldens/gan`.
"""

from __future__ import annotations

import pathlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.assets.gan_weights import load_discriminator, load_generator, load_memory
from talkjax.assets.resnet18_weights import load_resnet18
from talkjax.assets.torch_file import read_torch_file
from talkjax.errors import InputError
from talkjax.nets import memory
from talkjax.nets.generator_paper import PaperGenerator
from talkjax.nets.key_encoder import KeyEncoder
from talkjax.nets.patch_discriminator import PatchDiscriminator
from talkjax.nets.resnet import ResNet18
from talkjax.types import MemoryBank

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "gan"
G, D, MEM = (GOLDEN / f"3_net_{name}.pth" for name in ("G", "D", "mem"))


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "gan_outputs.npz") as data:
        return dict(data)


@pytest.fixture(scope="module")
def signed(golden: dict[str, np.ndarray]) -> np.ndarray:
    return np.float32(golden["window"]) / 127.5 - 1


def compiled(function: Any, *args: Any) -> Any:
    """What it gives, compiled in half the time."""
    quick = {"xla_backend_optimization_level": "0"}
    return jax.jit(function).lower(*args).compile(compiler_options=quick)(*args)


def close(got: Any, want: np.ndarray) -> None:
    assert np.abs(want).max() > 0.1 and want.std() > 1e-3  # constants would agree with anything constant
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_generator_paints_like_pytorch(golden, signed) -> None:
    params = load_generator(G)
    net = PaperGenerator(width=1, n_levels=5)
    out = compiled(net.apply, params, signed, golden["identity"])
    close(out.color, golden["color"])
    close(out.attention[..., :1], golden["attention"])


def test_discriminator_judges_like_pytorch(golden, signed) -> None:
    keep = golden["attention"]
    fake = keep * signed[..., 6:] + (1 - keep) * golden["color"]
    pair = np.concatenate([signed, fake], -1)
    close(compiled(PatchDiscriminator(width=2).apply, load_discriminator(D), pair), golden["logits"])


def test_memory_reads_like_pytorch(golden) -> None:
    found = load_memory(MEM)
    picture = np.float32(golden["window"][..., 6:]) / 255
    feature = compiled(ResNet18(width=2).apply, found["trunk"], picture)
    close(feature, golden["feature"])
    query = KeyEncoder(6).apply(found["query"], feature)
    close(query, golden["query"])
    bank = MemoryBank(**{name: jnp.asarray(value) for name, value in found["bank"].items()})
    close(memory.query(bank, query).values[:, 0], golden["read"])
    assert bank.source_id.tolist() == [-1, 0, 1, 2, 3] and bank.age.tolist() == [0, 1, 2, 3, 4]


class Evil:
    def __reduce__(self) -> tuple:
        return (print, ("executed",))


def old_form(path: pathlib.Path, content: bytes) -> pathlib.Path:
    """A file of PyTorch before 1.6 around a pickle."""
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + content + pickle.dumps([], 2))
    return path


def test_old_files_with_code_are_refused(tmp_path, capsys) -> None:
    for k, bad in enumerate((Evil(), {"inside": Evil()})):
        path = old_form(tmp_path / f"{k}.pth", pickle.dumps(bad, 2))
        with pytest.raises(InputError, match=r"names (builtins|__builtin__)[.]print, which is no tensor"):
            load_generator(path)
    (tmp_path / "first.pth").write_bytes(pickle.dumps(Evil(), 2))
    with pytest.raises(InputError, match="which is no tensor"):
        load_generator(tmp_path / "first.pth")
    assert capsys.readouterr().out == ""


def test_damaged_old_files_are_refused(tmp_path) -> None:
    whole, path = G.read_bytes(), tmp_path / "bad.pth"
    for data in (b"", whole[:100], whole[: len(whole) // 2], whole[:-1], whole[100:], b"\x80\x02." * 9):
        path.write_bytes(data)
        with pytest.raises(InputError) as error:
            load_generator(path)
        assert "\n" not in str(error.value)
    # a storage that claims to be larger than the file
    record = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI99999999999\nNtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + record + b"I0\n(I1\nt(I1\nttR."
    old_form(path, tensor)
    path.write_bytes(path.read_bytes()[: -len(pickle.dumps([], 2))] + pickle.dumps(["0"], 2))
    path.write_bytes(path.read_bytes() + (99999999999).to_bytes(8, "little") + bytes(64))
    with pytest.raises(InputError, match="ends inside its numbers"):
        read_torch_file(path)


GENERATOR = read_torch_file(G)


def refused(monkeypatch, load, tensors: dict[str, np.ndarray], why: str) -> None:
    monkeypatch.setattr("talkjax.assets.gan_weights.read_torch_file", lambda path: tensors)
    with pytest.raises(InputError, match=f"x.pth is no .*{why}.*fix") as error:
        load(pathlib.Path("x.pth"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("module.e3.conv.weight"), "no kernel of layer e3"),
        (lambda t: t.pop("module.d2.conv.bias"), "no d2.conv.bias"),
        (lambda t: t.pop("module.color.1.weight"), "0 heads of 3 channels"),
        (lambda t: t.pop("module.mlp.2.weight"), "no AdaIN|unknown tensor mlp.2.bias"),
        (lambda t: t["module.e2.conv.weight"].fill(np.nan), "e2.conv.weight is not finite"),
        (lambda t: t.update({"module.e9.weight": np.zeros(3, np.float32)}), "unknown tensor e9.weight"),
        (lambda t: t.update({"module.e2.conv.bias": np.zeros(3, np.float32)}), r"shape \(3,\), not 2"),
        (lambda t: t.update({"module.mlp.4.weight": np.zeros((58, 60), np.float32)}), "58 numbers|not 58"),
        (lambda t: t.clear(), "0 kernels"),
    ],
)
def test_other_generators_are_refused(monkeypatch, change, why: str) -> None:
    tensors = {name: value.copy() for name, value in GENERATOR.items()}
    change(tensors)
    refused(monkeypatch, load_generator, tensors, why)


def test_other_parts_are_refused(monkeypatch) -> None:
    judge, mem = read_torch_file(D), read_torch_file(MEM)
    refused(monkeypatch, load_discriminator, GENERATOR, "not 5 and 3")
    refused(
        monkeypatch, load_discriminator, judge | {"module.model.5.bias": np.zeros((2, 2))}, "model.5.bias"
    )
    refused(monkeypatch, load_memory, {k: v for k, v in mem.items() if k != "mem_key"}, "without keys")
    refused(monkeypatch, load_memory, mem | {"mem_value": np.zeros((4, 8))}, r"mem_value has shape \(4, 8\)")
    network = dict(mem["mem_model"])
    network.pop("resnet.layer2.0.bn1.running_var")
    refused(
        monkeypatch, load_memory, mem | {"mem_model": network}, "no mem_model.resnet.layer2.0.bn1.running_var"
    )


def test_layers_without_telling_names_are_taken_in_order(monkeypatch) -> None:
    """A network whose levels are numbered through: `net.0.weight` ..."""
    renamed = {}
    for name, value in GENERATOR.items():
        path = name.removeprefix("module.").split(".")
        kind = "mlp" if path[0] == "mlp" else "net"
        renamed[".".join([kind, *path]) if kind == "mlp" else f"net.{'x'.join(path[:-1])}.{path[-1]}"] = value
    renamed = {
        k.replace("netx", "net").replace("e", "q", 1) if k[4] in "ed" else k: v for k, v in renamed.items()
    }
    monkeypatch.setattr("talkjax.assets.gan_weights.read_torch_file", lambda path: renamed)
    got = load_generator(pathlib.Path("x.pth"))
    monkeypatch.undo()
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(load_generator(G)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_resnet18_by_children_s_numbers(monkeypatch, golden) -> None:
    """The trunk alone, as a `Sequential` of its children, gives the same parameters."""
    trunk = {
        k.removeprefix("resnet."): v for k, v in read_torch_file(MEM)["mem_model"].items() if "resnet." in k
    }
    numbers = {"conv1": "0", "bn1": "1", "fc": "9", **{f"layer{k}": str(k + 3) for k in range(1, 5)}}
    numbered = {}
    for name, value in trunk.items():
        first, _, rest = name.partition(".")
        numbered[f"{numbers[first]}.{rest}"] = value
    want = load_memory(MEM)["trunk"]
    for tensors in (trunk, numbered):
        monkeypatch.setattr("talkjax.assets.resnet18_weights.read_tensors_of", lambda path, t=tensors: t)
        got = load_resnet18(pathlib.Path("x.pth"))["trunk"]
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_array_equal(a, b)
    monkeypatch.setattr("talkjax.assets.resnet18_weights.read_tensors_of", lambda path: {"a": np.zeros(3)})
    with pytest.raises(InputError, match="no ResNet-18"):
        load_resnet18(pathlib.Path("x.pth"))
