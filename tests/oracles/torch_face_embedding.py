"""ArcFace's IResNet in PyTorch, in InsightFace's layout: oracle of the importers.

A script for a Python with torch and onnx (no dependencies of this project; 2.13 and 1.23 made the golden):

    PYTHON tests/oracles/torch_face_embedding.py golden tests/goldens/face_embedding
    PYTHON tests/oracles/torch_face_embedding.py full OUT_DIR    # IResNet-50 at full size, 350 MB

Writes small weights as `iresnet.pth`, the exported graph with norms folded, as exporters do, as
`iresnet.onnx`, and pictures with the answer.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Unit(nn.Module):
    def __init__(self, ci: int, co: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(ci, eps=1e-5)
        self.conv1, self.bn2 = nn.Conv2d(ci, co, 3, 1, 1, bias=False), nn.BatchNorm2d(co, eps=1e-5)
        self.prelu = nn.PReLU(co)
        self.conv2, self.bn3 = nn.Conv2d(co, co, 3, stride, 1, bias=False), nn.BatchNorm2d(co, eps=1e-5)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(ci, co, 1, stride, bias=False), nn.BatchNorm2d(co))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """Takes RGB as (pixel - 127.5) / 127.5."""

    def __init__(self, width: int, units: tuple[int, ...], side: int, features: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        ci = width
        for k, count in enumerate(units):
            co = width * 2**k
            stage = [Unit(ci if j == 0 else co, co, 2 if j == 0 else 1) for j in range(count)]
            setattr(self, f"layer{k + 1}", nn.Sequential(*stage))
            ci = co
        self.bn2, self.dropout = nn.BatchNorm2d(ci), nn.Dropout(0.4)
        self.fc = nn.Linear(ci * (side // 16) ** 2, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.prelu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        x = self.dropout(torch.flatten(self.bn2(x), 1))
        return self.features(self.fc(x))


def main(folder: Path, width: int, units: tuple[int, ...], side: int, features: int) -> None:
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    net = IResNet(width, units, side, features).eval()
    print(sum(p.numel() for p in net.parameters()), "parameters")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
        elif isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.0, 0.5)
    pixels = torch.randint(256, (2, 3, side, side), dtype=torch.uint8)
    image = pixels / 127.5 - 1
    torch.save(net.state_dict(), folder / "iresnet.pth")
    torch.onnx.export(net, (image,), folder / "iresnet.onnx", dynamo=False, input_names=["picture"])
    with torch.no_grad():
        np.savez(
            folder / "iresnet.npz",
            pixels=pixels.permute(0, 2, 3, 1).numpy(),
            output=net(image).numpy(),
            torch_version=np.array(torch.__version__),
        )


if __name__ == "__main__":
    if sys.argv[1] == "golden":
        main(Path(sys.argv[2]), 3, (1, 2, 1, 1), 32, 8)
    else:
        main(Path(sys.argv[2]), 64, (3, 4, 14, 3), 112, 512)
