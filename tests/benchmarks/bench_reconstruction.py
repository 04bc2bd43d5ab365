"""R-Net: ResNet-50 forward against PyTorch, and the small network's forward and training step.

    python -m tests.benchmarks.bench_reconstruction --peer_python=PATH_OF_A_PYTHON_WITH_TORCH

All cases of one table take turns, each number is a fastest run; PyTorch runs in a process of its own that
waits while others are timed. `ratio` is PyTorch's time over ours: above 1 we are faster. FLOPs are XLA's
count of the batch-norm form (a multiplication and an addition are two).
"""

from __future__ import annotations

import pathlib
import subprocess
import time

import jax
import jax.numpy as jnp
from absl import app, flags

import talkjax  # noqa: F401  (before JAX computes)
from talkjax.nets.reconstruction_net import ReconstructionNet, fold
from talkjax.nets.reconstruction_small import SmallReconstructionNet
from tests.benchmarks.timing import alternated_minima

_PEER = flags.DEFINE_string("peer_python", None, "a Python that has torch; without it only ours is timed")
_REPEATS = flags.DEFINE_integer("repeats", 20, "turns of each case")
_SIZE = flags.DEFINE_integer("small_size", 112, "side of the small network's images")
_ONLY = flags.DEFINE_enum("only", "both", ["both", "resnet", "small"], "which tables")

ORACLE = pathlib.Path(__file__).parents[1] / "oracles" / "torch_reconstruction.py"
VARIANTS = ("eager", "channels last", "frozen")


class Peer:
    """PyTorch in another process; it measures itself and is idle unless asked."""

    def __init__(self, python: str):
        self._process = subprocess.Popen(
            [python, str(ORACLE), "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def milliseconds(self, variant: str, batch: int) -> float:
        assert self._process.stdin and self._process.stdout
        print(variant, batch, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def flops(net, variables, image) -> float:
    cost = jax.jit(net.apply).lower(variables, image).compile().cost_analysis()
    return float((cost[0] if isinstance(cost, list) else cost)["flops"])


def resnet_table(repeats: int) -> None:
    net = ReconstructionNet()
    key = jax.random.key(0)
    variables = jax.jit(net.init)(key, jnp.zeros((1, 224, 224, 3)))
    forms = {"batch norm": (net, variables)}
    forms["folded"] = fold(net, variables, winograd_kernels=False)
    forms["winograd"] = fold(net, variables)
    forms = {name: (form, jax.device_put(values)) for name, (form, values) in forms.items()}
    peer = Peer(_PEER.value) if _PEER.value else None
    for batch in (1, 8):
        image = jax.random.uniform(key, (batch, 224, 224, 3))
        applied = {name: jax.jit(form.apply) for name, (form, _) in forms.items()}
        best: dict[str, float] = {}
        # the first two turns warm up
        for turn in range(repeats + 2):
            taken = {}
            for name, apply in applied.items():
                start = time.perf_counter()
                jax.block_until_ready(apply(forms[name][1], image))
                taken[name] = 1000 * (time.perf_counter() - start)
            if peer:
                taken |= {f"torch {v}": peer.milliseconds(v, batch) for v in VARIANTS}
            if turn > 1:
                best = {name: min(best.get(name, 1e9), value) for name, value in taken.items()}
        count = flops(net, variables, image) / batch
        print(f"ResNet-50, batch {batch}, 224 px, {count / 1e9:.2f} GFLOP per image")
        ours = min(best[name] for name in forms)
        for name, value in best.items():
            ratio = f"  ratio of our best {value / ours:.2f}" if name not in forms else ""
            print(f"  {name:<20}{value / batch:8.1f} ms per image{ratio}")
    if peer:
        peer.close()


def small_table(repeats: int) -> None:
    net, size = SmallReconstructionNet(), _SIZE.value
    key = jax.random.key(0)
    variables = net.init(key, jnp.zeros((1, size, size, 3)))

    def loss(variables, image):
        return sum(jnp.mean(jnp.square(x - 1)) for x in jax.tree.leaves(net.apply(variables, image)))

    forward, backward = jax.jit(net.apply), jax.jit(jax.grad(loss))
    images = {b: jax.random.uniform(key, (b, size, size, 3)) for b in (1, 8, 32)}
    cases = {f"forward {b}": lambda b=b: forward(variables, images[b]) for b in images}
    cases |= {f"forward and backward {b}": lambda b=b: backward(variables, images[b]) for b in images}
    best = alternated_minima(cases, repeats)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    count = flops(net, variables, images[8]) / 8
    print(f"small, {size} px, {parameters:,} parameters, {count / 1e9:.3f} GFLOP per image forward")
    for name, value in best.items():
        batch = int(name.split()[-1])
        print(f"  {name:<26}{value / batch:8.2f} ms per image {1000 * batch / value:8.0f} per second")


def main(argv: list[str]) -> None:
    del argv
    if _ONLY.value != "small":
        resnet_table(_REPEATS.value)
    if _ONLY.value != "resnet":
        small_table(_REPEATS.value)


if __name__ == "__main__":
    app.run(main)
