"""The transformers in PyTorch, for benchmarks only: under the published keys."""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F
from torch_images import BasicBlock, ir_trunk

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from aufer_jax import facs
from aufer_jax.geometry.mean_face import NEUTRAL

HEADS = {"AU": "AU_head", "AU_up": "upperAU_head", "AU_low": "lowerAU_head"}


def attend(q, k, v, heads, dropout=0.0):
    """[B, N, C] each -> [B, N, C]."""
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).flatten(2)


def drop_path(x, rate, training):
    """Stochastic depth on tokens [B, N, C]."""
    if not training or not rate:
        return x
    keep = 1 - rate
    return x * x.new_empty(len(x), 1, 1).bernoulli_(keep).div_(keep)


class Attention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0, head_dim=None, bias=True):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        width = heads * (head_dim or dim // heads)
        self.qkv, self.proj = nn.Linear(dim, 3 * width, bias), nn.Linear(width, dim)

    def forward(self, x):
        dropout = self.dropout if self.training else 0.0
        return self.proj(attend(*self.qkv(x).chunk(3, -1), self.heads, dropout))


class Mlp(nn.Module):
    def __init__(self, dim, hidden, out=None, gelu="none"):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, out or dim)
        self.gelu = gelu

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x), approximate=self.gelu))


class ConvFFN(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(hidden, dim, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, 1, 1, groups=hidden)
        self.bn1, self.bn2 = nn.BatchNorm2d(hidden), nn.BatchNorm2d(hidden)
        self.bn3 = nn.BatchNorm2d(dim)

    def forward(self, x):
        side = int(x.shape[1] ** 0.5)
        y = x.transpose(1, 2).unflatten(2, (side, side))
        y = F.gelu(self.bn2(self.dwconv(F.gelu(self.bn1(self.fc1(y))))))
        return self.bn3(self.fc2(y)).flatten(2).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, dim, heads, ratio=4, conv_ffn=False, dropout=0.0, rate=0.0):
        super().__init__()
        self.rate = rate
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn = Attention(dim, heads, dropout)
        self.mlp = (ConvFFN if conv_ffn else Mlp)(dim, int(dim * ratio))

    def forward(self, x):
        x = x + drop_path(self.attn(self.norm1(x)), self.rate, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), self.rate, self.training)


def add_au_heads(module, scheme, dim, shared_norm):
    module.regions, module.shared_norm = facs.regions(scheme), shared_norm
    for region in module.regions:
        if not shared_norm:
            module.add_module(f"norm_{region.key}", nn.LayerNorm(dim, 1e-6))
        name = HEADS.get(region.key, f"head_{region.key}")
        module.add_module(name, nn.Linear(dim, len(region.aus)))


def au_logits(module, x):
    """x [B, n, n, C] -> [B, 21]."""
    found = {au: [] for au in facs.AU_VIT_21}
    for region in module.regions:
        norm = module.norm if module.shared_norm else getattr(module, f"norm_{region.key}")
        head = getattr(module, HEADS.get(region.key, f"head_{region.key}"))
        logits = head(norm(x[:, slice(*region.rows), slice(*region.cols)].mean((1, 2))))
        for i, au in enumerate(region.aus):
            found[au].append(logits[:, i])
    return torch.stack([torch.stack(values).amax(0) for values in found.values()], -1)


class ViT(nn.Module):
    def __init__(self, patch=16, tokens=196, dim=768, depth=12, heads=12, dropout=0.0, **variant):
        super().__init__()
        self.patch_embed = nn.ModuleDict()
        if patch:
            self.patch_embed["proj"] = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + tokens, dim))
        self.split, self.au_token = variant.get("supervise_layer"), None
        blocks = [Block(dim, heads, dropout=dropout) for _ in range(depth)]
        if self.split:
            self.blocks_1 = nn.ModuleList(blocks[: self.split])
            self.blocks_2 = nn.ModuleList(blocks[self.split :])
            add_au_heads(self, variant["regions"], dim, shared_norm=False)
        else:
            self.blocks_1, self.blocks_2 = [], ()
            self.blocks = nn.ModuleList(blocks)
        if variant.get("au_token"):
            self.au_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.AU_head = nn.Linear(dim, 21)
        self.norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, 7)

    def forward(self, x):
        if self.patch_embed:
            x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        if self.au_token is not None:
            x = torch.cat([self.au_token.expand(len(x), -1, -1), x], 1)
        for block in self.blocks_1 if self.split else self.blocks:
            x = block(x)
        au = []
        if self.split:
            side = int((x.shape[1] - 1) ** 0.5)
            au = [au_logits(self, x[:, 1:].unflatten(1, (side, side)))]
        for block in self.blocks_2:
            x = block(x)
        x = self.norm(x)
        if self.au_token is not None:
            au = [self.AU_head(x[:, 1])]
        return torch.cat([self.head(x[:, 0]), *au], 1)


class IRTrunk(nn.Module):
    def __init__(self, *args, **stem):
        super().__init__()
        self.input_layer, self.body = ir_trunk(*args, **stem)

    def forward(self, x):
        return self.body(self.input_layer(x))


class CNNViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = IRTrunk((3, 4, 14), (64, 128, 256), (2, 2, 2))
        self.norm = nn.LayerNorm((196, 256))
        self.vit = ViT(patch=None, dim=256, depth=6, heads=16, dropout=0.3)

    def forward(self, x):
        return self.vit(self.norm(self.cnn(x).flatten(2).transpose(1, 2)))


def centred(points):
    """Points [..., 68, 2] around 0 and of size 1."""
    points = points - points.mean(-2, keepdim=True)
    return points / (points.square().mean((-2, -1), keepdim=True) + 1e-9).sqrt()


class Geometry(nn.Module):
    """Landmarks [B, 68, 2] and blendshapes [B, 52] -> [B, width]; what is not known counts as 0."""

    def __init__(self, width=96):
        super().__init__()
        self.linear1 = nn.Linear(2 * 68 + len(facs.BLENDSHAPES), width)
        self.linear2 = nn.Linear(width, width)
        neutral = centred(torch.tensor(NEUTRAL[:, :2].tolist()))
        self.register_buffer("neutral", neutral, persistent=False)

    def forward(self, landmarks, blendshapes):
        points = 10 * (centred(landmarks) - self.neutral).flatten(1)
        parts = [points, 4 * (blendshapes.sqrt() - 0.25)]
        hidden = 0.1 if self.training else 0.0  # share of rows
        shown = torch.rand(len(landmarks), 1, device=landmarks.device) >= hidden
        known = [part.isfinite().all(1, keepdim=True) & shown for part in parts]
        parts = [part.where(seen, 0.0) for part, seen in zip(parts, known, strict=True)]
        x = F.dropout(F.gelu(self.linear1(torch.cat(parts, 1))), 0.3, self.training)
        return F.dropout(F.gelu(self.linear2(x)), 0.3, self.training)


class Stages(nn.Module):
    def __init__(self, o):
        super().__init__()
        dim, self.o = o["dim"], o
        if o["ir_channels"][-1] != dim:
            self.patch_embed = nn.Conv2d(o["ir_channels"][-1], dim, 3, 1, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, o["grid"] ** 2, dim))
        dims = (dim, 2 * dim if o["multistage"] else dim)
        self.transformers = nn.ModuleList()
        for width, depth, heads in zip(dims, o["depth"], o["heads"], strict=True):
            blocks = [Block(width, heads, o["mlp_ratio"], o["conv_ffn"]) for _ in range(depth)]
            self.transformers.append(nn.ModuleDict({"blocks": nn.ModuleList(blocks)}))
        if o["multistage"]:
            conv = nn.Conv2d(dim, 2 * dim, 3, 2, 1, groups=dim)
            self.pools = nn.ModuleList([nn.ModuleDict({"conv": conv})])
        if o["patch_flatten"]:
            last = (o["grid"] + 1) // 2
            linear = nn.Linear(dims[1] * last**2, dims[1])
            self.output_layer = nn.Sequential(nn.Dropout(0.5), nn.Flatten(), linear, nn.ReLU())
        self.norm, self.head = nn.LayerNorm(dims[1], 1e-6), nn.Linear(dims[1], 7)
        width = dims[1] if o["au_after_merging"] else dim
        grid = (o["grid"] + 1) // 2 if o["au_after_merging"] else o["grid"]
        add_au_heads(self, o["regions"], width, o["shared_norm"])
        self.regions = facs.regions(o["regions"], grid=grid)
        if o["geometry"]:
            self.geometry, self.geometry_au = Geometry(), nn.Linear(96, 21)
            self.geometry_features = nn.Linear(96, dims[1])

    def forward(self, x, *face):
        if hasattr(self, "patch_embed"):
            x = self.patch_embed(x)
        x = x.flatten(2).transpose(1, 2) + self.pos_embed
        for block in self.transformers[0]["blocks"]:
            x = block(x)
        side = self.o["grid"]
        base = x.unflatten(1, (side, side))
        if self.o["multistage"]:
            merged = self.pools[0]["conv"](base.permute(0, 3, 1, 2))
            side = merged.shape[-1]
            x = merged.flatten(2).transpose(1, 2)
            base = merged.permute(0, 2, 3, 1) if self.o["au_after_merging"] else base
        au = au_logits(self, base)
        for block in self.transformers[1]["blocks"]:
            x = block(x)
        if self.o["patch_flatten"]:
            x = self.output_layer(x.transpose(1, 2).unflatten(2, (side, side)))
        else:
            x = x.mean(1)
        if face:
            shape = self.geometry(*face)
            x, au = x + self.geometry_features(shape), au + self.geometry_au(shape)
        return torch.cat([self.head(self.norm(x)), au], 1)


PAPER = {
    "regions": 7,
    "multistage": True,
    "conv_ffn": True,
    "patch_flatten": True,
    "au_after_merging": False,
    "shared_norm": False,
    "dim": 256,
    "depth": (4, 2),
    "heads": (8, 16),
    "mlp_ratio": 4,
    "ir_units": (3, 4, 14),
    "ir_channels": (64, 128, 256),
    "ir_strides": (2, 2, 2),
    "stem_kernel": 3,
    "stem_stride": 1,
    "grid": 14,
    "geometry": False,
}


class AUViT(nn.Module):
    def __init__(self, **options):
        super().__init__()
        o = PAPER | options
        stem = {"kernel": o["stem_kernel"], "stride": o["stem_stride"]}
        self.cnn = IRTrunk(o["ir_units"], o["ir_channels"], o["ir_strides"], **stem)
        self.vit = Stages(o)

    def forward(self, x, *face):
        """With geometry `face` is its landmarks and blendshapes."""
        return self.vit(self.cnn(x), *face)


def former_layers(dim, depth, heads, head_dim, hidden):
    def layer():
        attention = nn.ModuleDict(
            {
                "to_qkv": nn.Linear(dim, 3 * heads * head_dim, bias=False),
                "to_out": nn.Sequential(nn.Linear(heads * head_dim, dim)),
            }
        )
        activation = nn.GELU(approximate="tanh")
        net = nn.Sequential(
            nn.Linear(dim, hidden), activation, nn.Identity(), nn.Linear(hidden, dim)
        )
        parts = (attention, nn.ModuleDict({"net": net}))
        return nn.ModuleList(
            nn.ModuleDict({"fn": nn.ModuleDict({"norm": nn.LayerNorm(dim), "fn": part})})
            for part in parts
        )

    return nn.ModuleDict({"layers": nn.ModuleList(layer() for _ in range(depth))})


def former_forward(transformer, x, heads):
    for attention, feed_forward in transformer["layers"]:
        part = attention["fn"]
        qkv = part["fn"]["to_qkv"](part["norm"](x)).chunk(3, -1)
        x = x + part["fn"]["to_out"](attend(*qkv, heads))
        part = feed_forward["fn"]
        x = x + part["fn"]["net"](part["norm"](x))
    return x


class FormerDFER(nn.Module):
    def __init__(self, size=112, frames=16, width=64, blocks=2, spatial=None, temporal=None):
        super().__init__()
        spatial, temporal = spatial or (1, 8, 32, 512), temporal or (3, 8, 64, 1024)
        self.heads = spatial[1], temporal[1]
        self.s_former, self.t_former = nn.Module(), nn.Module()
        s, t, c = self.s_former, self.t_former, width
        s.conv1, s.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        for stage in range(4):
            layers = []
            for i in range(blocks):
                stride = 2 if stage and i == 0 else 1
                layers.append(BasicBlock(c, width * 2**stage, stride, caffe=False))
                c = width * 2**stage
            s.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        tokens = (size // 16) ** 2
        s.pos_embedding = nn.Parameter(torch.zeros(1, tokens, 4 * width))
        s.spatial_transformer = former_layers(4 * width, *spatial)
        t.cls_token = nn.Parameter(torch.zeros(1, 1, c))
        t.pos_embedding = nn.Parameter(torch.zeros(1, 1 + frames, c))
        t.spatial_transformer = former_layers(c, *temporal)
        self.fc = nn.Linear(c, 7)

    def forward(self, x):
        s, t = self.s_former, self.t_former
        batch, frames = x.shape[0], x.shape[2]
        x = x.transpose(1, 2).flatten(0, 1)
        x = F.max_pool2d(F.relu(s.bn1(s.conv1(x))), 3, 2, 1)
        x = s.layer3(s.layer2(s.layer1(x)))
        tokens = x.flatten(2).transpose(1, 2) + s.pos_embedding
        tokens = former_forward(s.spatial_transformer, tokens, self.heads[0])
        x = s.layer4(tokens.transpose(1, 2).reshape(x.shape)).mean((2, 3))
        x = x.view(batch, frames, -1)
        x = torch.cat([t.cls_token.expand(batch, -1, -1), x], 1) + t.pos_embedding
        return self.fc(former_forward(t.spatial_transformer, x, self.heads[1])[:, 0])


NETWORKS = {
    "vit": lambda _: ViT(),
    "auvit_vanilla": lambda _: ViT(supervise_layer=10, regions=7),
    "auvit_token": lambda _: ViT(au_token=True),
    "cnn_vit": lambda _: CNNViT(),
    "auvit_paper": lambda o: AUViT(**o),
    "auvit_released": lambda o: AUViT(**o),
    "auvit_multistage": lambda o: AUViT(**o),
    "auvit_small": lambda o: AUViT(**o),
    "auvit_face": lambda o: AUViT(**o),
    "former_dfer": lambda _: FormerDFER(),
    "former_dfer_small": lambda _: FormerDFER(32, 4, 8, 1, (1, 2, 8, 32), (1, 2, 16, 64)),
}
