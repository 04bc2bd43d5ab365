"""Networks as ONNX files in onnxruntime, which must compute what jit does; slow to convert."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.infer import export_onnx
from talkjax.infer.detail import Detail
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.paper_refiner import PaperRefiner
from talkjax.infer.personal_refiner import LiteRefiner
from talkjax.nets.mapping_default import DefaultMappingNet
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperRefinerTask
from tests.nets.weights import random_variables

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def found() -> list[export_onnx.Network]:
    """Small networks of random weights."""
    net = DefaultMappingNet(heads=(("out", 12), ("flags", 2)), width=8, front=6)
    params = random_variables(net, jnp.zeros((1, 8, 40)))["params"]
    targets: object = None
    mapping = Mapping("default", targets, {"members": (params,), "general": params})
    task = LiteRefinerTask(
        LiteRefinerSettings(size=32, n_features=4, n_values=8, n_slots=4, steps=1, width=8)
    )
    weights = random_variables(task.generator, jnp.zeros((1, 32, 32, 18)), jnp.zeros((1, 8)))
    refiner = LiteRefiner("lite", task, weights, np.zeros((4, 32)), None, None, None, Detail())
    return export_onnx.networks(mapping, refiner)


def test_networks_are_named_and_run(found):
    assert [network.name for network in found] == ["mapping_0", "speech", "refiner"]
    assert found[1].inputs == {"rows": (400, 40)} and found[2].outputs == ("color", "residual", "attention")
    a, b = (found[2].example(2) for _ in range(2))
    assert [x.shape for x in a] == [(2, 32, 32, 18), (2, 8)] and all(map(np.array_equal, a, b))


def test_onnxruntime_agrees(found, tmp_path):
    pytest.importorskip("jax2onnx", reason="extra onnx is not installed")
    out = tmp_path / "nets"
    differences = export_onnx.export_networks(found, out, {"identity": "me"})
    assert max(differences.values()) <= export_onnx.LARGEST_DIFFERENCE and len(differences) == 3
    index = json.loads((out / export_onnx.INDEX).read_text())
    assert index["identity"] == "me" and index["networks"]["refiner"]["inputs"]["code"] == ["batch", 8]
    with pytest.raises(InputError, match="exists"):
        export_onnx.export_networks(found, out, {})
    # another network's file is told from its own
    assert export_onnx.difference(found[0], out / "mapping_0.onnx") <= export_onnx.LARGEST_DIFFERENCE
    other = export_onnx.Network(
        "x", lambda rows: (2 * found[0].function(rows)[0],), found[0].inputs, ("frames",)
    )
    assert export_onnx.difference(other, out / "mapping_0.onnx") > 0.1


def test_the_paper_refiner_too(tmp_path):
    pytest.importorskip("jax2onnx", reason="extra onnx is not installed")
    sizes = {"width": 8, "trunk_width": 8, "n_slots": 9, "n_keys": 8, "n_values": 8, "discriminator_width": 4}
    task = PaperRefinerTask(PaperRefinerSettings(size=32, **sizes))
    params = random_variables(task.generator, jnp.zeros((1, 32, 32, 9)), jnp.zeros((1, 8)))
    query = random_variables(task.encoder, jnp.zeros((1, 64)))
    made = export_onnx.refiner_networks(PaperRefiner(task, params, query, None, task.random_trunk()))
    assert sorted(export_onnx.export_networks(made, tmp_path, {})) == ["memory_key", "refiner"]
