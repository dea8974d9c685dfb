"""Steps an exported Kuramoto-Sivashinsky model; needs TensorFlow and numpy, not tfunroll.

python scripts/export.py --run=runs/mine/WIG/0 --out=exported
python examples/step_saved_model.py exported
"""

import sys

import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
size = np.array([7.44, 9.2], np.float32)  # domain sizes, in units of 2 pi
x = np.arange(48) / 48
u = np.stack([np.cos(2 * np.pi * x), np.sin(4 * np.pi * x)]).astype(np.float32)[..., None]
state, params = tf.constant(u), {"domain_size": tf.constant(size)}
for frame in range(1, 51):
    state = model.step(state, params)
    if frame % 10 == 0:
        print(f"frame {frame}: rms {np.sqrt(np.mean(state.numpy() ** 2, (1, 2))).round(4)}")
