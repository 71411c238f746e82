"""MAE-DFER and SVFAP in PyTorch, for benchmarks only: under the published keys."""

import numpy as np
import torch
from torch import nn
from torch_transformers import Mlp, attend, drop_path


class BiasedAttention(nn.Module):
    def __init__(self, dim, heads, fused=False):
        super().__init__()
        self.heads = heads
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))
        if fused:
            self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        else:
            self.q = nn.Linear(dim, dim, bias=False)
            self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, context=None):
        if hasattr(self, "qkv"):
            q, k, v = self.qkv(x).chunk(3, -1)
        else:
            q = self.q(x)
            k, v = self.kv(x if context is None else context).chunk(2, -1)
        return self.proj(attend(q + self.q_bias, k, v + self.v_bias, self.heads))


class LGIBlock(nn.Module):
    def __init__(self, dim, heads, regions, rate):
        super().__init__()
        self.regions, self.rate = regions, rate
        for name in ("first_attn", "second_attn", "third_attn"):
            self.add_module(name, BiasedAttention(dim, heads))
            self.add_module(f"{name}_norm0", nn.LayerNorm(dim, 1e-6))
        self.third_attn_norm1 = nn.LayerNorm(dim, 1e-6)
        self.norm2, self.mlp = nn.LayerNorm(dim, 1e-6), Mlp(dim, 4 * dim)

    def drop(self, x):
        return drop_path(x, self.rate, self.training)

    def forward(self, x):
        rows, tokens, dim = x.shape
        x = x + self.drop(self.first_attn(self.first_attn_norm0(x)))
        region = x[:, 0].reshape(-1, self.regions, dim)
        region = region + self.drop(self.second_attn(self.second_attn_norm0(region)))
        local = x[:, 1:].reshape(len(region), -1, dim)
        third = self.third_attn(self.third_attn_norm0(local), self.third_attn_norm1(region))
        local = local + self.drop(third)
        x = torch.cat([region.view(rows, 1, dim), local.view(rows, tokens - 1, dim)], 1)
        return x + self.drop(self.mlp(self.norm2(x)))


def sinusoids(count, width):
    rate = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    angle = np.arange(count)[:, None] * rate
    table = np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle))
    return torch.from_numpy(table.astype(np.float32))


class Tubelets(nn.Module):
    """Clips [B, 3, T, H, W] -> tokens [B, N, C] of tubelets of two frames, with fixed positions."""

    def __init__(self, grid, patch, dim):
        super().__init__()
        self.grid, window = grid, (2, patch, patch)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, dim, window, window)})
        self.register_buffer("table", sinusoids(int(np.prod(grid)), dim), persistent=False)

    def embed(self, x):
        return self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.table


class Encoder(Tubelets):
    def __init__(self, grid, region, patch, dim, depth, heads, drop_path):
        super().__init__(grid, patch, dim)
        self.region, self.count = region, int(np.prod(grid) // np.prod(region))
        self.lg_region_tokens = nn.Parameter(torch.zeros(self.count, dim))
        rates = np.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(LGIBlock(dim, heads, self.count, rate) for rate in rates)

    def to_regions(self, x):
        (t, h, w), (rt, rh, rw) = self.grid, self.region
        x = x.view(len(x), t // rt, rt, h // rh, rh, w // rw, rw, -1)
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)
        return x.reshape(len(x), self.count, rt * rh * rw, -1)

    def encode(self, x):
        tokens = self.lg_region_tokens[:, None].expand(len(x), -1, -1, -1)
        x = torch.cat([tokens, x], 2).flatten(0, 1)
        for block in self.blocks:
            x = block(x)
        return x


class MAEDFER(Encoder):
    def __init__(self, org=False, grid=(8, 10, 10), region=(2, 5, 10), patch=16, **size):
        size = {"dim": 512, "depth": 16, "heads": 8} | size
        super().__init__(grid, region, patch, drop_path=0.1, **size)
        self.org = org
        self.fc_norm, self.head = nn.LayerNorm(size["dim"], 1e-6), nn.Linear(size["dim"], 7)

    def forward(self, x):
        batch = len(x)
        x = self.encode(self.to_regions(self.embed(x)))
        read = x[:, 1:] if self.org else x[:, :1]
        return self.head(self.fc_norm(read.reshape(batch, -1, x.shape[-1]).mean(1)))


class Block(nn.Module):
    """Pre-norm; with `cross` the tokens read a context first."""

    def __init__(self, dim, heads, rate=0.0, cross=False):
        super().__init__()
        self.rate = rate
        if cross:
            self.cross_attn = BiasedAttention(dim, heads)
            self.cross_norm1, self.cross_norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.norm1, self.norm2 = nn.LayerNorm(dim, 1e-6), nn.LayerNorm(dim, 1e-6)
        self.attn, self.mlp = BiasedAttention(dim, heads, fused=True), Mlp(dim, 4 * dim)

    def drop(self, x):
        return drop_path(x, self.rate, self.training)

    def forward(self, x, context=None):
        if context is not None:
            read = self.cross_attn(self.cross_norm1(x), self.cross_norm2(context))
            x = x + self.drop(read)
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class Bottleneck(nn.Module):
    """Tokens [B, t * N, C] -> [B, t * count, C]: of each time `count` weighted means."""

    def __init__(self, dim, hidden, count):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(dim, 1e-6), Mlp(dim, hidden, count)

    def forward(self, x, times):
        weights = self.mlp(self.norm(x)).unflatten(1, (times, -1)).softmax(2)
        return (weights.transpose(2, 3) @ x.unflatten(1, (times, -1))).flatten(1, 2)


class PyramidEncoder(Tubelets):
    """SVFAP's encoder, for embedded tokens of the same places at all times."""

    def __init__(
        self,
        size=160,
        frames=16,
        patch=16,
        dim=512,
        stage_depths=(12, 6, 3),
        heads=8,
        bottleneck_tokens=(8,),
        bottleneck_dim=128,
        drop_path=0.1,
    ):
        super().__init__((frames // 2, size // patch, size // patch), patch, dim)
        self.depths, later = stage_depths, len(stage_depths) - 1
        tokens = tuple(bottleneck_tokens)
        tokens = tokens * later if len(tokens) == 1 else tokens
        rates = np.linspace(0, drop_path, sum(stage_depths)).tolist()
        self.blocks = nn.ModuleList(
            Block(dim, heads, rate, cross=i >= stage_depths[0]) for i, rate in enumerate(rates)
        )
        self.temporal_downsamples = nn.ModuleList(nn.Conv1d(dim, dim, 2, 2) for _ in tokens)
        self.spatial_downsamples = nn.ModuleList(
            Bottleneck(dim, bottleneck_dim, count) for count in tokens
        )

    def stages(self, x, context=None):
        """Tokens after each; what ends a later one reads `context`, or else the bottleneck's tokens."""
        times, blocks = self.grid[0], iter(self.blocks)
        for _ in range(self.depths[0]):
            x = next(blocks)(x)
        found = [x]
        steps = zip(
            self.depths[1:], self.temporal_downsamples, self.spatial_downsamples, strict=True
        )
        for depth, join, pool in steps:
            rows = x.unflatten(1, (times, -1)).permute(0, 2, 3, 1)  # [B, N, C, t]
            whole = join(rows.flatten(0, 1)).unflatten(0, (len(x), -1))
            whole, times = whole.permute(0, 3, 1, 2).flatten(1, 2), times // 2
            few = pool(whole, times)
            for _ in range(depth - 1):
                few = next(blocks)(few, whole)
            x = next(blocks)(whole, few if context is None else context)
            found.append(x)
        return found


class SVFAP(PyramidEncoder):
    def __init__(self, dim=512, **size):
        super().__init__(dim=dim, **size)
        self.fc_norm, self.head = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, 7)

    def forward(self, x):
        return self.head(self.fc_norm(self.stages(self.embed(x))[-1].mean(1)))


class Pretraining(nn.Module):
    """An encoder, and the decoder that fills in what it has not seen."""

    def __init__(self, encoder, width, decoder):
        super().__init__()
        dim, depth, heads = decoder
        self.encoder = encoder
        self.encoder.norm = nn.LayerNorm(width, 1e-6)
        self.encoder_to_decoder = nn.Linear(width, dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder = nn.Module()
        self.decoder.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.decoder.norm = nn.LayerNorm(dim, 1e-6)
        self.decoder.head = nn.Linear(dim, encoder.patch_embed["proj"].weight[0].numel())
        self.register_buffer("table", sinusoids(len(encoder.table), dim), persistent=False)

    def rebuilt(self, x, visible, masked=None):
        if masked is None:
            hidden = torch.ones(len(x), len(self.table), dtype=torch.bool, device=x.device)
            hidden[torch.arange(len(x), device=x.device)[:, None], visible] = False
            masked = hidden.nonzero()[:, 1].view(len(x), -1)
        x = self.encoder_to_decoder(self.encoder.norm(x)) + self.table[visible]
        x = torch.cat([x, self.mask_token + self.table[masked]], 1)
        for block in self.decoder.blocks:
            x = block(x)
        return self.decoder.head(self.decoder.norm(x[:, -masked.shape[1] :])).flatten(1)


def take(tokens, places):
    """Tokens [B, N, C] at places [B, V]."""
    return tokens[torch.arange(len(tokens), device=tokens.device)[:, None], places]


class MAEDFERPretrain(Pretraining):
    """`visible` [B, V] are the tokens kept, `masked` the others; the regions the published code's."""

    def __init__(self, decoder=(384, 4, 6), grid=(8, 10, 10), region=(2, 5, 10), patch=16, **size):
        size = {"dim": 512, "depth": 16, "heads": 8} | size
        super().__init__(Encoder(grid, region, patch, drop_path=0.0, **size), size["dim"], decoder)

    def forward(self, x, visible, masked=None):
        encoder = self.encoder
        (t, h, w), (rt, rh, rw) = encoder.grid, encoder.region
        windows = (h // rh) * (w // rw)
        x = take(encoder.embed(x), visible)
        x = x.view(len(x), t // rt, rt, windows, -1, x.shape[-1]).transpose(2, 3)
        x = encoder.encode(x.reshape(len(x), encoder.count, -1, x.shape[-1]))
        x = x[:, 1:].reshape(len(visible), visible.shape[1], -1)
        return self.rebuilt(x, visible, masked)


class SVFAPPretrain(Pretraining):
    """`published`: what the authors' code does amiss with hidden tokens and times, too."""

    def __init__(self, decoder=(384, 4, 6), published=False, dim=512, **size):
        super().__init__(PyramidEncoder(dim=dim, drop_path=0.0, **size), dim, decoder)
        self.published = published

    def forward(self, x, visible, masked=None):
        whole = self.encoder.embed(x)
        stages = self.encoder.stages(take(whole, visible), whole if self.published else None)
        total, times, factor = stages[0], self.encoder.grid[0], 1
        for x in stages[1:]:
            factor *= 2
            rows = times // factor * (2 if self.published else 1)
            x = x.unflatten(1, (rows, -1)).repeat_interleave(factor, 1)
            total = total + x.flatten(1, 2)
        return self.rebuilt(total, visible, masked)


SMALL = {"patch": 8, "dim": 32, "heads": 2}
SMALL_MAE = {"grid": (4, 4, 4), "depth": 2, **SMALL}
SMALL_SVFAP = {"size": 32, "frames": 8, "stage_depths": (2, 2), "bottleneck_dim": 16, **SMALL}
NETWORKS = {
    "mae_dfer": lambda _: MAEDFER(),
    "mae_dfer_org": lambda _: MAEDFER(org=True),
    "mae_dfer_small": lambda _: MAEDFER(region=(2, 2, 2), **SMALL_MAE),
    "mae_dfer_pretrain": lambda _: MAEDFERPretrain(),
    "mae_dfer_pretrain_small": lambda _: MAEDFERPretrain((24, 1, 2), region=(2, 2, 4), **SMALL_MAE),
    "svfap": lambda _: SVFAP(),
    "svfap_small": lambda _: SVFAP(**SMALL_SVFAP),
    "svfap_pretrain": lambda _: SVFAPPretrain(),
    "svfap_pretrain_published": lambda _: SVFAPPretrain(published=True, dim=768, heads=12),
    "svfap_pretrain_small": lambda _: SVFAPPretrain(
        (24, 1, 2), bottleneck_tokens=(2,), **SMALL_SVFAP
    ),
}
