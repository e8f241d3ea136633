"""Haiku: `supervise`, the preset for a run that nobody watches.

Run with `python examples/haiku_model.py`; it needs `dm-haiku` and scikit-learn.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_iris

import optaxctl as octl


def main():
    features, labels = load_iris(return_X_y=True)
    x = np.asarray(features, np.float32)
    x = (x - x.mean(0)) / x.std(0)
    model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([32, 3])(x)))
    params = model.init(jax.random.key(0), x)
    tx = octl.supervise(optax.adamw(1e-2))
    opt_state = tx.init(params)

    def cross_entropy(params, x, y):
        logits = model.apply(params, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(params, opt_state, x, y):
        loss, grads = jax.value_and_grad(cross_entropy)(params, x, y)
        updates, opt_state = tx.update(grads, opt_state, params, value=loss)
        return optax.apply_updates(params, updates), opt_state

    rng = np.random.default_rng(0)
    for number in range(300):
        rows = rng.integers(0, len(x), size=32)
        batch = x[rows]
        if number == 150:
            batch = 1e4 * batch  # A sensor fails: finite, and ruinous.
        params, opt_state = step(params, opt_state, batch, labels[rows])
        if number == 150:
            print(f"step 150 alarms: {', '.join(octl.read(opt_state).alarms)}")
    now = octl.read(opt_state)
    accuracy = (model.apply(params, x).argmax(-1) == jnp.asarray(labels)).mean()
    print(f"{now.accepted} steps, {now.refused} refused, {now.clipped} clipped")
    print(f"accuracy {100 * float(accuracy):.1f} %, asked to stop: {bool(now.stop)}")


if __name__ == "__main__":
    main()
