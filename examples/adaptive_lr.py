"""A character model on Python's own manual; every change of the rate is told.

The rate is far too low: `lr.search` finds a better one, `lr.adaptive` goes on from it.
Run with `python examples/adaptive_lr.py`; it needs `optaxctl[flax]`.
"""

import pydoc_data.topics

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import optaxctl as octl

CONTEXT, STEPS, BATCH = 16, 400, 64

manual = "\n".join(pydoc_data.topics.topics.values()).encode("ascii", "replace")
symbols, codes = np.unique(np.frombuffer(manual, np.uint8), return_inverse=True)
windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)


class Model(nnx.Module):
    def __init__(self, rngs):
        self.table = nnx.Embed(len(symbols), 16, rngs=rngs)
        self.hidden = nnx.Linear(16 * CONTEXT, 96, rngs=rngs)
        self.out = nnx.Linear(96, len(symbols), rngs=rngs)

    def __call__(self, x):
        x = self.table(x).reshape(x.shape[0], -1)
        return self.out(nnx.relu(self.hidden(x)))


def loss_fn(model, batch):
    logits, labels = model(batch[:, :-1]), batch[:, -1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def train_step(model, optimizer, batch):
    loss, grads = nnx.value_and_grad(loss_fn)(model, batch)
    optimizer.update(model, grads, value=loss)


def sentence(gauges):
    name = octl.lr.Change(gauges["adapt/decision"]).name.lower()
    factor = gauges["adapt/scale"] / gauges["adapt/scale_before"]
    gain = 100 * gauges["adapt/improvement"]
    trend = f"fell by {gain:.1f} %" if gain > 0 else f"rose by {-gain:.1f} %"
    return f"{name}, {factor:.2f} times the rate, as the loss {trend}"


def main():
    model = Model(nnx.Rngs(0))
    controller = octl.together(
        guard=octl.guard(),
        search=octl.lr.search(),
        adapt=octl.lr.adaptive(STEPS, warmup=100),
    )
    inner = octl.inject(optax.adam, learning_rate=1e-5)
    tx = octl.control(inner, controller, snapshots=octl.Snapshots(every=20))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    rng, searching = np.random.default_rng(0), True
    for step in range(STEPS):
        batch = jnp.asarray(windows[rng.integers(0, len(windows), BATCH)], jnp.int32)
        train_step(model, optimizer, batch)
        now = octl.read(optimizer)
        if searching and now.gauges["search/phase"] == 2:
            print(f"step {step}: search over, the rate is {now.learning_rate:.1e}")
            searching = False
        elif now.gauges["adapt/decision"]:
            print(f"step {step}: {sentence(now.gauges)}, {now.learning_rate:.1e}")
    held_out = jnp.asarray(windows[::499], jnp.int32)
    print(f"loss {loss_fn(model, held_out):.2f} nats per character")


if __name__ == "__main__":
    main()
