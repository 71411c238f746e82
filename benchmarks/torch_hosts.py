"""S2D, FRU-Adapter, STT, DPCNet and NR-DFERNet in PyTorch, for benchmarks only: under the published keys.

The last three have no published weights: their keys are what our naming rule makes of our names.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch_images import BasicBlock, Bottleneck, MobileFaceNet, ResNet
from torch_transformers import Attention, Block, Mlp, attend


def frames_of(x):
    """Clips [B, C, T, H, W] -> images [B * T, C, H, W]."""
    return x.transpose(1, 2).flatten(0, 1)


def to_tokens(x):
    """Maps [B, C, h, w] -> tokens [B, h * w, C]."""
    return x.flatten(2).transpose(1, 2)


def by_place(x, frames):
    """Tokens [B * T, N, C] -> rows [B * N, T, C]."""
    return x.unflatten(0, (-1, frames)).transpose(1, 2).flatten(0, 1)


def by_frame(x, places):
    """The inverse of `by_place`."""
    return x.unflatten(0, (-1, places)).transpose(1, 2).flatten(0, 1)


class Adapter(nn.Module):
    def __init__(self, dim, hidden, heads=0):
        super().__init__()
        self.D_fc1, self.D_fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.attn = Attention(hidden, heads, bias=False) if heads else nn.Identity()

    def forward(self, x):
        return self.D_fc2(self.attn(F.gelu(self.D_fc1(x))))


class TMAdapter(nn.Module):
    def __init__(self, frames, dim, hidden, heads):
        super().__init__()
        self.frames = frames
        self.T_Adapter, self.S_Adapter = Adapter(dim, hidden, heads), Adapter(dim, hidden)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        y = by_frame(self.T_Adapter(by_place(x, self.frames)), x.shape[1])
        return self.S_Adapter(self.norm(y))


class Fovea(nn.Module):
    def __init__(self):
        super().__init__()
        self.smooth = nn.Parameter(torch.full((1,), 10.0))

    def forward(self, x):
        return x * (x.flatten(2) * self.smooth).softmax(-1).view_as(x)


class PromptBlock(nn.Module):
    """Tokens and landmarks' tokens [B * T, N, C] -> the prompt, and what the adapters add."""

    def __init__(self, frames, dim, hidden, adapter_hidden, heads):
        super().__init__()
        self.conv0_0, self.conv0_1 = nn.Conv2d(dim, hidden, 1), nn.Conv2d(dim, hidden, 1)
        self.conv1x1, self.fovea = nn.Conv2d(hidden, dim, 1), Fovea()
        self.TMA = TMAdapter(frames, dim, adapter_hidden, heads)

    def forward(self, x, a, grid):
        seen, shape = (y.transpose(1, 2).unflatten(2, grid) for y in (x, a))
        prompt = self.conv1x1(self.fovea(self.conv0_0(seen)) + self.conv0_1(shape))
        return to_tokens(prompt), self.TMA(x)


class S2D(nn.Module):
    """With `landmark_net` it finds the features of landmarks itself."""

    def __init__(
        self,
        size=224,
        frames=16,
        patch=16,
        dim=768,
        depth=12,
        heads=12,
        hidden_dim=8,
        adapter_heads=8,
        landmark_channels=128,
        landmarks="given",
    ):
        super().__init__()
        self.grid, self.frames = (size // patch,) * 2, frames
        places = (size // patch) ** 2
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.patch_embed_prompt = nn.ModuleDict({"proj": nn.Conv2d(landmark_channels, dim, 1)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + places, dim))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, frames, dim))
        self.prompt_blocks = nn.ModuleList(
            PromptBlock(frames, dim, hidden_dim, dim // 4, adapter_heads) for _ in range(depth)
        )
        self.prompt_norms = nn.ModuleList(nn.LayerNorm(dim, 1e-6) for _ in range(depth))
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.ln_post = nn.LayerNorm(dim, 1e-6)
        self.head = nn.ModuleDict({"fc_cls": nn.Linear(dim, 7)})
        self.landmark_net = None
        if landmarks == "mobilefacenet":
            self.landmark_net = MobileFaceNet(0, landmark_channels // 2)

    def train(self, mode=True):
        super().train(mode)
        if self.landmark_net is not None:
            self.landmark_net.eval()
        return self

    def found(self, x):
        """Landmark features of images, with nothing to learn."""
        with torch.no_grad():
            size = [8 * side for side in self.grid]
            x = F.interpolate(x, size, mode="bilinear", align_corners=True)
            return self.landmark_net.features(x)

    def forward(self, x, features=None):
        x = frames_of(x)
        features = self.found(x) if features is None else features
        a = to_tokens(self.patch_embed_prompt["proj"](features))
        x = to_tokens(self.patch_embed["proj"](x))
        for i, (prompt, block) in enumerate(zip(self.prompt_blocks, self.blocks, strict=True)):
            seen = self.prompt_norms[max(i - 1, 0)](x[:, 1:] if i else x)
            a, added = prompt(seen, self.prompt_norms[0](a), self.grid)
            if i == 0:
                x = torch.cat([self.cls_token.expand(len(x), -1, -1), x + added + a], 1)
                x = (x + self.pos_embed).unflatten(0, (-1, self.frames))
                x = (x + self.temporal_embedding[:, :, None]).flatten(0, 1)
            else:
                x = torch.cat([x[:, :1], x[:, 1:] + added + a], 1)
            x = block(x)
        x = self.ln_post(x[:, 0]).unflatten(0, (-1, self.frames)).mean(1)
        return self.head["fc_cls"](F.dropout(x, 0.5, self.training))


class TemporalAttention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        for part in ("Q", "K", "V", "output"):
            self.add_module(f"proj_{part}", nn.Linear(dim, dim))

    def forward(self, x):
        y = self.norm(x)
        q, k, v = self.proj_Q(y), self.proj_K(y), self.proj_V(y)
        return x + self.proj_output(attend(q, k, v, 1))


class FRUAdapter(nn.Module):
    def __init__(self, frames, dim, hidden):
        super().__init__()
        self.frames = frames
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.ln, self.T_linear1 = nn.LayerNorm(hidden), nn.Linear(frames, frames)
        self.TFormer = TemporalAttention(hidden)

    def forward(self, x):
        y = self.ln(self.linear1(x)).unflatten(0, (-1, self.frames))  # [B, T, N, C]
        weights = self.T_linear1(y.mean((2, 3))).softmax(-1)
        y = by_place((y * weights[:, :, None, None]).flatten(0, 1), self.frames)
        return by_frame(self.linear2(self.TFormer(y)), x.shape[1])


class FRUAdapterViT(nn.Module):
    def __init__(
        self,
        size=224,
        frames=16,
        patch=16,
        dim=1024,
        depth=24,
        heads=16,
        mlp_ratio=4,
        adapter_dim=128,
        drop_path=0.1,
    ):
        super().__init__()
        self.frames = frames
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, dim))
        rates = np.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, rate=rate) for rate in rates)
        self.tsea_blocks = nn.ModuleList(FRUAdapter(frames, dim, adapter_dim) for _ in rates)
        self.fc_norm = nn.LayerNorm(dim, 1e-6)
        parts = {"fc1": nn.Linear(dim, dim), "norm": nn.LayerNorm(dim), "fc2": nn.Linear(dim, 7)}
        self.classifier = nn.ModuleDict(parts)

    def forward(self, x):
        x = to_tokens(self.patch_embed["proj"](frames_of(x)))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block, adapter in zip(self.blocks, self.tsea_blocks, strict=True):
            x = block(x) + adapter(x)
        x = self.fc_norm(x[:, 1:].mean(1)).unflatten(0, (-1, self.frames))
        x = self.classifier["fc1"](x).mean(1)
        return self.classifier["fc2"](self.classifier["norm"](x))


class SpatioTemporalBlock(nn.Module):
    """Tokens [B, T, N, C]."""

    def __init__(self, dim, heads, head_dim, hidden):
        super().__init__()
        for name in ("spatial", "temporal"):
            self.add_module(f"{name}_norm", nn.LayerNorm(dim))
            self.add_module(f"{name}_attn", Attention(dim, heads, head_dim=head_dim))
        self.norm, self.mlp = nn.LayerNorm(dim), Mlp(dim, hidden)

    def forward(self, x):
        y = self.spatial_attn(self.spatial_norm(x).flatten(0, 1))
        x = x + y.view_as(x)
        y = self.temporal_norm(x).transpose(1, 2)
        x = x + self.temporal_attn(y.flatten(0, 1)).view_as(y).transpose(1, 2)
        return x + self.mlp(self.norm(x))


class STT(nn.Module):
    def __init__(
        self,
        size=112,
        frames=16,
        width=64,
        layers=(2, 2, 2, 2),
        depth=3,
        heads=8,
        head_dim=64,
        hidden=1024,
    ):
        super().__init__()
        self.frames, dim = frames, width * 2 ** (len(layers) - 1)
        side = -(-size // 2 ** (len(layers) + 1))
        self.resnet = ResNet(BasicBlock, layers, 0, width=width)
        self.pos_embedding = nn.Parameter(torch.zeros(1, 1, side**2, dim))
        self.temporal_embedding = nn.Parameter(torch.zeros(1, frames, 1, dim))
        self.blocks = nn.Sequential(
            *(SpatioTemporalBlock(dim, heads, head_dim, hidden) for _ in range(depth))
        )
        self.norm, self.fc = nn.LayerNorm(dim), nn.Linear(dim, 7)

    def forward(self, x):
        x = to_tokens(self.resnet.maps(frames_of(x))).unflatten(0, (-1, self.frames))
        x = self.blocks(x + (self.pos_embedding + self.temporal_embedding))
        return self.fc(self.norm(x).mean((1, 2)))


class SpatialFrameExcitation(nn.Module):
    """Maps [B, T, C, h, w] of a view."""

    def __init__(self, dim, narrow):
        super().__init__()
        self.spatial = nn.Conv2d(2, 1, 3, 1, 1)
        self.frame1, self.frame2 = nn.Linear(dim, narrow), nn.Linear(narrow, 1)

    def forward(self, x):
        flat = x.flatten(0, 1)
        across = torch.cat([flat.mean(1, keepdim=True), flat.amax(1, keepdim=True)], 1)
        places = self.spatial(across).sigmoid().unflatten(0, x.shape[:2])
        frames = self.frame2(F.relu(self.frame1(x.mean((3, 4))))).sigmoid()
        return x + x * places * frames[..., None, None]


class ChannelTemporalAggregation(nn.Module):
    def __init__(self, dim, narrow):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(dim, narrow), nn.Linear(narrow, dim)
        self.temporal = nn.Conv1d(narrow, narrow, 3, 1, 1)

    def forward(self, x):
        pooled = x.mean((3, 4))
        y = F.relu(self.squeeze(pooled)).transpose(1, 2)
        y = F.relu(self.temporal(y)).transpose(1, 2)
        return (pooled * self.excite(y).sigmoid()).mean(1)


class DPCNet(nn.Module):
    def __init__(self, views=2, reduction=16, block="bottleneck", layers=(3, 4, 6, 3), width=64):
        super().__init__()
        kind = {"bottleneck": Bottleneck, "basic": BasicBlock}[block]
        self.views, dim = views, width * 2 ** (len(layers) - 1) * kind.expansion
        self.resnet = ResNet(kind, layers, 0, width=width)
        narrow = max(dim // reduction, 1)
        self.sfe = SpatialFrameExcitation(dim, narrow)
        self.cta = ChannelTemporalAggregation(dim, narrow)
        self.fc_spatial_frame, self.fc_channel_temporal = nn.Linear(dim, 7), nn.Linear(dim, 7)

    def forward(self, x):
        batch = len(x)
        x = self.resnet.maps(frames_of(x)).unflatten(0, (batch, -1, self.views)).transpose(1, 2)
        x = self.sfe(x.flatten(0, 1))
        still, moved = (
            y.unflatten(0, (batch, -1)).mean(1) for y in (x.mean((1, 3, 4)), self.cta(x))
        )
        return (self.fc_spatial_frame(still) + self.fc_channel_temporal(moved)) / 2


class Layer(nn.Module):
    def __init__(self, dim, heads, head_dim, hidden):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, head_dim=head_dim, bias=False)
        self.mlp = Mlp(dim, hidden, gelu="tanh")

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class NRDFERNet(nn.Module):
    """Without its filter of snippets, which is off by default."""

    def __init__(
        self,
        size=112,
        frames=16,
        width=64,
        layers=(1, 1, 1),
        dynamic_blocks=3,
        spatial=(2, 4, 32, 256),
        temporal=(2, 4, 32, 512),
    ):
        super().__init__()
        self.frames, c = frames, width
        conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.conv1 = nn.Sequential(conv1, nn.BatchNorm2d(width), nn.ReLU(), conv2)
        self.bn1, self.layers = nn.BatchNorm2d(width), len(layers)
        for stage, count in enumerate(layers):
            blocks = []
            for i in range(count):
                blocks.append(BasicBlock(c, width * 2**stage, 2 if stage and i == 0 else 1, False))
                c = width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        side = -(-size // 2 ** (len(layers) + 2))
        places = side**2
        self.fusion, self.temporal_transformer = nn.Module(), nn.Module()
        branch = (BasicBlock(c, c, 1 if i else 2, False) for i in range(dynamic_blocks))
        self.fusion.d_branch = nn.Sequential(*branch)
        embedding = nn.Conv2d(c, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU()
        self.fusion.patch_embedding = nn.Sequential(*embedding)
        self.fusion.pos_embedding_static = nn.Parameter(torch.zeros(1, places, c))
        depth, *size = spatial
        self.fusion.s_branch = nn.Sequential(*(Layer(c, *size) for _ in range(depth)))
        depth, *size = temporal
        position = nn.Parameter(torch.zeros(1, frames, c * places))
        self.temporal_transformer.temporal_pos_embedding = position
        layers = (Layer(c * places, *size) for _ in range(depth))
        self.temporal_transformer.layers = nn.Sequential(*layers)
        self.fc = nn.Linear(c * places, 7)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(frames_of(x)))), 3, 2, 1)
        for stage in range(self.layers):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = x.unflatten(0, (-1, self.frames))
        fusion, over_time = self.fusion, self.temporal_transformer
        change = to_tokens(fusion.d_branch((x[:, 1:] - x[:, :-1]).flatten(0, 1)))
        still = to_tokens(fusion.patch_embedding(x[:, :-1].flatten(0, 1)))
        x = change + fusion.s_branch(still + fusion.pos_embedding_static)
        x = x.flatten(1).unflatten(0, (-1, self.frames - 1))
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + over_time.temporal_pos_embedding
        return self.fc(over_time.layers(x)[:, 0])


NETWORKS = {
    "s2d": lambda _: S2D(),
    "s2d_mobilefacenet": lambda o: S2D(**o),
    "s2d_small": lambda o: S2D(32, 4, **o),
    "fru_adapter": lambda _: FRUAdapterViT(),
    "stt": lambda _: STT(),
    "dpcnet": lambda _: DPCNet(),
    "nr_dfernet": lambda _: NRDFERNet(),
}
