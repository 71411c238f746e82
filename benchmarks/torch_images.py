"""The convolutional image networks in PyTorch, for benchmarks only: under the published keys."""

from torch import nn
from torch.nn import functional as F


def _shortcut(c, o, stride):
    if stride == 1 and c == o:
        return None
    return nn.Sequential(nn.Conv2d(c, o, 1, stride, bias=False), nn.BatchNorm2d(o))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, c, width, stride, caffe):
        super().__init__()
        self.conv1 = nn.Conv2d(c, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.downsample = _shortcut(c, width, stride)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, c, width, stride, caffe):
        super().__init__()
        first, second = (stride, 1) if caffe else (1, stride)
        self.conv1 = nn.Conv2d(c, width, 1, first, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(c, 4 * width, stride)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """With `sequential` the trunk is one Sequential named features, as in EAC's checkpoint."""

    def __init__(
        self, block, layers, classes=7, caffe=False, sequential=False, small=False, width=None
    ):
        super().__init__()
        c = width or (32 if small else 64)
        kernel, stride = (5, 4) if small else (7, 2)
        trunk = {
            "conv1": nn.Conv2d(3, c, kernel, stride, kernel // 2, bias=False),
            "bn1": nn.BatchNorm2d(c),
            "relu": nn.ReLU(),
            "maxpool": nn.MaxPool2d(3, 2, 0, ceil_mode=True) if caffe else nn.MaxPool2d(3, 2, 1),
        }
        if small:
            del trunk["maxpool"]
        width = c
        for stage, count in enumerate(layers):
            blocks = []
            for i in range(count):
                blocks.append(block(c, width * 2**stage, 2 if stage and i == 0 else 1, caffe))
                c = width * 2**stage * block.expansion
            trunk[f"layer{stage + 1}"] = nn.Sequential(*blocks)
        trunk = {"features": nn.Sequential(*trunk.values())} if sequential else trunk
        self.trunk = list(trunk)
        for name, module in trunk.items():
            self.add_module(name, module)
        if classes:
            self.fc = nn.Linear(c, classes)

    def maps(self, x):
        for name in self.trunk:
            x = getattr(self, name)(x)
        return x

    def pooled(self, x):
        return self.maps(x).mean((2, 3))

    def forward(self, x):
        return self.fc(self.pooled(x))


class IRUnit(nn.Module):
    def __init__(self, c, o, stride):
        super().__init__()
        self.stride = stride
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(c),
            nn.Conv2d(c, o, 3, 1, 1, bias=False),
            nn.PReLU(o),
            nn.Conv2d(o, o, 3, stride, 1, bias=False),
            nn.BatchNorm2d(o),
        )
        self.shortcut_layer = None if c == o else _shortcut(c, o, stride)

    def forward(self, x):
        if self.shortcut_layer is None:
            return self.res_layer(x) + x[:, :, :: self.stride, :: self.stride]
        return self.res_layer(x) + self.shortcut_layer(x)


def ir_trunk(units, channels, strides, kernel=3, stride=1):
    stem = nn.Sequential(
        nn.Conv2d(3, channels[0], kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(channels[0]),
        nn.PReLU(channels[0]),
    )
    body, c = [], channels[0]
    for count, o, stride in zip(units, channels, strides, strict=True):
        for i in range(count):
            body.append(IRUnit(c, o, stride if i == 0 else 1))
            c = o
    return stem, nn.Sequential(*body)


class IR50(nn.Module):
    """The embedder, or with `classes` the classifier over the mean of the last map."""

    def __init__(self, classes=0):
        super().__init__()
        self.input_layer, self.body = ir_trunk((3, 4, 14, 3), (64, 128, 256, 512), (2, 2, 2, 2))
        self.fc = nn.Linear(512, classes) if classes else None
        if not classes:
            self.output_layer = nn.Sequential(
                nn.BatchNorm2d(512),
                nn.Dropout(0.5),
                nn.Flatten(),
                nn.Linear(512 * 7 * 7, 512),
                nn.BatchNorm1d(512),
            )

    def forward(self, x):
        x = self.body(self.input_layer(x))
        return self.output_layer(x) if self.fc is None else self.fc(x.mean((2, 3)))


class ConvBlock(nn.Module):
    def __init__(self, c, o, kernel=1, stride=1, padding=0, groups=1, active=True):
        super().__init__()
        self.conv = nn.Conv2d(c, o, kernel, stride, padding, groups=groups, bias=False)
        self.bn, self.prelu = nn.BatchNorm2d(o), nn.PReLU(o) if active else None

    def forward(self, x):
        x = self.bn(self.conv(x))
        return x if self.prelu is None else self.prelu(x)


class DepthWise(nn.Module):
    def __init__(self, c, o, hidden, stride=1, residual=False):
        super().__init__()
        self.residual, self.conv = residual, ConvBlock(c, hidden)
        self.conv_dw = ConvBlock(hidden, hidden, 3, stride, 1, hidden)
        self.project = ConvBlock(hidden, o, active=False)

    def forward(self, x):
        y = self.project(self.conv_dw(self.conv(x)))
        return x + y if self.residual else y


def depth_wise_chain(count, c, hidden):
    blocks = [DepthWise(c, c, hidden, residual=True) for _ in range(count)]
    return nn.ModuleDict({"model": nn.Sequential(*blocks)})


class MobileFaceNet(nn.Module):
    """`features` reads no further than the map for S2D; with `points` 0 there is no more."""

    def __init__(self, points=68, width=64, units=(4, 6, 2), size=112):
        super().__init__()
        w = width
        self.conv1 = ConvBlock(3, w, 3, 2, 1)
        self.conv2_dw = ConvBlock(w, w, 3, 1, 1, w)
        self.conv_23 = DepthWise(w, w, 2 * w, 2)
        self.conv_3 = depth_wise_chain(units[0], w, 2 * w)
        self.conv_34 = DepthWise(w, 2 * w, 4 * w, 2)
        self.conv_4 = depth_wise_chain(units[1], 2 * w, 4 * w)
        if points:
            self.conv_45 = DepthWise(2 * w, 2 * w, 8 * w, 2)
            self.conv_5 = depth_wise_chain(units[2], 2 * w, 4 * w)
            self.conv_6_sep = ConvBlock(2 * w, 8 * w)
            self.output_layer = nn.Module()
            window = ConvBlock(8 * w, 8 * w, size // 16, groups=8 * w, active=False)
            self.output_layer.conv_6_dw = window
            self.output_layer.linear = nn.Linear(8 * w, 2 * points, bias=False)
            self.output_layer.bn = nn.BatchNorm1d(2 * points)

    def features(self, x):
        x = self.conv_3["model"](self.conv_23(self.conv2_dw(self.conv1(x))))
        return self.conv_4["model"](self.conv_34(x))

    def forward(self, x):
        out = self.output_layer
        x = self.conv_6_sep(self.conv_5["model"](self.conv_45(self.features(x))))
        return out.bn(out.linear(out.conv_6_dw(x).flatten(1)))


NETWORKS = {
    "resnet18": lambda _: ResNet(BasicBlock, (2, 2, 2, 2)),
    "resnet_small": lambda _: ResNet(BasicBlock, (1, 1, 2), small=True),
    "resnet50": lambda _: ResNet(Bottleneck, (3, 4, 6, 3)),
    "resnet50_caffe": lambda _: ResNet(Bottleneck, (3, 4, 6, 3), caffe=True),
    "eac_resnet50": lambda _: ResNet(Bottleneck, (3, 4, 6, 3), caffe=True, sequential=True),
    "ir50": lambda _: IR50(),
    "ir50_classifier": lambda _: IR50(classes=7),
    "mobilefacenet": lambda _: MobileFaceNet(),
    "mobilefacenet_small": lambda o: MobileFaceNet(size=32, **o),
}
