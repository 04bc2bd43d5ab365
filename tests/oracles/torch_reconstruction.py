"""R-Net in PyTorch, written from reference.md §2.5: oracle of the importers, peer of the benchmark.

A script for any Python that has torch (not a dependency of this project; 2.13 made the golden):

    PYTHON tests/oracles/torch_reconstruction.py golden OUT_DIR   # small weights, images, outputs
    PYTHON tests/oracles/torch_reconstruction.py serve            # times forwards, on request

`golden` writes `rnet_small.pth` in the layout of the PyTorch port and `rnet_small.npz`: images and outputs in
that layout, and outputs of the same tensors in TF-slim's layout for images given as BGR in 0-255.
`serve` reads lines "variant batch" from standard input and answers each with milliseconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

HEAD_SIZES = (80, 64, 80, 3, 27, 2, 1)


def conv(ci: int, co: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(ci, co, size, stride, size // 2, bias=False)


class Bottleneck(nn.Module):
    def __init__(self, ci: int, inner: int, stride: int, first: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(ci, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, 4 * inner, 1), nn.BatchNorm2d(4 * inner)
        self.stride = stride
        if first:
            self.downsample = nn.Sequential(conv(ci, 4 * inner, 1, stride), nn.BatchNorm2d(4 * inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = self.downsample if hasattr(self, "downsample") else nn.MaxPool2d(1, self.stride)
        return torch.relu(y + shortcut(x))


class Backbone(nn.Module):
    def __init__(self, width: int, blocks: tuple[int, ...], stride_last: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(3, width, 7, 2), nn.BatchNorm2d(width)
        # TensorFlow's SAME: pads below and right only, where sizes are even
        pad = nn.ConstantPad2d((0, 1, 0, 1), float("-inf"))
        self.pool = nn.Sequential(pad, nn.MaxPool2d(3, 2)) if stride_last else nn.MaxPool2d(3, 2, 1)
        channels = width
        for stage, count in enumerate(blocks):
            inner, units = width * 2**stage, []
            for unit in range(count):
                if stride_last:
                    stride = 2 if stage < len(blocks) - 1 and unit == count - 1 else 1
                else:
                    stride = 2 if stage > 0 and unit == 0 else 1
                units.append(Bottleneck(channels, inner, stride, unit == 0))
                channels = 4 * inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*units))
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3), keepdim=True)


class ReconNet(nn.Module):
    """`[b 3 h w]` -> `[b 257]`: id, exp, tex, angles, gamma, t_xy, t_z."""

    def __init__(
        self,
        width: int = 64,
        blocks: tuple[int, ...] = (3, 4, 6, 3),
        heads: tuple[int, ...] = HEAD_SIZES,
        stride_last: bool = False,
    ):
        super().__init__()
        self.backbone = Backbone(width, blocks, stride_last)
        self.final_layers = nn.ModuleList(nn.Conv2d(self.backbone.channels, n, 1) for n in heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.backbone(x)
        return torch.cat([layer(x) for layer in self.final_layers], 1).flatten(1)


def write_golden(folder: Path) -> None:
    torch.manual_seed(0)
    shape = {"width": 3, "blocks": (1, 2, 2, 1), "heads": (6, 5, 4, 3, 27, 2, 1)}
    net = ReconNet(**shape)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.5, 1.5), (module.running_var, 0.5, 1.5)):
                nn.init.uniform_(tensor, low, high)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
    net.eval()
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    image = pixels / 255
    # as the port saves: the network, an optimizer that has made a step, a schedule
    optimizer = torch.optim.Adam(net.final_layers[6].parameters())
    net(image).square().sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    content = {
        "net_recon": net.state_dict(),
        "opt_00": optimizer.state_dict(),
        "sched_00": schedule.state_dict(),
    }
    torch.save(content, folder / "rnet_small.pth")
    other = ReconNet(**shape, stride_last=True)
    other.load_state_dict(net.state_dict())
    other.eval()
    with torch.no_grad():
        np.savez(
            folder / "rnet_small.npz",
            pixels=pixels.permute(0, 2, 3, 1).numpy(),
            torch_output=net(image).numpy(),
            # weights as they are see values of 0-255: the first convolution's scale is left to batch norm
            tf_output=other(255.0 * image.flip(1)).numpy(),
            torch_version=np.array(torch.__version__),
        )


def serve() -> None:
    torch.set_num_threads(2)
    net = ReconNet().eval()
    nets = {
        "eager": net,
        "channels last": ReconNet().eval().to(memory_format=torch.channels_last),
    }
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        nets["frozen"] = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(net, image)))
        for line in sys.stdin:
            variant, _, batch = line.strip().rpartition(" ")
            image = torch.rand(int(batch), 3, 224, 224)
            if variant == "channels last":
                image = image.contiguous(memory_format=torch.channels_last)
            start = time.perf_counter()
            nets[variant](image)
            print(1000 * (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "golden":
        write_golden(Path(sys.argv[2]))
    else:
        serve()
