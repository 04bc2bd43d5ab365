"""The paper's audio network against torch: as its authors run it (one call per time step), and folded.

    PYTHONPATH=. python -m tests.benchmarks.bench_paper_mapping --repeats=12      # needs torch beside this
    package

Minima over alternating repeats in one process, so that foreign load meets both alike. `folded` gives torch
all windows in one batch, as this package does. First, equal weights must give equal numbers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags
from torch import nn

import talkjax  # noqa: F401  (before JAX: sets its flags)
from talkjax.nets.mapping_net import PaperMappingNet
from talkjax.tasks.mapping import MappingBatch, MappingTask
from talkjax.tasks.mapping_targets import Targets

REPEATS = flags.DEFINE_integer("repeats", 12, "timings of each case")
OUT = flags.DEFINE_string("out", None, "write the figures as JSON")
N_OUT = 70


class TorchNet(nn.Module):
    """The reference's topology (reference.md §3.1); `folded` runs all time steps in one batch."""

    def __init__(self, folded: bool):
        super().__init__()
        self.folded = folded
        layers: list[nn.Module] = []
        channels = (1, 64, 128, 256, 256, 512)
        for i, (a, b) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(True)]
            if i == 1:
                layers.append(nn.MaxPool2d(3, (1, 2)))
        layers.append(nn.MaxPool2d(3, (2, 2)))
        self.encoder = nn.Sequential(*layers)
        self.dense = nn.Sequential(nn.Linear(12288, 2048), nn.ReLU(True), nn.Linear(2048, 256), nn.ReLU(True))
        self.lstm = nn.LSTM(256, 256, 3, batch_first=True)
        self.out = nn.Linear(256, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, t = x.shape[:2]
        if self.folded:
            h = self.dense(self.encoder(x.reshape(b * t, 1, 28, 12)).flatten(1)).reshape(b, t, -1)
        else:
            h = torch.stack([self.dense(self.encoder(x[:, k, None]).flatten(1)) for k in range(t)], 1)
        return self.out(self.lstm(h)[0])


def copied(net: TorchNet) -> dict[str, Any]:
    """The torch weights as variables of `PaperMappingNet`."""

    def array(x: torch.Tensor) -> jnp.ndarray:
        return jnp.asarray(x.detach().numpy())

    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}
    convs = [m for m in net.encoder if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.encoder if isinstance(m, nn.BatchNorm2d)]
    for k, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        params[f"convs_{k}"] = {"kernel": array(conv.weight.permute(2, 3, 1, 0))}
        params[f"norms_{k}"] = {"scale": array(norm.weight), "bias": array(norm.bias)}
        stats[f"norms_{k}"] = {"mean": array(norm.running_mean), "var": array(norm.running_var)}
    linears = [m for m in net.dense if isinstance(m, nn.Linear)]
    for name, linear in (("dense_0", linears[0]), ("dense_1", linears[1]), ("out", net.out)):
        params[name] = {"kernel": array(linear.weight.T), "bias": array(linear.bias)}
    for k in range(3):
        lstm = {n: getattr(net.lstm, f"{n}_l{k}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        params[f"lstm_{k}"] = {
            "kernel_input": array(lstm["weight_ih"].T),
            "kernel_state": array(lstm["weight_hh"].T),
            "bias_input": array(lstm["bias_ih"]),
            "bias_state": array(lstm["bias_hh"]),
        }
    return {"params": params, "batch_stats": stats}


def torch_step(net: TorchNet, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    """One training step with the reference's losses (§3.3)."""
    optimizer.zero_grad()
    out = net(x)
    exp, pose = out[..., :64], out[..., 64:]
    loss = nn.functional.mse_loss(exp, y[..., :64]) + 0.2 * nn.functional.mse_loss(pose, y[..., 64:])
    loss = loss + 0.01 * (pose[:, 1:] - pose[:, :-1]).pow(2).sum((1, 2)).mean()
    loss = loss + 1e-4 * (exp[:, 1:] - exp[:, :-1]).pow(2).sum((1, 2)).mean()
    loss.backward()
    optimizer.step()
    return float(loss)


def minima(cases: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Shortest time of each, ms, taken in turns after two calls to warm up."""
    best = dict.fromkeys(cases, float("inf"))
    for call in cases.values():
        call()
        call()
    for _ in range(repeats):
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def forward_cases(t: int, nets: dict[str, TorchNet]) -> dict[str, Callable[[], Any]]:
    x = np.random.default_rng(t).normal(size=(1, t, 28, 12)).astype(np.float32)
    variables = copied(nets["torch"])
    apply = jax.jit(PaperMappingNet().apply)
    windows = jnp.asarray(x)

    def run(net: TorchNet) -> Any:
        with torch.no_grad():
            return net(torch.from_numpy(x))

    ours = np.asarray(apply(variables, windows))
    for name, net in nets.items():
        difference = np.abs(run(net).numpy() - ours).max()
        assert difference < 1e-3, f"{name} computes something else: {difference}"
    cases: dict[str, Callable[[], Any]] = {"talkjax": lambda: apply(variables, windows).block_until_ready()}
    return cases | {name: (lambda net=net: run(net)) for name, net in nets.items()}


def train_cases() -> dict[str, Callable[[], Any]]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1, 16, 28, 12)), rng.normal(size=(1, 16, N_OUT))
    x, y = x.astype(np.float32), y.astype(np.float32)
    zeros = np.zeros(64, np.float32)
    targets = Targets(
        np.zeros(70, np.float32), np.ones(70, np.float32), np.zeros((64, 3), np.float32), zeros,
        *(np.float32(0),) * 2, zeros, *(np.float32(0),) * 2,
    )  # fmt: skip
    task = MappingTask(targets)
    step = jax.jit(task.train_step, donate_argnums=0)
    holder = {"state": task.init()}
    batch = MappingBatch(jnp.asarray(x), jnp.asarray(y))

    def ours() -> None:
        holder["state"], metrics = step(holder["state"], batch)
        float(metrics["loss"])

    cases: dict[str, Callable[[], Any]] = {"talkjax": ours}
    for name, folded in (("torch", False), ("torch folded", True)):
        net = TorchNet(folded).train()
        optimizer = torch.optim.Adam(net.parameters(), 1e-4, betas=(0.5, 0.999))
        tensors = torch.from_numpy(x), torch.from_numpy(y)
        cases[name] = lambda net=net, optimizer=optimizer, t=tensors: torch_step(net, optimizer, *t)
    return cases


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    torch.manual_seed(0)
    nets = {"torch": TorchNet(False).eval(), "torch folded": TorchNet(True).eval()}
    nets["torch folded"].load_state_dict(nets["torch"].state_dict())
    count = sum(p.numel() for p in nets["torch"].parameters())
    assert count == 29_430_534, count
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"jax {jax.__version__}, {jax.devices()[0]}")
    table = {}
    makers = {
        "T16 forward": lambda: forward_cases(16, nets),
        "T125 forward": lambda: forward_cases(125, nets),
    }
    for name, make in (makers | {"T16 train, batch 1": train_cases}).items():
        best = minima(make(), REPEATS.value)
        ratios = {k: best[k] / best["talkjax"] for k in ("torch", "torch folded")}
        table[name] = {"ms": best, "ratio": ratios}
        cells = [f"{name:<20} talkjax {best['talkjax']:8.1f} ms"]
        cells += [f"{k} {best[k]:8.1f} ms ({ratios[k]:.2f} x)" for k in ratios]
        print("   ".join(cells), flush=True)
    if OUT.value:
        Path(OUT.value).write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    app.run(main)
