"""The PyTorch side of models.py: a process that times one network whenever its standard input says so.

    python benchmarks/torch_models.py NAME WEIGHTS.npz INPUTS.npz OUTPUT.npy

The weights' file holds the registered `options` as JSON and the parameters, that of inputs `x` [B, C, ...]
and what else the network reads.
"""

import json
import os
import sys

import numpy as np
import torch
import torch_encoders
import torch_hosts
import torch_images
import torch_mae
import torch_transformers
import torch_video
import turns

NETWORKS = (
    torch_images.NETWORKS
    | torch_video.NETWORKS
    | torch_transformers.NETWORKS
    | torch_mae.NETWORKS
    | torch_hosts.NETWORKS
    | torch_encoders.NETWORKS
)


def load(net, arrays):
    own = {key: value for key, value in net.state_dict().items() if "num_batches" not in key}
    if own.keys() != arrays.keys():
        raise KeyError(f"keys differ: {sorted(own.keys() ^ arrays.keys())}")
    net.load_state_dict({key: torch.from_numpy(arrays[key]) for key in own}, strict=False)


def read(path):
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def network(name, path):
    """The network with the file's weights, which are given up afterwards."""
    arrays = read(path)
    net = NETWORKS[name](json.loads(str(arrays.pop("options"))))
    load(net, arrays)
    return net


def main(name, weights, inputs, output):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = network(name, weights)
    given = [torch.from_numpy(value) for value in read(inputs).values()]

    def forward():
        with torch.no_grad():
            return net.eval()(*given)

    def backward():
        net.zero_grad(set_to_none=True)
        net.train()(*given).square().mean().backward()

    def prepared(call):
        def prepare(step):
            turns.return_large(step)
            return call, 0

        return prepare

    np.save(output, forward().numpy())
    print(json.dumps({"version": torch.__version__}), flush=True)
    turns.serve({"forward": prepared(forward), "backward": prepared(backward)})


if __name__ == "__main__":
    main(*sys.argv[1:])
