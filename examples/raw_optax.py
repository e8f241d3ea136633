"""Plain JAX and Optax: three changed lines make a training step refuse bad batches.

Run with `python examples/raw_optax.py`; it needs nothing but optaxctl.
"""

import jax
import jax.numpy as jnp
import optax

import optaxctl as octl


def mse(params, x, y):
    hidden = jnp.tanh(x @ params["in"])
    return jnp.mean((hidden @ params["out"] - y) ** 2)


def main():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (256, 4))
    y = jnp.sin(x @ jax.random.normal(keys[1], (4, 1)))
    params = {
        "in": jax.random.normal(keys[2], (4, 32)) / 2,
        "out": jax.random.normal(keys[3], (32, 1)) / 6,
    }

    # 1. Wrap the optimizer.
    tx = octl.control(
        octl.inject(optax.adamw, learning_rate=1e-2),
        octl.together(guard=octl.guard(), clip=octl.clip.zscore()),
    )
    opt_state = tx.init(params)

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(mse)(params, x, y)
        # 2. Hand over the loss.
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    for number in range(200):
        broken = number == 100
        batch = x.at[0].set(jnp.nan) if broken else x
        params, opt_state = step(params, opt_state, batch, y)
        if number in (0, 100, 199):
            # 3. Look, as rarely as you like.
            now = octl.read(opt_state)
            print(
                f"step {now.step:3}  loss {now.signals['loss']:.4f}  "
                f"refused {now.refused}  alarms {', '.join(now.alarms) or 'none'}"
            )
    print(f"final loss {float(mse(params, x, y)):.4f}, in spite of one NaN batch")


if __name__ == "__main__":
    main()
