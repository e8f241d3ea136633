"""The two jobs every step is measured on: one small and real, one large."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

LAYERS, WIDTH, HEADS, VOCABULARY, LENGTH = 10, 256, 8, 8192, 128


class Job(NamedTuple):
    """Parameters, a batch, and `loss(params, batch)`."""

    name: str
    params: Any
    loss: Callable[[Any, Any], jax.Array]
    batch: Any


def mlp() -> Job:
    """A 64-280-280-10 network, 99 690 parameters, on 64 of scikit-learn's digits."""
    images, classes = load_digits(return_X_y=True)
    batch = (jnp.asarray(images[:64] / 16, jnp.float32), jnp.asarray(classes[:64]))
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = (64, 280, 280, 10)
    params = [
        _dense(key, fan_in, fan_out)
        for key, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]
    return Job("mlp", params, _mlp_loss, batch)


def transformer() -> Job:
    """A decoder of 10 028 032 parameters in 124 leaves, 4 sequences of 128 tokens."""
    keys = iter(jax.random.split(jax.random.key(0), 4 * LAYERS + 2))
    blocks = [
        {
            "norm_1": _norm(),
            "qkv": _dense(next(keys), WIDTH, 3 * WIDTH),
            "out": _dense(next(keys), WIDTH, WIDTH),
            "norm_2": _norm(),
            "up": _dense(next(keys), WIDTH, 4 * WIDTH),
            "down": _dense(next(keys), 4 * WIDTH, WIDTH),
        }
        for _ in range(LAYERS)
    ]
    params = {
        "tokens": 0.02 * jax.random.normal(next(keys), (VOCABULARY, WIDTH)),
        "positions": 0.02 * jax.random.normal(next(keys), (LENGTH, WIDTH)),
        "blocks": blocks,
        "norm": _norm(),
    }
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (4, LENGTH + 1))
    return Job("transformer", params, _transformer_loss, jnp.asarray(tokens, jnp.int32))


def _dense(key: jax.Array, fan_in: int, fan_out: int) -> dict[str, jax.Array]:
    w = jax.random.normal(key, (fan_in, fan_out)) * jnp.sqrt(2 / fan_in)
    return {"w": w.astype(jnp.float32), "b": jnp.zeros(fan_out)}


def _norm() -> dict[str, jax.Array]:
    return {"scale": jnp.ones(WIDTH), "bias": jnp.zeros(WIDTH)}


def _cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, -1) - chosen)


def _mlp_loss(params: Any, batch: Any) -> jax.Array:
    x, y = batch
    for layer in params[:-1]:
        x = jax.nn.relu(_affine(layer, x))
    return _cross_entropy(_affine(params[-1], x), y)


def _affine(layer: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jnp.matmul(x, layer["w"]) + layer["b"]


def _layer_norm(norm: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    return jax.nn.standardize(x, axis=-1) * norm["scale"] + norm["bias"]


def _attention(block: Any, x: jax.Array) -> jax.Array:
    batch, length, _ = x.shape
    qkv = _affine(block["qkv"], x).reshape(batch, length, 3, HEADS, WIDTH // HEADS)
    q, k, v = (qkv[:, :, i] for i in range(3))
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return _affine(block["out"], y.reshape(batch, length, WIDTH))


def _transformer_loss(params: Any, batch: jax.Array) -> jax.Array:
    inputs, targets = batch[:, :-1], batch[:, 1:]
    x = params["tokens"][inputs] + params["positions"]
    for block in params["blocks"]:
        x = x + _attention(block, _layer_norm(block["norm_1"], x))
        hidden = jax.nn.gelu(_affine(block["up"], _layer_norm(block["norm_2"], x)))
        x = x + _affine(block["down"], hidden)
    logits = jnp.matmul(_layer_norm(params["norm"], x), params["tokens"].T)
    return _cross_entropy(logits, targets)
