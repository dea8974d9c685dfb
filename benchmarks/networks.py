"""Forward and gradient of networks: FNO against neuraloperator, ResNet, U-Net against PyTorch.

The same widths, modes and layers on both sides, random data, gradient by all weights; ours compiled
by XLA. The graph net is compared with our ResNet of the same weight count on the 48-node ring.
"""

from absl import app, flags
from side_by_side import compare, limit_threads, show

flags.DEFINE_list("cases", ["fno", "resnet", "unet", "graph"], "which")
flags.DEFINE_integer("batch", 8, "samples")
FLAGS = flags.FLAGS


def ours(name, shape, channels, **options):
    """A function that computes one network's loss and gradient, and the network's weight count."""
    import numpy as np
    import tensorflow as tf

    from tfunroll import nets
    from tfunroll.core import Domain

    domain = Domain(shape, (("periodic", "periodic"),) * len(shape))
    net = nets.build(name, domain, *channels, **options)
    x = np.random.default_rng(0).standard_normal((FLAGS.batch, *shape, channels[0]))
    x = tf.constant(x, tf.float32)

    @tf.function(jit_compile=True, autograph=False)
    def run(x):
        weights = [v.value for v in net.trainable_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            loss = tf.reduce_mean(net(x) ** 2)
        return loss, tape.gradient(loss, weights)

    return lambda: run(x)[0].numpy(), net.count_params()


def peer(net, shape, channels):
    """The same for a torch module."""
    import torch

    x = torch.randn(FLAGS.batch, channels[0], *shape)

    def run():
        net.zero_grad()
        loss = (net(x) ** 2).mean()
        loss.backward()
        return loss.item()

    return run, sum(p.numel() * (2 if p.is_complex() else 1) for p in net.parameters())


def torch_conv(inputs, outputs, kernel=3):
    from torch import nn

    more = {"padding": kernel // 2, "padding_mode": "circular"} if kernel > 1 else {}
    return nn.Conv2d(inputs, outputs, kernel, **more)


def torch_resnet(channels, widths):
    """The ResNet of a list of widths."""
    from torch import nn
    from torch.nn.functional import leaky_relu

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            sizes = list(zip((channels[0], *widths), widths, strict=False))
            self.first = nn.ModuleList(torch_conv(i, o) for i, o in sizes)
            self.second = nn.ModuleList(torch_conv(o, o) for _, o in sizes)
            self.skip = nn.ModuleList(torch_conv(i, o, 1) for i, o in sizes)
            self.last = torch_conv(widths[-1], channels[1])

        def forward(self, x):
            for first, second, skip in zip(self.first, self.second, self.skip, strict=True):
                x = leaky_relu(second(leaky_relu(first(x))) + skip(x))
            return self.last(x)

    return ResNet()


def torch_unet(channels, width, depth):
    """The plain U-Net."""
    import torch
    from torch import nn
    from torch.nn.functional import avg_pool2d, interpolate, leaky_relu

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width * 2**level for level in range(depth + 1)]
            down = zip((channels[0], *widths), widths, strict=False)
            up = zip(widths[:0:-1], widths[-2::-1], strict=True)
            self.down, self.up = nn.ModuleList(), nn.ModuleList()
            for i, o in down:
                self.down.append(nn.ModuleList([torch_conv(i, o), torch_conv(o, o)]))
            for i, o in up:
                self.up.append(nn.ModuleList([torch_conv(i + o, o), torch_conv(o, o)]))
            self.last = torch_conv(width, channels[1])

        def forward(self, x):
            levels = []
            for first, second in self.down:
                x = avg_pool2d(levels[-1], 2) if levels else x
                levels.append(leaky_relu(second(leaky_relu(first(x)))))
            x = levels.pop()
            for first, second in self.up:
                x = torch.cat([levels.pop(), interpolate(x, scale_factor=2)], 1)
                x = leaky_relu(second(leaky_relu(first(x))))
            return self.last(x)

    return UNet()


def neural_operator(shape, channels, width, modes):
    """neuraloperator's FNO with no channel MLPs and no grid among its inputs, as ours."""
    from neuralop.models import FNO

    return FNO(
        n_modes=(2 * modes - 1,) * len(shape),
        in_channels=channels[0],
        out_channels=channels[1],
        hidden_channels=width,
        n_layers=4,
        lifting_channel_ratio=0,
        projection_channel_ratio=1,
        positional_embedding=None,
        use_channel_mlp=False,
    )


def pairs():
    """(case, ours, peer), one after the other."""
    planes = ((32, 32), (128, 128))
    if "fno" in FLAGS.cases:
        for shape, channels, width, modes in (
            ((48,), (2, 1), 27, 16),
            *((plane, (4, 2), 23, 8) for plane in planes),
        ):
            net = neural_operator(shape, channels, width, modes)
            options = {"width": width, "depth": 4, "modes": modes}
            name = f"FNO {'x'.join(map(str, shape))}, width {width}, {modes} modes"
            yield name, ours("fno", shape, channels, **options), peer(net, shape, channels)
    if "resnet" in FLAGS.cases:
        for plane in planes:
            for widths in ((8, 20, 30, 20, 8), (16, 32, 64, 128, 64, 32, 16)):
                net = peer(torch_resnet((4, 2), widths), plane, (4, 2))
                name = f"ResNet {plane[0]}x{plane[1]}, {len(widths)} blocks"
                yield name, ours("resnet", plane, (4, 2), widths=widths), net
    if "unet" in FLAGS.cases:
        for plane in planes:
            net = peer(torch_unet((4, 2), 16, 3), plane, (4, 2))
            name = f"U-Net {plane[0]}x{plane[1]}, width 16"
            yield name, ours("unet", plane, (4, 2), width=16, depth=3), net
    if "graph" in FLAGS.cases:
        for size in ("32k", "0.2M"):
            graph = ours("graph", (48,), (2, 1), size=size)
            yield f"graph net on the ring, {size}", graph, ours("resnet", (48,), (2, 1), size=size)


def main(_):
    limit_threads(FLAGS.threads)
    import torch

    if FLAGS.threads:
        torch.set_num_threads(FLAGS.threads)
    rows = []
    for case, (function, weights), (theirs, their_weights) in pairs():
        case = f"{case} ({weights:,} weights, peer {their_weights:,})"
        more = {"batch": FLAGS.batch, "threads": FLAGS.threads}
        rows.append(compare("networks", case, function, theirs, FLAGS.pairs, **more))
        print(f"{case}: {rows[-1]['ratio']:.2f}", flush=True)
    show(rows, ("tensorflow", "keras", "torch", "neuraloperator"), FLAGS.json)


if __name__ == "__main__":
    app.run(main)
