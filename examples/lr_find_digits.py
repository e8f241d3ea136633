"""Find a learning rate for a Flax NNX model on handwritten digits, then use it.

Run with `python examples/lr_find_digits.py [figure.png]`; it needs `optaxctl[demo]`,
and `optaxctl[plot]` for the figure.
"""

import sys

import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl

images, labels = load_digits(return_X_y=True)
images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
x, test_x, y, test_y = train_test_split(
    images, labels, test_size=360, stratify=labels, random_state=1
)


def batches(seed, steps):
    """All batches of a run at once: leaves of shape (steps, 64, ...)."""
    rows = np.random.default_rng(seed).integers(0, len(x), (steps, 64))
    return x[rows], y[rows]


def build():
    rngs = nnx.Rngs(0)
    return nnx.Sequential(
        nnx.Linear(64, 256, rngs=rngs), nnx.relu, nnx.Linear(256, 10, rngs=rngs)
    )


def loss_fn(model, batch):
    images, labels = batch
    return optax.softmax_cross_entropy_with_integer_labels(model(images), labels).mean()


@nnx.jit
def train_step(model, optimizer, batch):
    loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
    optimizer.update(model, grads, value=loss)


def main(figure=None):
    model = build()
    # The finder trains a copy: it sees arrays only, and the model stays as it is.
    graph, params = nnx.split(model, nnx.Param)
    found = octl.lr_find(
        lambda params, batch: loss_fn(nnx.merge(graph, params), batch),
        params,
        batches(seed=0, steps=100),
        optimizer=optax.adamw,
    )
    print(found.summary())
    if figure:
        octl.report.lr_find(found).savefig(figure)
        print(f"The curve is in {figure}.")

    optimizer = nnx.Optimizer(model, optax.adamw(found.suggestion), wrt=nnx.Param)
    for batch in zip(*batches(seed=1, steps=200), strict=True):
        train_step(model, optimizer, batch)
    accuracy = np.mean(model(test_x).argmax(-1) == test_y)
    print(f"test accuracy {100 * accuracy:.1f} % after 200 steps")


if __name__ == "__main__":
    main(*sys.argv[1:])
