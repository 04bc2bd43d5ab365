"""Networks as ONNX files without the extra. With it: `tests/faults/test_export_onnx.py`."""

from __future__ import annotations

import sys

import pytest

from talkjax.errors import InputError
from talkjax.infer import export_onnx


@pytest.mark.parametrize("module", ["jax2onnx", "onnxruntime", "onnx"])
def test_without_the_extra(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'talkjax\[onnx\]'") as caught:
        export_onnx.export_networks([], tmp_path / "nets", {})
    assert caught.value.code == "needs_onnx" and not (tmp_path / "nets").exists()
