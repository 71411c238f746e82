"""The PyTorch side of models.py: a process that times one network whenever its standard input says so.

    python benchmarks/torch_models.py NAME WEIGHTS.npz

The file holds the input `x` [B, C, ...], with a mask `visible` for pre-training, the registered
`options` as JSON and the parameters; the first line printed is the output.
"""

import json
import os
import sys
import time

import numpy as np
import torch
import torch_images
import torch_transformers
import torch_video

NETWORKS = torch_images.NETWORKS | torch_video.NETWORKS | torch_transformers.NETWORKS


def load(net, arrays):
    own = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    if own.keys() != arrays.keys():
        raise KeyError(f"keys differ: {sorted(own.keys() ^ arrays.keys())}")
    net.load_state_dict({key: torch.from_numpy(arrays[key]) for key in own}, strict=False)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(name, path):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    x = [torch.from_numpy(arrays.pop(key)) for key in ("x", "visible") if key in arrays]
    net = NETWORKS[name](json.loads(str(arrays.pop("options"))))
    load(net, arrays)

    def forward():
        with torch.no_grad():
            return net.eval()(*x)

    def backward():
        net.zero_grad(set_to_none=True)
        net.train()(*x).square().mean().backward()

    print(json.dumps({"version": torch.__version__, "output": forward().tolist()}), flush=True)
    backward()
    for _ in sys.stdin:
        print(json.dumps({"forward": seconds(forward), "backward": seconds(backward)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
