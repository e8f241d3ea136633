"""A run that meets bad batches, an infinite pixel and a rate 1,000 times too high.

Run with `python examples/self_healing.py [figure.png]`; it needs `optaxctl[demo,plot]`.
"""

import sys

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

import optaxctl as octl

STEPS = 600
images, labels = load_digits(return_X_y=True)
images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
rate = lambda step: jnp.where(step < 300, 1e-3, 1.0)  # a bug: it should stay


def batch_of(step):
    rows = np.random.default_rng(step).integers(0, 1400, 32)
    batch = images[rows]
    if 100 <= step < 105:
        batch *= np.nan  # a broken file
    if step == 200:
        batch[0, 20] = np.inf
    return batch, labels[rows]


def loss_fn(params, x, y):
    logits = jax.nn.relu(jax.nn.relu(x @ params[0]) @ params[1]) @ params[2]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def train(tx, watch=lambda step, state: None):
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = zip(keys, (64, 64, 64), (64, 64, 10), strict=True)
    params = [jax.random.normal(k, (a, b)) * (2 / a) ** 0.5 for k, a, b in sizes]

    @jax.jit
    def step(params, state, x, y):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        params, state = octl.apply_gradients(tx, grads, state, params, value=loss)
        return params, state, loss_fn(params, images[1400:], labels[1400:])

    state, held_out = tx.init(params), np.empty(STEPS)
    for i in range(STEPS):
        params, state, held_out[i] = step(params, state, *batch_of(i))
        watch(i, state)
    return held_out


def main(figure=None):
    def watch(step, state):
        now = octl.read(state)
        if octl.last_decision(state).rewind:
            print(f"step {step}: back to a healthy state, rate x {now.lr_scale:.3g}")
        elif now.skipped:
            print(f"step {step}: refused, {', '.join(now.alarms)}")

    inner = octl.inject(optax.adam, learning_rate=rate)
    tx = octl.supervise(inner, snapshots=octl.Snapshots(every=20))
    curves = {"alone": train(optax.adam(rate)), "supervised": train(tx, watch)}
    print(", ".join(f"{name}: loss {x[-1]:.2f}" for name, x in curves.items()))
    if figure:
        axes = plt.subplots(figsize=(7, 4), layout="constrained")[1]
        axes.semilogy(curves["supervised"], label="supervised")
        axes.semilogy(curves["alone"], "k--", label="alone, until it is NaN")
        axes.set(xlabel="step", ylabel="held-out loss")
        axes.legend()
        plt.savefig(figure, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
