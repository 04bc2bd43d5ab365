"""Gradient descent on an image, the whole of it one compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax


def fitter(draw: Callable[..., Any], steps: int, rate: float, project: Callable[[Any], Any] = lambda v: v):
    """(start, truth, *rest) -> (found, its image, the truth's image, which is all that the descent sees).

    Adam on the mean squared difference of `draw(value, *rest)`, with a rate that falls to nothing. One
    program draws and descends: compiling is what costs here.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps), b2=0.99)

    def loss(value: Any, target: Any, rest: Any) -> Any:
        image = draw(value, *rest)
        return jnp.mean((image - target) ** 2), image

    @jax.jit
    def run(value: Any, target: Any, count: Any, rest: Any) -> Any:
        def step(_: Any, state: Any) -> Any:
            value, memory, _ = state
            change, image = jax.grad(loss, has_aux=True)(value, target, rest)
            change, memory = optimizer.update(change, memory)
            return project(optax.apply_updates(value, change)), memory, image

        value, _, image = lax.fori_loop(0, count, step, (value, optimizer.init(value), target))
        return value, image

    def fit(start: Any, truth: Any, *rest: Any) -> Any:
        nothing = jnp.zeros_like(jax.eval_shape(draw, truth, *rest), jnp.float32)
        target = run(truth, nothing, 1, rest)[1]
        return *run(start, target, steps, rest), target

    return fit
