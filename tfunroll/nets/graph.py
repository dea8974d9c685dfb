"""The graph network: nodes are the cells of a grid, edges join neighbours."""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tfunroll.nets.base import Net
from tfunroll.nets.lanes import each, matrix, seeds
from tfunroll.nets.layers import leaky_relu


@keras.saving.register_keras_serializable("tfunroll")
class GraphNet(Net):
    """Message passing between neighbouring cells, residual in pairs.

        EdgeConv:  x_i ← mean over neighbours j of σ(W [x_i, x_j − x_i, r_j − r_i] + b)
        x ← EdgeConv(x);   ``depth`` pairs x ← EdgeConv(EdgeConv(x)) + x;   y = V x + c

    σ leaky ReLU of slope 0.01; r are the cells' centres over the mean distance of neighbours.
    Neighbours share a face: two in one dimension, four in two, fewer at a boundary that is not
    periodic and beside an obstacle, whose cells are no nodes: the output is zero there.

    Args:
      width: channels inside.
      depth: pairs.
      spacing: distance of neighbours per axis; all 1 if None.
      centres: cell centres of a curved grid, [*space, axis]; given by spacing if None. A periodic
        axis closes in space then, like the circle of an O-grid.
      mask: True in the cells that are nodes, [*space]; all if None.
      out_channels, boundary, seed, initial: see Net.
    References: Wang et al. (2019), doi:10.1145/3326362 (the edge convolution); List et al. (2025).
    """

    ARGUMENTS = ("width", "depth", "spacing", "centres", "mask", *Net.ARGUMENTS)

    def __init__(self, width, depth, spacing=None, centres=None, mask=None, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth, self.spacing = width, depth, spacing
        self.centres = None if centres is None else np.asarray(centres, float)
        self.mask = None if mask is None else np.asarray(mask, bool)
        self.first = self._edge_conv()
        self.pairs = [(self._edge_conv(), self._edge_conv()) for _ in range(depth)]
        self.last = self.dense(self.out_channels, dtype=self.variable_dtype)

    def _edge_conv(self):
        seed = next(self._seeds)
        return EdgeConv(self.width, len(self.boundary), seed=seed, dtype=self.dtype_policy)

    def call(self, x):
        space = x.shape[1:-1]
        graph = grid_graph(space, self.boundary, self.spacing, self.centres, self.mask)
        x = tf.gather(tf.reshape(x, [-1, space.num_elements(), x.shape[-1]]), graph.cells, axis=1)
        x = self.first(x, graph=graph)
        for conv1, conv2 in self.pairs:
            x = conv2(conv1(x, graph=graph), graph=graph) + x
        x = self.last(x)
        if len(graph.cells) < space.num_elements():
            node = np.full(space.num_elements(), len(graph.cells))  # of masked cells: one of zeros
            node[graph.cells] = np.arange(len(graph.cells))
            x = tf.gather(tf.pad(x, [[0, 0], [0, 1], [0, 0]]), node, axis=1)
        return tf.reshape(x, [-1, *space, self.out_channels])

    def get_config(self):
        arrays = {"centres": self.centres, "mask": self.mask}
        lists = {name: None if a is None else a.tolist() for name, a in arrays.items()}
        return {**super().get_config(), **lists}


@keras.saving.register_keras_serializable("tfunroll")
class EdgeConv(keras.layers.Layer):
    """x_i ← mean_j σ(W [x_i, x_j − x_i, r_j − r_i] + b) over the neighbours j of each node i.

    W is applied to nodes before messages are formed: for a sum of terms that is the same, and half
    the work. Called on [batch, node, channel] and a Graph by keyword.

    Args:
      units: output channels.
      dimensions: of space.
    """

    def __init__(self, units, dimensions, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dimensions, self.seed = units, dimensions, seed

    def build(self, input_shape):
        start = keras.initializers.GlorotUniform(seed=self.seed)
        shape = (2 * input_shape[-1] + self.dimensions, self.units)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer=start)
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def call(self, x, graph):
        channels = x.shape[-1]
        kernel = tf.convert_to_tensor(self.kernel)
        own, difference, position = tf.split(kernel, [channels, channels, self.dimensions], -2)
        both = matrix(x, tf.concat([own - difference, difference], -1))
        receiver, sender = tf.split(both, 2, -1)
        edges = self._edges(tf.constant(graph.offset, x.dtype), position)
        senders = tf.gather(sender, graph.neighbour, axis=1)  # [batch, node, neighbour, channel]
        messages = leaky_relu(each(tf.add, receiver[:, :, None] + senders, edges, 3))
        return tf.reduce_sum(messages * tf.constant(graph.weight[..., None], x.dtype), 2)

    def _edges(self, offset, position):
        """What a message knows of its edge, [node, neighbour, channel]; of K seeds in front."""
        bias = tf.convert_to_tensor(self.bias)
        if not (count := seeds(self.bias)):
            return tf.tensordot(offset, position, 1) + bias
        rows = tf.matmul(tf.reshape(offset, [-1, self.dimensions]), position) + bias[:, None]
        return tf.reshape(rows, [*count, *offset.shape[:-1], self.units])

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        names = ("units", "dimensions", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@dataclass(frozen=True)
class Graph:
    """Neighbours of every node, as many columns as the most that any node has.

    Attributes:
      cells: the cell of each node, [node].
      neighbour: node number, [node, column]; a missing one is the node itself, with weight 0.
      weight: 1 / number of neighbours, or 0, [node, column].
      offset: neighbour's centre − own centre over the mean distance, [node, column, axis].
    """

    cells: np.ndarray
    neighbour: np.ndarray
    weight: np.ndarray
    offset: np.ndarray


def grid_graph(shape, boundary, spacing=None, centres=None, mask=None) -> Graph:
    """The Graph of a grid's cells and their face neighbours; arguments as in GraphNet."""
    own = np.arange(np.prod(shape)).reshape(shape)
    mask = np.ones(shape, bool) if mask is None else mask
    columns, present, offsets = [], [], []
    for axis, kinds in enumerate(boundary):
        for side, step in enumerate((-1, 1)):
            other = np.roll(own, -step, axis)
            there = mask & mask.reshape(-1)[other]
            if kinds[side] != "periodic":
                edge = [slice(None)] * len(shape)
                edge[axis] = -1 if side else 0
                there[tuple(edge)] = False
            if centres is None:
                offset = np.zeros((*shape, len(shape)))
                offset[..., axis] = step * (spacing[axis] if spacing else 1.0)
            else:
                offset = centres.reshape(-1, len(shape))[other] - centres
            columns.append(np.where(there, other, own))
            present.append(there)
            offsets.append(np.where(there[..., None], offset, 0.0))
    cells = own[mask]
    node = np.zeros(own.size, int)
    node[cells] = np.arange(len(cells))
    present, offsets = np.stack(present, -1)[mask], np.stack(offsets, -2)[mask]
    distance = np.linalg.norm(offsets, axis=-1)[present].mean() if present.any() else 1.0
    return Graph(
        cells=cells,
        neighbour=node[np.stack(columns, -1)[mask]],
        weight=present / np.maximum(present.sum(-1, keepdims=True), 1),
        offset=offsets / distance,
    )
