"""Equinox: control the arrays of a module, and set the rate without recompiling.

Run with `python examples/equinox_model.py`; it needs `equinox`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import optaxctl as octl


def mse(model, x, y):
    return jnp.mean((jax.vmap(model)(x) - y) ** 2)


def main():
    keys = jax.random.split(jax.random.key(0), 2)
    x = jax.random.normal(keys[0], (256, 2))
    y = x[:, :1] * x[:, 1:]
    model = eqx.nn.MLP(2, 1, width_size=32, depth=2, key=keys[1])
    tx = octl.control(octl.inject(optax.adamw, learning_rate=1e-2), octl.guard())
    opt_state = tx.init(eqx.filter(model, eqx.is_inexact_array))
    traces = []

    @eqx.filter_jit
    def step(model, opt_state, x, y):
        traces.append(None)
        loss, grads = eqx.filter_value_and_grad(mse)(model, x, y)
        params, static = eqx.partition(model, eqx.is_inexact_array)
        # Update and apply in one; `tx.update` and `eqx.apply_updates` do as well.
        params, opt_state = octl.apply_gradients(
            tx, grads, opt_state, params, value=loss
        )
        return eqx.combine(params, static), opt_state

    for learning_rate in (1e-2, 3e-3, 1e-3):
        opt_state = octl.set_lr(opt_state, learning_rate)
        for _ in range(100):
            model, opt_state = step(model, opt_state, x, y)
        now = octl.read(opt_state)
        print(
            f"step {now.step}  learning rate {now.learning_rate:.0e}  "
            f"loss {now.signals['loss']:.5f}"
        )
    print(f"three rates, {len(traces)} trace")


if __name__ == "__main__":
    main()
