"""The clip networks in PyTorch, for benchmarks only: eager modules under the published keys."""

import torch
from torch import nn
from torch.nn import functional as F
from torch_images import BasicBlock, Bottleneck, ResNet


def conv_bn(c, o, window, stride=1, padding=0):
    return nn.Conv3d(c, o, window, stride, padding, bias=False), nn.BatchNorm3d(o)


def conv_2plus1d(c, o, stride, middle):
    spatial = conv_bn(c, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1))
    return nn.Sequential(
        *spatial, nn.ReLU(), nn.Conv3d(middle, o, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    )


CONVS = {
    "3d": lambda c, o, s, middle: nn.Conv3d(c, o, 3, s, 1, bias=False),
    "2d": lambda c, o, s, middle: nn.Conv3d(c, o, (1, 3, 3), (1, s, s), (0, 1, 1), bias=False),
    "2plus1d": conv_2plus1d,
}


class VideoBlock(nn.Module):
    def __init__(self, c, o, stride, conv):
        super().__init__()
        middle = 27 * c * o // (9 * c + 3 * o)
        self.conv1 = nn.Sequential(CONVS[conv](c, o, stride, middle), nn.BatchNorm3d(o))
        self.conv2 = nn.Sequential(CONVS[conv](o, o, 1, middle), nn.BatchNorm3d(o))
        self.downsample = None
        if stride != 1 or c != o:
            strides = (1 if conv == "2d" else stride, stride, stride)
            self.downsample = nn.Sequential(*conv_bn(c, o, 1, strides))

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def video_stages(convs, layers=(2, 2, 2, 2), widths=(64, 128, 256, 512), stem_strides=(1, 2, 2)):
    t, *plane = stem_strides
    if convs[0] == "2plus1d":
        stem = nn.Sequential(
            *conv_bn(3, 45, (1, 7, 7), (1, *plane), (0, 3, 3)),
            nn.ReLU(),
            *conv_bn(45, widths[0], (3, 1, 1), (t, 1, 1), (1, 0, 0)),
            nn.ReLU(),
        )
    else:
        stem = nn.Sequential(*conv_bn(3, widths[0], (3, 7, 7), stem_strides, (1, 3, 3)), nn.ReLU())
    stages, c = [stem], widths[0]
    for stage, (conv, count, o) in enumerate(zip(convs, layers, widths, strict=True)):
        blocks = []
        for i in range(count):
            blocks.append(VideoBlock(c, o, 2 if stage and i == 0 else 1, conv))
            c = o
        stages.append(nn.Sequential(*blocks))
    return stages


class VideoResNet(nn.Module):
    def __init__(self, convs=("3d",) * 4, classes=7, aus=0, **options):
        super().__init__()
        self.stem, *stages = video_stages(convs, **options)
        self.names = [f"layer{i}" for i in range(1, len(stages) + 1)]
        for name, stage in zip(self.names, stages, strict=True):
            self.add_module(name, stage)
        width = stages[-1][-1].conv2[1].num_features
        self.fc = nn.Linear(width, classes)
        self.fc_au = nn.Linear(width, aus) if aus else None

    def forward(self, x):
        x = self.stem(x)
        for name in self.names:
            x = getattr(self, name)(x)
        x = x.mean((2, 3, 4))
        return self.fc(x) if self.fc_au is None else torch.cat([self.fc(x), self.fc_au(x)], 1)


class C3D(nn.Module):
    stages = (("1",), ("2",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))

    def __init__(self, classes=7, batch_norm=True):
        super().__init__()
        c, self.batch_norm = 3, batch_norm
        for stage, o in zip(self.stages, (64, 128, 256, 512, 512), strict=True):
            for name in stage:
                self.add_module(f"conv{name}", nn.Conv3d(c, o, 3, 1, 1))
                if batch_norm:
                    self.add_module(f"bn{name}", nn.BatchNorm3d(o))
                c = o
        self.fc6, self.fc7 = nn.Linear(8192, 4096), nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)

    def forward(self, x):
        for i, stage in enumerate(self.stages):
            for name in stage:
                x = getattr(self, f"conv{name}")(x)
                x = F.relu(getattr(self, f"bn{name}")(x) if self.batch_norm else x)
            x = F.max_pool3d(x, (2 if i else 1, 2, 2), padding=(0, i == 4, i == 4))
        x = F.dropout(F.relu(self.fc6(x.flatten(1))), 0.5, self.training)
        x = F.dropout(F.relu(self.fc7(x)), 0.5, self.training)
        return self.fc8(x)


def same_pad(x, window, strides):
    pads = []
    for n, k, s in reversed(list(zip(x.shape[2:], window, strides, strict=True))):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def same_pool(x, window, strides):
    return F.max_pool3d(same_pad(x, window, strides), window, strides)


class Unit3D(nn.Module):
    def __init__(self, c, o, window=1, stride=1):
        super().__init__()
        self.window, self.stride = (window,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(c, o, window, stride, bias=False)
        self.bn = nn.BatchNorm3d(o, eps=1e-3, momentum=0.01)

    def forward(self, x):
        return F.relu(self.bn(self.conv3d(same_pad(x, self.window, self.stride))))


class Mixed(nn.Module):
    def __init__(self, c, w0, w1a, w1b, w2a, w2b, w3):
        super().__init__()
        self.b0 = Unit3D(c, w0)
        self.b1a, self.b1b = Unit3D(c, w1a), Unit3D(w1a, w1b, 3)
        self.b2a, self.b2b = Unit3D(c, w2a), Unit3D(w2a, w2b, 3)
        self.b3b = Unit3D(c, w3)
        self.out = w0 + w1b + w2b + w3

    def forward(self, x):
        pooled = same_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat(
            [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1
        )


MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    def __init__(self, classes=7):
        super().__init__()
        self.Conv3d_1a_7x7 = Unit3D(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = Unit3D(64, 64)
        self.Conv3d_2c_3x3 = Unit3D(64, 192, 3)
        c = 192
        for name, widths in MIXED.items():
            self.add_module(f"Mixed_{name}", Mixed(c, *widths))
            c = getattr(self, f"Mixed_{name}").out
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(c, classes, 1)})

    def forward(self, x):
        x = same_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = same_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name == "4b":
                x = same_pool(x, (3, 3, 3), (2, 2, 2))
            elif name == "5b":
                x = same_pool(x, (2, 2, 2), (2, 2, 2))
            x = getattr(self, f"Mixed_{name}")(x)
        x = F.dropout(F.avg_pool3d(x, (2, 7, 7), 1), 0.5, self.training)
        return self.logits["conv3d"](x).mean((2, 3, 4))


class P3DBlock(nn.Module):
    def __init__(self, c, width, stride, structure):
        super().__init__()
        self.structure, o = structure, 4 * width
        flat = structure == "2d"
        conv, bn = (nn.Conv2d, nn.BatchNorm2d) if flat else (nn.Conv3d, nn.BatchNorm3d)
        strides = stride if flat else (1, stride, stride)
        self.conv1, self.bn1 = conv(c, width, 1, strides, bias=False), bn(width)
        if flat:
            self.conv_normal = conv(width, width, 3, 1, 1, bias=False)
            self.bn_normal = bn(width)
        else:
            self.conv2, self.bn2 = conv_bn(width, width, (1, 3, 3), 1, (0, 1, 1))
            self.conv3, self.bn3 = conv_bn(width, width, (3, 1, 1), 1, (1, 0, 0))
        self.conv4, self.bn4 = conv(width, o, 1, bias=False), bn(o)
        self.downsample = None
        if stride != 1 or c != o:
            self.downsample = nn.Sequential(conv(c, o, 1, strides, bias=False), bn(o))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        if self.structure == "2d":
            y = F.relu(self.bn_normal(self.conv_normal(y)))
        else:
            s = F.relu(self.bn2(self.conv2(y)))
            t = F.relu(self.bn3(self.conv3(y if self.structure == "B" else s)))
            y = t if self.structure == "A" else s + t
        y = self.bn4(self.conv4(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class P3D(nn.Module):
    def __init__(self, layers, classes=7):
        super().__init__()
        self.conv1_custom, self.bn1 = conv_bn(3, 64, (1, 7, 7), (1, 2, 2), (0, 3, 3))
        c, index = 64, 0
        for stage, count in enumerate(layers):
            blocks = []
            for i in range(count):
                structure = "2d" if stage == 3 else "ABC"[index % 3]
                blocks.append(P3DBlock(c, 64 * 2**stage, 2 if stage and i == 0 else 1, structure))
                c, index = 256 * 2**stage, index + 1
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(c, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1_custom(x)))
        x = F.max_pool3d(x, (2, 3, 3), 2, (0, 1, 1))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = F.max_pool3d(stage(x), (2, 1, 1))
        x = self.layer4(x.squeeze(2)).mean((2, 3))
        return self.fc(F.dropout(x, 0.5, self.training))


class ResNetLSTM(ResNet):
    def __init__(self, block, classes=7, frames=16, **options):
        super().__init__(block, (2, 2, 2, 2), 0, **options)
        self.LSTM = nn.LSTM(512 * block.expansion, 256, 3, batch_first=True)
        self.output = nn.Linear(256 * frames, classes)

    def forward(self, x):
        b, c, t, h, w = x.shape
        x = self.pooled(x.transpose(1, 2).reshape(b * t, c, h, w))
        x, _ = self.LSTM(x.view(b, t, -1))
        return self.output(x.flatten(1))


class DMIN(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1))
        self.mean_weight = nn.Parameter(torch.ones(2))
        self.var_weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        mean_in, var_in = x.mean(1, keepdim=True), x.var(1, keepdim=True)
        mean_ln = mean_in.mean(2, keepdim=True)
        var_ln = (var_in + mean_in**2).mean(2, keepdim=True) - mean_ln**2
        a, b = self.mean_weight.softmax(0), self.var_weight.softmax(0)
        x = x - (a[0] * mean_in + a[1] * mean_ln)
        x = x * torch.rsqrt(b[0] * var_in + b[1] * var_ln + 1e-5)
        return x * self.weight[..., 0] + self.bias[..., 0]


class M3DFEL(nn.Module):
    def __init__(self, classes=7, aus=0, hidden=512, heads=8, **trunk):
        super().__init__()
        self.bag, self.instance, self.heads = 4, 4, heads
        self.features = nn.Sequential(*video_stages(("3d",) * 4, **trunk))
        width = self.features[-1][-1].conv2[1].num_features
        self.lstm = nn.LSTM(width, hidden, 2, batch_first=True, bidirectional=True)
        self.to_qkv = nn.Linear(2 * hidden, 6 * hidden, bias=False)
        self.norm = DMIN(2 * hidden)
        self.pwconv = nn.Conv1d(self.bag, 1, 3, 1, 1)
        self.fc = nn.Linear(2 * hidden, classes)
        self.fc_au = nn.Linear(2 * hidden, aus) if aus else None

    def forward(self, x):
        b, c, _, h, w = x.shape
        x = x.view(b, c, self.bag, self.instance, h, w).transpose(1, 2)
        x = self.features(x.reshape(b * self.bag, c, self.instance, h, w)).mean((2, 3, 4))
        x, _ = self.lstm(x.view(b, self.bag, -1))
        q, k, v = self.to_qkv(x).view(b, self.bag, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        gate = torch.sigmoid(self.norm(attended))
        x = self.pwconv(x * gate).squeeze(1)
        return self.fc(x) if self.fc_au is None else torch.cat([self.fc(x), self.fc_au(x)], 1)


NETWORKS = {
    "r3d18": lambda o: VideoResNet(**o),
    "r2plus1d18": lambda o: VideoResNet(**o),
    "mc3_18": lambda o: VideoResNet(**o),
    "r3d_small": lambda o: VideoResNet(**o),
    "c3d": lambda _: C3D(),
    "c3d_sports1m": lambda _: C3D(487, batch_norm=False),
    "i3d": lambda _: I3D(),
    "p3d63": lambda _: P3D((3, 4, 6, 3)),
    "p3d131": lambda _: P3D((3, 4, 23, 3)),
    "p3d199": lambda _: P3D((3, 8, 36, 3)),
    "resnet18_lstm": lambda _: ResNetLSTM(Bottleneck, caffe=True),
    "resnet18_lstm_basic": lambda _: ResNetLSTM(BasicBlock),
    "m3dfel": lambda _: M3DFEL(),
    "m3dfel_au": lambda _: M3DFEL(aus=18),
    "m3dfel_small": lambda _: M3DFEL(hidden=48, heads=4, layers=(1,) * 4, widths=(8, 16, 32, 48)),
}
