"""32 seeds of a Flax MLP, each with early stopping of its own, as one program.

Run with `python -m examples.population`; it needs `optaxctl[demo]`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl

SEEDS, MAX_EPOCHS, BATCH = 32, 60, 64

images, labels = load_digits(return_X_y=True)
images = (images / 16).astype("float32")
split = train_test_split(images, labels, test_size=0.25, random_state=0)
x, x_val, y, y_val = map(jnp.asarray, split)
model: Any = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(10)])
tx = optax.sgd(0.1, momentum=0.9)


def loss_fn(params, x, y):
    logits = model.apply(params, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def init(key):
    params = model.init(key, x[:1])
    return key, params, tx.init(params)


def epoch(state):
    key, params, opt_state = state
    key, shuffle = jax.random.split(key)
    order = jax.random.permutation(shuffle, len(x))

    def step(carry, rows):
        params, opt_state = carry
        grads = jax.grad(loss_fn)(params, x[rows], y[rows])
        updates, opt_state = tx.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), None

    batches = order[: len(x) // BATCH * BATCH].reshape(-1, BATCH)
    (params, opt_state), _ = jax.lax.scan(step, (params, opt_state), batches)
    return (key, params, opt_state), {"val_loss": loss_fn(params, x_val, y_val)}


def main():
    keys, stopper = jax.random.split(jax.random.key(0), SEEDS), octl.stop.patience(3)
    train = octl.population(init, epoch, stopper, max_updates=MAX_EPOCHS)
    ended = train(keys)
    for seed in range(SEEDS):
        lane = jax.tree.map(lambda leaf, i=seed: leaf[i], ended)
        why = octl.explain(octl.decide(stop=lane.stop), stopper, lane.controller)
        print(f"seed {seed:2}, epoch {lane.updates:2}: {why}")

    run = octl.until(epoch, stopper, max_updates=MAX_EPOCHS)
    single = jax.jit(lambda key: run(init(key)))
    alone = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(single, keys))
    equal = jax.tree.map(lambda a, b: bool((a == b).all()), ended, alone)
    print("Each is its single run bit for bit:", jax.tree.all(equal))

    by_vmap = octl.population(init, epoch, stopper, max_updates=MAX_EPOCHS, by="vmap")
    side = by_vmap(keys)
    print("Side by side the same epochs:", (side.updates == ended.updates).all())
    pairs = zip(*(jax.tree.leaves(e.state[1:]) for e in (side, ended)), strict=True)
    largest = max(jnp.abs(a - b).max() for a, b in pairs)
    print(f"and the same parameters: {largest < 1e-5}, to {largest:.0e}")


if __name__ == "__main__":
    main()
