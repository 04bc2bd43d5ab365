"""The paper's memory-augmented GAN in PyTorch, written from the description in reference.md §5.

    python torch_refiner.py serve      # then a line `CASE BATCH` -> a line with the milliseconds of one run

Cases: `forward`, `backward` (L1 loss, all gradients), `gan step` (memory, discriminator, generator, three
Adams). Once per step the frozen ResNet-18 sees the picture; the authors' code runs it twice.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

SLOTS, WIDTH, SIZE = 30_000, 512, 256
DOWN = (64, 128, 256, 512, 512, 512, 512, 512)
UP = (512, 512, 512, 512, 256, 128, 64, 64)
MODULATED = (*DOWN[1:-1], *UP)


class Generator(nn.Module):
    """`unetac_adain_256`: U-Net, AdaIN of a 512-vector, color and attention heads."""

    def __init__(self) -> None:
        super().__init__()
        total = 2 * sum(MODULATED)
        hidden = (nn.Linear(512, total), nn.ReLU(True), nn.Linear(total, total), nn.ReLU(True))
        self.code = nn.Sequential(*hidden, nn.Linear(total, total))
        inputs = (9, *DOWN[:-1])
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in zip(inputs, DOWN, strict=True))
        inputs = (DOWN[-1], *(u + s for u, s in zip(UP[:-1], DOWN[-2::-1], strict=True)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(inputs, UP, strict=True))
        self.color, self.attention = nn.Conv2d(UP[-1], 3, 7, 1, 3), nn.Conv2d(UP[-1], 1, 7, 1, 3)

    def forward(self, window: torch.Tensor, identity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Picture and attention (1 keeps the composite)."""
        code, at = self.code(identity), 0

        def modulate(x: torch.Tensor) -> torch.Tensor:
            nonlocal at
            c = x.shape[1]
            shift, scale = (code[:, i : i + c, None, None] for i in (at, at + c))
            at += 2 * c
            return F.instance_norm(x) * scale + shift

        skips = [self.down[0](window)]
        for i, layer in enumerate(self.down[1:], 1):
            y = layer(F.leaky_relu(skips[-1], 0.2))
            skips.append(modulate(y) if i < len(DOWN) - 1 else y)
        y = skips.pop()
        for i, layer in enumerate(self.up):
            y = modulate(layer(F.relu(y)))
            if i < len(UP) - 1:
                y = F.dropout(y, 0.5, self.training) if i < 3 else y
                y = torch.cat([y, skips.pop()], 1)
        y = F.relu(y)
        keep = torch.sigmoid(self.attention(y))
        return keep * window[:, 6:] + (1 - keep) * torch.tanh(self.color(y)), keep


def discriminator() -> nn.Sequential:
    """Conditional 70x70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(12, 64, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for a, b, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
        layers += [nn.Conv2d(a, b, 4, stride, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 1))


class Block(nn.Module):
    """ResNet-18's basic block."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(a, b, 3, stride, 1, bias=False),
            nn.Conv2d(b, b, 3, 1, 1, bias=False),
        )
        self.norms = nn.ModuleList((nn.BatchNorm2d(b), nn.BatchNorm2d(b)))
        self.skip: nn.Module = nn.Identity()
        if a != b:
            self.skip = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norms[0](self.first(x)))
        return F.relu(self.norms[1](self.second(y)) + self.skip(x))


def resnet18() -> nn.Sequential:
    """Trunk up to the global pool; in use without gradients, in eval mode."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(True)]
    layers.append(nn.MaxPool2d(3, 2, 1))
    for a, b in ((64, 64), (64, 128), (128, 256), (256, 512)):
        layers += [Block(a, b, 1 if a == b else 2), Block(b, b, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval().requires_grad_(False)


class Memory(nn.Module):
    """Keys, values and ages; the query's linear layer is the only parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(512, WIDTH)
        self.register_buffer("keys", F.normalize(torch.rand(SLOTS, WIDTH) * 0.02 - 0.01, dim=1))
        self.register_buffer("values", F.normalize(torch.rand(SLOTS, 512), p=1, dim=1))
        self.register_buffer("age", torch.zeros(SLOTS))

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.query(feature), dim=1)

    def loss(self, q: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scores, index = (q @ self.keys.T).topk(256, dim=1)
        same = (
            torch.einsum("bkd,bd->bk", F.normalize(self.values[index], dim=2), F.normalize(value, dim=1))
            > 0.98
        )
        positive = (scores * same).amax(1)
        negative = (scores * ~same).amax(1)
        return F.relu(negative - positive + 0.3).mean()

    @torch.no_grad()
    def update(self, q: torch.Tensor, value: torch.Tensor) -> None:
        self.age += 1
        for row, wanted in zip(q, value, strict=True):
            best = int((self.keys @ row).argmax())
            if F.cosine_similarity(self.values[best], wanted, dim=0) > 0.98:
                slot = best
                self.keys[slot] = F.normalize(self.keys[slot] + row, dim=0)
            else:
                slot = int((self.age + torch.rand(SLOTS) * 8 - 4).argmax())
                self.keys[slot], self.values[slot] = row, wanted
            self.age[slot] = 0


def forward_case(batch: int) -> Callable[[], Any]:
    net, (window, identity, _) = Generator().eval(), pictures(batch)

    def run() -> Any:
        with torch.no_grad():
            return net(window, identity)

    return run


def backward_case(batch: int) -> Callable[[], Any]:
    net, (window, identity, target) = Generator().eval(), pictures(batch)

    def run() -> None:
        net.zero_grad()
        F.l1_loss(net(window, identity)[0], target).backward()

    return run


def step_case(batch: int) -> Callable[[], Any]:
    """One iteration in the order of §5.5."""
    g, d, trunk, memory = Generator().train(), discriminator().train(), resnet18(), Memory()
    adams = [torch.optim.Adam(net.parameters(), 1e-4, betas=(0.5, 0.999)) for net in (g, d, memory)]
    window, identity, target = pictures(batch)
    bce = F.binary_cross_entropy_with_logits

    def judged(picture: torch.Tensor, real: bool) -> torch.Tensor:
        logits = d(torch.cat([window, picture], 1))
        return bce(logits, torch.full_like(logits, float(real)))

    def update(adam: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()
        adam.step()

    def run() -> float:
        feature = trunk(window[:, 6:])
        update(adams[2], memory.loss(memory(feature), identity))
        memory.update(memory(feature), identity)
        fake, keep = g(window, identity)
        update(adams[1], 0.5 * (judged(fake.detach(), False) + judged(target, True)))
        variation = keep.diff(dim=2).abs().sum() + keep.diff(dim=3).abs().sum()
        loss = judged(fake, True) + 100 * F.l1_loss(fake, target) + 2 * keep.mean() + 1e-5 * variation
        d.requires_grad_(False)
        update(adams[0], loss)
        d.requires_grad_(True)
        return float(loss)

    return run


def pictures(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Window, identity vector, target."""
    draw = torch.Generator().manual_seed(0)
    window = torch.rand(batch, 9, SIZE, SIZE, generator=draw) * 2 - 1
    identity = F.normalize(torch.randn(batch, 512, generator=draw), dim=1)
    return window, identity, torch.rand(batch, 3, SIZE, SIZE, generator=draw) * 2 - 1


CASES = {"forward": forward_case, "backward": backward_case, "gan step": step_case}


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def serve() -> None:
    """Measures one run per line of standard input; a new case is built, and run twice, before it is timed."""
    with torch.device("meta"):
        print(torch.__version__, count(Generator()), count(discriminator()), flush=True)
    ready, run = "", None
    for line in sys.stdin:
        if line != ready:
            run = None
            gc.collect()
            name, _, batch = line.strip().rpartition(" ")
            run, ready = CASES[name](int(batch)), line
            run()
            run()
        assert run is not None
        start = time.perf_counter()
        run()
        print(1000 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] != ["serve"]:
        sys.exit(__doc__)
    serve()
