"""Networks as ONNX files in onnxruntime, which must compute what jit does; slow to convert."""

from __future__ import annotations

import json

import jax.numpy as jnp
import pytest

from talkjax.errors import InputError
from talkjax.infer import export_onnx
from talkjax.infer.paper_refiner import PaperRefiner
from talkjax.tasks.refiner_paper import PaperRefinerSettings, PaperRefinerTask
from tests.infer.test_export_onnx import found as found
from tests.nets.weights import random_variables

pytestmark = pytest.mark.faults


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
