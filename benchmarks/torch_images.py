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

    def __init__(self, block, layers, classes=7, caffe=False, sequential=False, small=False):
        super().__init__()
        c = 32 if small else 64
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

    def pooled(self, x):
        for name in self.trunk:
            x = getattr(self, name)(x)
        return x.mean((2, 3))

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


NETWORKS = {
    "resnet18": lambda _: ResNet(BasicBlock, (2, 2, 2, 2)),
    "resnet_small": lambda _: ResNet(BasicBlock, (1, 1, 2), small=True),
    "resnet50": lambda _: ResNet(Bottleneck, (3, 4, 6, 3)),
    "resnet50_caffe": lambda _: ResNet(Bottleneck, (3, 4, 6, 3), caffe=True),
    "eac_resnet50": lambda _: ResNet(Bottleneck, (3, 4, 6, 3), caffe=True, sequential=True),
    "ir50": lambda _: IR50(),
    "ir50_classifier": lambda _: IR50(classes=7),
}
