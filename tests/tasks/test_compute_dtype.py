"""bfloat16 arithmetic: convolutions and products are in it, everything that is kept stays as it was."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from talkjax.tasks.mapping_general import GeneralMappingTask
from talkjax.tasks.refiner_lite import LiteRefinerTask
from talkjax.tasks.refiner_paper import PaperRefinerTask
from tests.train.sharded_run import JOBS


def operations(jaxpr) -> list[tuple[str, int]]:
    """(type, size of the result) of every convolution and product, inner programs included."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            out = equation.outvars[0].aval
            operand = equation.invars[0].aval
            found.append((str(operand.dtype), out.size))
        for inner in jaxprs_in_params(equation.params):
            found += operations(inner)
    return found


@pytest.mark.sharded
@pytest.mark.parametrize("name", ["mapping", "lite", "paper"])
def test_networks_compute_in_bfloat16_and_keep_float32(name) -> None:
    job, batch_at = JOBS[name](dtype="bfloat16")
    task = job.phases[0].step.__self__
    assert isinstance(task, GeneralMappingTask | LiteRefinerTask | PaperRefinerTask)
    state = jax.eval_shape(job.init)
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch_at(0))
    jaxpr, (after, metrics) = jax.make_jaxpr(job.phases[0].step, return_shape=True)(
        state, batch, *job.constants
    )
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)
    kept = {str(leaf.dtype) for leaf in jax.tree.leaves(after)}
    assert "bfloat16" not in kept and metrics["loss"].dtype == jnp.float32
    found = operations(jaxpr.jaxpr)
    half = sum(size for dtype, size in found if dtype == "bfloat16")
    assert half > 0.8 * sum(size for _, size in found), found
