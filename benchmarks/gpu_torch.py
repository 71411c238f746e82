"""The PyTorch side of gpu.py: a process that takes training steps whenever its standard input says so.

    python benchmarks/gpu_torch.py NETWORK ROWS [--dry-run]

bf16 autocast, channels_last, torch.compile, fused AdamW; the pixels are uint8 on the device, as ours are.
"""

import json
import os
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
os.environ["JAX_PLATFORMS"] = "cpu"  # JAX draws a mask here and leaves the GPU alone

try:
    import torch
except ImportError:
    sys.exit("no PyTorch here: pip install 'aufer-jax[bench]'")
from torch.nn import functional as F
from torch_models import NETWORKS

from aufer_jax import models
from aufer_jax.models.mae_dfer_pretrain import part_window_mask

CLASSES = 7
VIEWS = ("resnet18", "resnet_small")  # MV-FER's: three pictures a row


def patches(x, net):
    """The pixels of each token, normalised, as pre-training predicts them: [B, N, patch]."""
    (t, h, w), side = net.encoder.grid, x.shape[-1] // net.encoder.grid[-1]
    x = x.unflatten(2, (t, 2)).unflatten(4, (h, side)).unflatten(6, (w, side))
    x = x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(1, 3).flatten(2, 4)  # [B, N, pixels, 3]
    x = (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True).sqrt() + 1e-6)
    return x.flatten(2)


def losses(net, name, rows, device):
    """The function to compile, of the pixels, and the pixels."""
    entry = models.architecture(name)
    size, clip = entry.preprocess, entry.input == "clip"
    views = 3 * rows if name in VIEWS else rows
    shape = (views, 3, *((size.frames,) if clip else ()), size.size, size.size)
    layout = torch.channels_last_3d if clip else torch.channels_last
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    pixels = pixels.contiguous(memory_format=layout)
    label = torch.randint(0, CLASSES, (views,), device=device)
    au = torch.randint(0, 2, (views, 64), device=device).float()
    visible = masked = None
    if "pretrain" in name:
        import jax

        made, grid = models.create(name), net.encoder.grid
        drawn = part_window_mask(jax.random.key(0), rows, grid, made.mask_ratio, made.region[1:])
        visible = torch.tensor(jax.device_get(drawn).tolist(), device=device)
        hidden = torch.ones(rows, len(net.table), dtype=torch.bool, device=device)
        masked = hidden.scatter_(1, visible, False).nonzero()[:, 1].view(rows, -1)
        row = torch.arange(rows, device=device)[:, None]

    def loss(pixels):
        x = (pixels.float() / 255 - 0.5) / 0.25
        if visible is not None:
            target = patches(x, net)[row, masked].flatten(1)
            return F.mse_loss(net(x, visible, masked).float(), target)
        out = net(x).float()
        total = F.cross_entropy(out[:, :CLASSES], label)
        count = out.shape[1] - CLASSES
        if count:
            total = total + F.binary_cross_entropy_with_logits(out[:, CLASSES:], au[:, :count])
        return total

    return loss, pixels


def main(name, rows, dry=""):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    net = NETWORKS[name](dict(models.architecture(name).options)).to(device).train()
    if models.architecture(name).input != "clip":
        net = net.to(memory_format=torch.channels_last)
    elif name.startswith("m3dfel"):
        net = net.to(memory_format=torch.channels_last_3d)
    loss, pixels = losses(net, name, int(rows), device)
    compiled = torch.compile(loss, backend="eager" if dry else "inductor")
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.05, fused=True)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            value = compiled(pixels)
        value.backward()
        optimizer.step()
        return value

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    wait()
    began = time.perf_counter()
    value = step()
    wait()
    first = time.perf_counter() - began
    assert torch.isfinite(value)
    count = sum(parameter.numel() for parameter in net.parameters())
    said = {"first": first, "parameters": count, "version": f"PyTorch {torch.__version__}"}
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        wait()
        seconds = time.perf_counter() - began
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        memory = torch.cuda.max_memory_allocated() if device == "cuda" else own
        print(json.dumps({"seconds": seconds, "memory": memory}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
