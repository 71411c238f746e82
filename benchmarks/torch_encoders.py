"""CLIP, DINOv2, DINOv3, VideoMAE and V-JEPA 2 in PyTorch, for benchmarks only: under Hugging Face's keys.

One network with the switches of the five, its modules under the names that a family has for them.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch_mae import sinusoids

ATTENTION = ("query", "key", "value", "proj")


def names(block, attention, embed, norm="norm", **others):
    """Where a family keeps its modules: those of block i under `block`.i."""
    return {"block": block, **dict(zip(ATTENTION, attention, strict=True)), "embed": embed} | {
        "norm": norm,
        "norm1": "norm1",
        "norm2": "norm2",
        "fc1": "mlp.fc1",
        "fc2": "mlp.fc2",
        "class_token": "embeddings.cls_token",
        "registers": "embeddings.register_tokens",
        **others,
    }


def four(prefix, *parts):
    return [f"{prefix}.{part}" for part in parts]


BERT = [*four("attention.attention", "query", "key", "value"), "attention.output.dense"]
NAMES = {
    "clip": names(
        "encoder.layers",
        four("self_attn", "q_proj", "k_proj", "v_proj", "out_proj"),
        "embeddings.patch_embedding",
        "post_layernorm",
        pre_norm="pre_layrnorm",
        norm1="layer_norm1",
        norm2="layer_norm2",
        class_token="embeddings.class_embedding",
        positions="embeddings.position_embedding.weight",
    ),
    "dinov2": names(
        "encoder.layer",
        BERT,
        "embeddings.patch_embeddings.projection",
        "layernorm",
        positions="embeddings.position_embeddings",
    ),
    "dinov3": names(
        "layer",
        four("attention", "q_proj", "k_proj", "v_proj", "o_proj"),
        "embeddings.patch_embeddings",
        fc1="mlp.up_proj",
        fc2="mlp.down_proj",
    ),
    "videomae": names(
        "encoder.layer",
        BERT,
        "embeddings.patch_embeddings.projection",
        "layernorm",
        norm1="layernorm_before",
        norm2="layernorm_after",
        fc1="intermediate.dense",
        fc2="output.dense",
        bias="attention.attention.{}_bias",  # beside the matrices, not in them
    ),
    "vjepa2": names(
        "encoder.layer",
        four("attention", "query", "key", "value", "proj"),
        "encoder.embeddings.patch_embeddings.proj",
        "encoder.layernorm",
    ),
}


def put(root, path, what):
    """Registers a module or parameter under a dotted name, in containers made on the way."""
    *containers, last = path.split(".")
    for name in containers:
        if not hasattr(root, name):
            root.add_module(name, nn.Module())
        root = getattr(root, name)
    setattr(root, last, what)
    return what


def image_rotation(side, extra, width):
    """Cosines and sines [2, N, D] of where a patch is; the `extra` tokens before them have none."""
    rates = 100.0 ** -torch.arange(0, 1, 4 / width, dtype=torch.float64)
    at = 2 * (torch.arange(side, dtype=torch.float64) + 0.5) / side - 1
    places = torch.cartesian_prod(at, at)
    angles = (2 * torch.pi * places[:, :, None] * rates).flatten(1).repeat(1, 2)
    return rotation_of(F.pad(angles, (0, 0, extra, 0)))


def video_rotation(times, side, width):
    """The same for tubelets: a third of the channels for each axis, the rest without."""
    third = width // 3 // 2 * 2
    rates = 10000.0 ** -(torch.arange(third // 2, dtype=torch.float64) / (third // 2))
    axes = (torch.arange(n, dtype=torch.float64) for n in (times, side, side))
    places = torch.cartesian_prod(*axes)
    angles = torch.cat([(at[:, None] * rates).repeat(1, 2) for at in places.T], 1)
    return rotation_of(F.pad(angles, (0, width - angles.shape[1])))


def rotation_of(angles):
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotated(x, rotation, halves):
    if halves:
        first, second = x.chunk(2, -1)
        turned = torch.cat([-second, first], -1)
    else:
        turned = torch.stack([-x[..., 1::2], x[..., 0::2]], -1).flatten(-2)
    return x * rotation[0] + turned * rotation[1]


class Block(nn.Module):
    def __init__(self, name, o):
        super().__init__()
        dim, self.o = o["dim"], o
        self.parts, self.bias = {}, {}  # what is registered under the family's names
        for part in ATTENTION:
            beside = part != "proj" and name.get("bias")
            has = part == "proj" or part[0] in o["biases"]
            linear = put(self, name[part], nn.Linear(dim, dim, has and not beside))
            self.parts[part], self.bias[part] = linear, linear.bias
            if has and beside:
                path = name["bias"].format(part[0])
                self.bias[part] = put(self, path, nn.Parameter(torch.zeros(dim)))
        for part, module in (
            ("norm1", nn.LayerNorm(dim, o["epsilon"])),
            ("norm2", nn.LayerNorm(dim, o["epsilon"])),
            ("fc1", nn.Linear(dim, o["hidden"])),
            ("fc2", nn.Linear(o["hidden"], dim)),
        ):
            self.parts[part] = put(self, name[part], module)
        self.scales = {}
        if o["layer_scale"]:
            for part in ("layer_scale1", "layer_scale2"):
                self.scales[part] = put(self, f"{part}.lambda1", nn.Parameter(torch.ones(dim)))

    def attended(self, x, rotation):
        q, k, v = (
            F.linear(x, self.parts[part].weight, self.bias[part])
            .unflatten(-1, (self.o["heads"], -1))
            .transpose(1, 2)
            for part in ATTENTION[:3]
        )
        if rotation is not None:
            halves = not self.o["tubelet"]
            q, k = rotated(q, rotation, halves), rotated(k, rotation, halves)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.parts["proj"](y.transpose(1, 2).flatten(2))

    def fed_forward(self, x):
        y = self.parts["fc1"](x)
        y = y * torch.sigmoid(1.702 * y) if self.o["mlp"] == "quick_gelu" else F.gelu(y)
        return self.parts["fc2"](y)

    def scaled(self, x, part):
        return x * self.scales[part] if part in self.scales else x

    def forward(self, x, rotation):
        y = self.attended(self.parts["norm1"](x), rotation)
        x = x + self.scaled(y, "layer_scale1")
        return x + self.scaled(self.fed_forward(self.parts["norm2"](x)), "layer_scale2")


BASE = {
    "patch": 16,
    "tubelet": None,
    "dim": 768,
    "depth": 12,
    "heads": 12,
    "hidden": 3072,
    "class_token": True,
    "registers": 0,
    "positions": "learned",
    "flat_embeddings": False,
    "patch_bias": True,
    "pre_norm": False,
    "biases": "qkv",
    "layer_scale": False,
    "mlp": "gelu",
    "epsilon": 1e-6,
    "pool": "token",
}


class PretrainedViT(nn.Module):
    def __init__(self, family, size=224, frames=16, **options):
        super().__init__()
        self.o, name = BASE | options, NAMES[family]
        o, dim, side = self.o, self.o["dim"], size // self.o["patch"]
        conv, window = nn.Conv2d, (o["patch"],) * 2
        if o["tubelet"]:
            conv, window = nn.Conv3d, (o["tubelet"], *window)
        self.parts = {"embed": conv(3, dim, window, window, bias=o["patch_bias"])}
        self.parts["norm"] = nn.LayerNorm(dim, o["epsilon"])
        own, places = (
            int(o["class_token"]),
            side**2 * (frames // o["tubelet"] if o["tubelet"] else 1),
        )
        if own:
            shape = (dim,) if o["flat_embeddings"] else (1, 1, dim)
            self.parts["class_token"] = nn.Parameter(torch.zeros(shape))
        if o["registers"]:
            self.parts["registers"] = nn.Parameter(torch.zeros(1, o["registers"], dim))
        if o["positions"] == "learned":
            shape = (own + places, dim) if o["flat_embeddings"] else (1, own + places, dim)
            self.parts["positions"] = nn.Parameter(torch.zeros(shape))
        if o["pre_norm"]:
            self.parts["pre_norm"] = nn.LayerNorm(dim, o["epsilon"])
        for part, what in self.parts.items():
            put(self, name[part], what)
        self.blocks = [put(self, f"{name['block']}.{i}", Block(name, o)) for i in range(o["depth"])]
        self.classifier = nn.Linear(dim, 7)
        table = sinusoids(places, dim) if o["positions"] == "sinusoids" else None
        self.register_buffer("table", table, persistent=False)
        rotation, width = None, dim // o["heads"]
        if o["positions"] == "rope" and o["tubelet"]:
            rotation = video_rotation(frames // o["tubelet"], side, width)
        elif o["positions"] == "rope":
            rotation = image_rotation(side, own + o["registers"], width)
        self.register_buffer("rotation", rotation, persistent=False)

    def embedded(self, x):
        o, p = self.o, self.parts
        x = x if o["tubelet"] else x.transpose(1, 2).flatten(0, 1)
        x = p["embed"](x).flatten(2).transpose(1, 2)
        before = [p[part] for part in ("class_token", "registers") if part in p]
        before = [token.view(1, -1, o["dim"]).expand(len(x), -1, -1) for token in before]
        if o["positions"] == "learned":
            position = p["positions"].view(1, -1, o["dim"])
            own = int(o["class_token"])
            x = x + position[:, own:]
            before[:own] = [token + position[:, :own] for token in before[:own]]
        elif self.table is not None:
            x = x + self.table
        x = torch.cat([*before, x], 1) if before else x
        return p["pre_norm"](x) if o["pre_norm"] else x

    def forward(self, x):
        batch, x = len(x), self.embedded(x)
        for block in self.blocks:
            x = block(x, self.rotation)
        o = self.o
        if o["pool"] == "token":
            x = self.parts["norm"](x[:, 0])
        else:
            x = self.parts["norm"](x)[:, int(o["class_token"]) + o["registers"] :]
        return self.classifier(x.reshape(batch, -1, o["dim"]).mean(1))


def _row(family, **size):
    return lambda o: PretrainedViT(family, **size, **o)


NETWORKS = {
    **{family: _row(family) for family in ("clip", "dinov2", "dinov3", "videomae")},
    "vjepa2": _row("vjepa2", size=256),
}
