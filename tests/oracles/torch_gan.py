"""The reference's GAN in PyTorch, written from reference.md §5: oracle of the importer.

A script for any Python that has torch (not a dependency of this project; 2.13 made the golden):

    PYTHON tests/oracles/torch_gan.py golden tests/goldens/gan   # small weights, inputs, outputs
    PYTHON tests/oracles/torch_gan.py full OUT_DIR               # the same at full size, 1.1 GB

Weights are written as the released ones are: `3_net_G.pth` and `3_net_D.pth` in the form of PyTorch before
1.6 with the names of a wrapped network (`module.`), `3_net_mem.pth` with the trunk, the query and the bank.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn


class AdainLayer(nn.Module):
    """Instance norm, then the scale and shift that it was given."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.shift = self.scale = torch.zeros(0)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.instance_norm(x, eps=1e-5)
        return x * self.scale[:, :, None, None] + self.shift[:, :, None, None]


class Level(nn.Module):
    """Activation, convolution, AdaIN, dropout; each where the level has it."""

    def __init__(self, act: nn.Module | None, conv: nn.Module, channels: int, dropout: bool = False):
        super().__init__()
        self.act = act
        self.conv = conv
        self.norm = AdainLayer(channels) if channels else None
        self.drop = nn.Dropout(0.5) if dropout else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in (self.act, self.conv, self.norm, self.drop):
            x = x if part is None else part(x)
        return x


class Generator(nn.Module):
    def __init__(self, width: int = 64, levels: int = 8, identity: int = 512):
        super().__init__()
        down = [min(2**k, 8) * width for k in range(levels)]
        up = [*down[-2::-1], width]
        self.levels = levels
        channels = 9
        for k, features in enumerate(down):
            act = nn.LeakyReLU(0.2, inplace=True) if k else None
            norm = features if 0 < k < levels - 1 else 0
            setattr(self, f"e{k + 1}", Level(act, nn.Conv2d(channels, features, 4, 2, 1), norm))
            channels = features
        for k, features in enumerate(up):
            conv = nn.ConvTranspose2d(channels, features, 4, 2, 1)
            setattr(self, f"d{k + 1}", Level(nn.ReLU(), conv, features, dropout=k < 3))
            channels = features + (down[levels - 2 - k] if k < levels - 1 else 0)
        self.color = nn.Sequential(nn.ReLU(), nn.Conv2d(width, 3, 7, 1, 3), nn.Tanh())
        self.attention = nn.Sequential(nn.ReLU(), nn.Conv2d(width, 1, 7, 1, 3), nn.Sigmoid())
        total = 2 * sum(m.channels for m in self.adain_layers())
        self.mlp = nn.Sequential(
            nn.Linear(identity, total), nn.ReLU(), nn.Linear(total, total), nn.ReLU(), nn.Linear(total, total)
        )

    def adain_layers(self) -> list[AdainLayer]:
        return [m for m in self.modules() if isinstance(m, AdainLayer)]

    def forward(self, x: torch.Tensor, identity: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        code, start = self.mlp(identity), 0
        for layer in self.adain_layers():
            layer.shift = code[:, start : start + layer.channels]
            layer.scale = code[:, start + layer.channels : start + 2 * layer.channels]
            start += 2 * layer.channels
        skips = []
        for k in range(self.levels):
            x = getattr(self, f"e{k + 1}")(x)
            skips.append(x)
        skips.pop()
        for k in range(self.levels):
            x = getattr(self, f"d{k + 1}")(x)
            if skips:
                x = torch.cat([x, skips.pop()], 1)
        return self.color(x), self.attention(x)


class Discriminator(nn.Module):
    def __init__(self, width: int = 64):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(12, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for k in (1, 2, 3):
            ci, co = width * min(2 ** (k - 1), 8), width * min(2**k, 8)
            conv = nn.Conv2d(ci, co, 4, 2 if k < 3 else 1, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(co), nn.LeakyReLU(0.2, True)]
        layers.append(nn.Conv2d(8 * width, 1, 4, 1, 1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class Block(nn.Module):
    def __init__(self, ci: int, co: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(ci, co, 3, stride, 1, bias=False), nn.BatchNorm2d(co)
        self.relu = nn.ReLU()
        self.conv2, self.bn2 = nn.Conv2d(co, co, 3, 1, 1, bias=False), nn.BatchNorm2d(co)
        self.downsample = None
        if ci != co:
            self.downsample = nn.Sequential(nn.Conv2d(ci, co, 1, stride, bias=False), nn.BatchNorm2d(co))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """torchvision's layout."""

    def __init__(self, width: int = 64, classes: int = 1000):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        ci = width
        for k in range(4):
            co = width * 2**k
            blocks = (Block(ci, co, 2 if k else 1), Block(co, co, 1))
            setattr(self, f"layer{k + 1}", nn.Sequential(*blocks))
            ci = co
        self.fc = nn.Linear(ci, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3))


class Memory(nn.Module):
    def __init__(self, width: int = 64, keys: int = 512, classes: int = 1000):
        super().__init__()
        self.resnet = ResNet18(width, classes)
        self.linear = nn.Linear(8 * width, keys)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Unit query of RGB in [0, 1]."""
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = (picture - mean[:, None, None]) / std[:, None, None]
        return nn.functional.normalize(self.linear(self.resnet.features(x)), dim=1)


def unsettle(net: nn.Module, spread: float) -> None:
    """Weights of an order at which every layer counts, statistics of norms away from 0 and 1."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=spread / module.weight[0].numel() ** 0.5)
            nn.init.normal_(module.bias, std=0.2) if module.bias is not None else None


def wrapped(net: nn.Module) -> dict[str, torch.Tensor]:
    return {f"module.{name}": value for name, value in net.state_dict().items()}


def write(folder: Path, sizes: dict[str, int], side: int) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    identity, keys, slots, width = (sizes[k] for k in ("identity", "keys", "slots", "width"))
    generator = Generator(sizes["generator"], side.bit_length() - 1, identity)
    judge = Discriminator(width)
    memory = Memory(width, keys, sizes["classes"])
    for net in (generator, judge, memory):
        unsettle(net, 1.4)
    generator.eval()
    memory.eval()
    bank = {
        "mem_key": nn.functional.normalize(torch.randn(slots, keys), dim=1),
        "mem_value": torch.rand(slots, identity),
        "mem_age": torch.arange(slots).float(),
        "mem_index": torch.arange(slots) - 1,
    }
    old = {"_use_new_zipfile_serialization": False}
    torch.save(wrapped(generator), folder / "3_net_G.pth", **old)
    torch.save(wrapped(judge), folder / "3_net_D.pth", **old)
    torch.save({"mem_model": memory.state_dict(), **bank}, folder / "3_net_mem.pth")
    window = torch.randint(256, (2, 9, side, side), dtype=torch.uint8)
    signed, code = window / 127.5 - 1, nn.functional.normalize(torch.randn(2, identity), dim=1)
    with torch.no_grad():
        color, attention = generator(signed, code)
        fake = attention * signed[:, 6:] + (1 - attention) * color
        query = memory(window[:, 6:] / 255)
        np.savez(
            folder / "gan_outputs.npz",
            window=window.permute(0, 2, 3, 1).numpy(),
            identity=code.numpy(),
            color=color.permute(0, 2, 3, 1).numpy(),
            attention=attention.permute(0, 2, 3, 1).numpy(),
            # the judge is only used in training, with the statistics of the batch
            logits=judge.train()(torch.cat([signed, fake], 1)).permute(0, 2, 3, 1).numpy(),
            feature=memory.resnet.features((window[:, 6:] / 255 - _MEAN) / _STD).numpy(),
            query=query.numpy(),
            read=bank["mem_value"][(query @ bank["mem_key"].T).argmax(1)].numpy(),
            torch_version=np.array(torch.__version__),
        )
    for name, net in (("generator", generator), ("discriminator", judge), ("memory network", memory)):
        print(name, sum(p.numel() for p in net.parameters()), "parameters")


_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]

if __name__ == "__main__":
    if sys.argv[1] == "golden":
        small = {"generator": 1, "width": 2, "identity": 8, "keys": 6, "slots": 5, "classes": 3}
        write(Path(sys.argv[2]), small, 32)
    else:
        large = {"generator": 64, "width": 64, "identity": 512, "keys": 512, "slots": 30_000, "classes": 1000}
        write(Path(sys.argv[2]), large, 256)
