"""A tiny mixture of experts, each group of parameters with a controller of its own.

The router hardly moves, the body carefully, the experts quickly. What refuses a step
stands outside, so that it refuses the step of every group; rates stand inside.

Run with `python examples/moe_groups.py`; it needs no extra.
"""

import jax
import jax.numpy as jnp
import optax

import optaxctl as octl

STEPS, EXPERTS, WIDTH = 300, 4, 32


def init(key):
    keys = jax.random.split(key, 4)
    return {
        "body": 0.5 * jax.random.normal(keys[0], (2, WIDTH)),
        "router": 0.1 * jax.random.normal(keys[1], (WIDTH, EXPERTS)),
        "experts": 0.2 * jax.random.normal(keys[2], (EXPERTS, WIDTH, WIDTH)),
        "head": 0.2 * jax.random.normal(keys[3], (WIDTH,)),
    }


def predict(params, x):
    h = jnp.tanh(x @ params["body"])
    gates = jax.nn.softmax(h @ params["router"])
    answers = jnp.tanh(jnp.einsum("bi,eio->beo", h, params["experts"]))
    return jnp.einsum("be,beo,o->b", gates, answers, params["head"])


def loss_fn(params, x, y):
    return jnp.mean((predict(params, x) - y) ** 2)


def group(rate, **preset):
    adaptive = octl.lr.adaptive(STEPS, scale="log", **preset)
    return octl.control(octl.inject(optax.adam, learning_rate=rate), adaptive)


GROUPS = {
    "router": group(3e-4, **octl.lr.MOE),
    "body": group(1e-3, **octl.lr.CONSERVATIVE),
    "experts": group(3e-3, **octl.lr.AGGRESSIVE),
}
LABELS = {"body": "body", "router": "router", "experts": "experts", "head": "body"}
tx = octl.control(optax.partition({**GROUPS}, LABELS), octl.guard())


@jax.jit
def train_step(params, state, key):
    x = jax.random.uniform(key, (128, 2), minval=-2, maxval=2)
    y = jnp.where(x[:, 0] > 0, jnp.sin(2 * x[:, 1]), x[:, 1] ** 2 - 1)
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    params, state = octl.apply_gradients(tx, grads, state, params, value=loss)
    return params, state, loss


def main():
    params = init(jax.random.key(0))
    state = tx.init(params)
    for step, key in enumerate(jax.random.split(jax.random.key(1), STEPS), 1):
        params, state, loss = train_step(params, state, key)
        if step % 100 == 0:
            print(f"step {step}  loss {loss:.3f}")
    # Groups come in tree order: the outer control, then the groups by name.
    _, *inside = octl.read(state).groups
    for name, now in zip(sorted(GROUPS), inside, strict=True):
        print(
            f"{name:8} learning rate {now.learning_rate:.1e}, {now.lr_scale:.2f} times "
            f"its start, after {now.gauges['adjustments']} changes"
        )


if __name__ == "__main__":
    main()
