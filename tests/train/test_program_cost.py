"""Collectives read from programs: lines as compilers write them, and a program whose traffic is known."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from talkjax.train.program_cost import Collective, by_kind, collectives, wire_bytes

# shortened from programs of XLA for CPU, TPU v5e and GPU
LINES = {
    "%all-reduce.1 = f32[64,3]{1,0} all-reduce(%x), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, "
    "use_global_device_ids=true": [Collective("all-reduce", 768, 4)],
    "ROOT %r = (f32[2,3]{1,0:T(8,128)}, bf16[8]{0}) all-reduce(%a, %b), replica_groups=[1,8]<=[8]": [
        Collective("all-reduce", 40, 8)
    ],
    "%ar = bf16[1024,2]{1,0:T(8,128)(2,1)S(1)} all-reduce(%f), channel_id=1, "
    "replica_groups=mesh['axis_0'=8,'axis_1'=2] {'axis_0'}, use_global_device_ids=true": [
        Collective("all-reduce", 4096, 8)
    ],
    "%ag = (f32[2,8]{1,0}, f32[8,8]{1,0}) all-gather-start(%p), dimensions={0}, replica_groups=[2,4]<=[8]": [
        Collective("all-gather", 256, 4)
    ],
    "%ag2 = ((f32[2]{0}, s8[4]{0}), (f32[8]{0}, s8[16]{0})) all-gather-start(%p, %q), dimensions={0}, "
    "replica_groups={}": [Collective("all-gather", 48, 0)],
    "%ars = f32[16]{0} all-reduce-start(%p), replica_groups={{0,1}}": [Collective("all-reduce", 64, 2)],
    "%ard = f32[16]{0} all-reduce-done(%ars)": [],
    "%rs = f32[4]{0} reduce-scatter(%p), replica_groups=[1,4]<=[4], dimensions={0}": [
        Collective("reduce-scatter", 16, 4)
    ],
    "%f = f32[16]{0} fusion(%all-reduce.1), kind=kLoop, calls=%c": [],
}


@pytest.mark.parametrize("line", LINES)
def test_lines_of_programs(line):
    assert collectives(f"  {line}\n") == LINES[line]


def test_bytes_on_the_wire():
    """Of rings of four: an all-reduce of 400 bytes sends 3/4 of them twice, and so on."""
    assert wire_bytes([Collective("all-reduce", 400, 4)], 8) == 600
    assert wire_bytes([Collective("all-gather", 400, 4), Collective("all-to-all", 400, 0)], 4) == 600
    assert wire_bytes([Collective("reduce-scatter", 100, 4)], 8) == 300
    assert wire_bytes([Collective("collective-permute", 100, 0)], 8) == 100
    table = by_kind(
        [Collective("all-reduce", 4, 4), Collective("all-gather", 8, 4), Collective("all-reduce", 2, 2)]
    )
    assert table == {"all-gather": {"count": 1, "bytes": 8}, "all-reduce": {"count": 2, "bytes": 6}}


KNOWN = """
import json, talkjax, jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 4)
from jax.sharding import NamedSharding as N, PartitionSpec as P
from talkjax.train.program_cost import program_cost
mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
def step(w, x):  # w is cut, so it is gathered; the gradient of the cut batch is summed
    return w - jax.grad(lambda w: jnp.sum(jnp.tanh(x @ w)))(w), w * 2
cut, whole = N(mesh, P("data")), N(mesh, P())
spec = lambda *s: jax.ShapeDtypeStruct(s, jnp.float32)
jitted = jax.jit(step, in_shardings=(whole, cut), out_shardings=(whole, whole), donate_argnums=0)
cost = program_cost(jitted.lower(spec(32, 16), spec(64, 32)).compile())
found = [list(c) for c in cost.collectives]
print(json.dumps(cost._asdict() | {"collectives": found, "peak": cost.peak_bytes}))
"""


def test_a_program_whose_traffic_is_known():
    done = subprocess.run(
        [sys.executable, "-c", KNOWN], capture_output=True, text=True, check=True, timeout=120
    )
    cost = json.loads(done.stdout)
    assert cost["collectives"] == [["all-reduce", 32 * 16 * 4, 4]]
    assert cost["arguments"] == 32 * 16 * 4 + 64 // 4 * 32 * 4
    # products of this device's 16 rows: x w, and x^T g
    assert 2 * 2 * 16 * 32 * 16 <= cost["compiler_flops"] < 1.1 * 2 * 2 * 16 * 32 * 16
    assert cost["peak"] >= cost["arguments"] + 32 * 16 * 4 and cost["accessed"] > cost["arguments"]
