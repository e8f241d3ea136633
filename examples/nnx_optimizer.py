"""Flax NNX: nnx.Optimizer passes the loss on, and `observe` writes in place.

Run with `python examples/nnx_optimizer.py`; it needs `optaxctl[flax]`.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import optaxctl as octl


def mse(model, x, y):
    return jnp.mean((model(x) - y) ** 2)


@nnx.jit
def train_step(model, optimizer, x, y):
    loss, grads = nnx.value_and_grad(mse)(model, x, y)
    optimizer.update(model, grads, value=loss)


@nnx.jit
def evaluate(model, optimizer, x, y):
    # No result to thread through: the variables of the optimizer are written.
    octl.observe(optimizer, val_loss=mse(model, x, y))


def main():
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.uniform(keys[0], (256, 1), minval=-3, maxval=3)
    y = jnp.sin(2 * x) + 0.1 * jax.random.normal(keys[1], x.shape)
    x_val = jnp.linspace(-3, 3, 64)[:, None]
    y_val = jnp.sin(2 * x_val)

    rngs = nnx.Rngs(keys[2])
    model = nnx.Sequential(
        nnx.Linear(1, 64, rngs=rngs), nnx.tanh, nnx.Linear(64, 1, rngs=rngs)
    )
    tx = octl.control(
        octl.inject(optax.adam, learning_rate=3e-2),
        octl.together(guard=octl.guard(), rate=octl.lr.plateau(3, factor=0.5)),
        observed=("val_loss",),
    )
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    for epoch in range(60):
        for _ in range(10):
            train_step(model, optimizer, x, y)
        evaluate(model, optimizer, x_val, y_val)
        if epoch % 15 == 14:
            now = octl.read(optimizer)
            print(
                f"step {now.step}  validation loss {now.signals['val_loss']:.4f}  "
                f"learning rate {now.learning_rate:.2e}  "
                f"patience left {now.gauges['rate/patience_left']}"
            )


if __name__ == "__main__":
    main()
