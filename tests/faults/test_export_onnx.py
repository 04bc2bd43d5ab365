"""Networks as ONNX files in onnxruntime, which must compute what jit does; slow to convert."""

from __future__ import annotations

import json

import pytest

from talkjax.errors import InputError
from talkjax.infer import export_onnx
from tests.infer.test_export_onnx import found as found

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
