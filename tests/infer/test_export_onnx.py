"""Networks as ONNX files: which there are, and what is said without the extra. With it: `tests/faults`."""

from __future__ import annotations

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from talkjax.errors import InputError
from talkjax.infer import export_onnx
from talkjax.infer.mapping_session import Mapping
from talkjax.infer.personal_refiner import LiteRefiner
from talkjax.nets.mapping_default import DefaultMappingNet
from talkjax.tasks.refiner_lite import LiteRefinerSettings, LiteRefinerTask
from tests.nets.weights import random_variables


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
    refiner = LiteRefiner("lite", task, weights, np.zeros((4, 32)), None, None)
    return export_onnx.networks(mapping, refiner)


def test_networks_are_named_and_run(found):
    assert [network.name for network in found] == ["mapping_0", "speech", "refiner"]
    assert found[1].inputs == {"rows": (400, 40)} and found[2].outputs == ("color", "residual", "attention")
    a, b = (found[2].example(2) for _ in range(2))
    assert [x.shape for x in a] == [(2, 32, 32, 18), (2, 8)] and all(map(np.array_equal, a, b))


@pytest.mark.parametrize("module", ["jax2onnx", "onnxruntime", "onnx"])
def test_without_the_extra(found, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'talkjax\[onnx\]'") as caught:
        export_onnx.export_networks(found, tmp_path / "nets", {})
    assert caught.value.code == "needs_onnx" and not (tmp_path / "nets").exists()
