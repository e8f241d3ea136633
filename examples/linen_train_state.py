"""Flax linen: a TrainState that hands the loss over, and early stopping.

Run with `python examples/linen_train_state.py`; it needs `optaxctl[demo]`.
"""

import flax.linen as nn
import jax
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl


class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(10)(nn.relu(nn.Dense(64)(x)))


@jax.jit
def train_step(state, x, y):
    def cross_entropy(params):
        logits = state.apply_fn({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(cross_entropy)(state.params)
    # Flax's own TrainState has no way to pass `value=` on to the optimizer.
    return state.apply_gradients(grads=grads, value=loss)


@jax.jit
def evaluate(state, x, y):
    logits = state.apply_fn({"params": state.params}, x)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return loss, (logits.argmax(-1) == y).mean()


def main():
    images, labels = load_digits(return_X_y=True)
    x, x_val, y, y_val = train_test_split(
        (images / 16).astype("float32"), labels, test_size=0.25, random_state=0
    )
    model = Classifier()
    tx = octl.control(
        octl.inject(optax.adam, learning_rate=2e-2),
        octl.together(guard=octl.guard(), stop=octl.stop.patience(3)),
        observed=("val_loss",),
    )
    state = octl.linen.TrainState.create(
        apply_fn=model.apply,
        params=model.init(jax.random.key(0), x[:1])["params"],
        tx=tx,
    )
    for epoch in range(50):
        for start in range(0, len(x) - 127, 128):
            batch = slice(start, start + 128)
            state = train_step(state, x[batch], y[batch])
        val_loss, _ = evaluate(state, x_val, y_val)
        state = octl.observe(state, val_loss=val_loss)
        if stop := octl.read(state).stop:
            print(f"epoch {epoch}: stopped by {stop[0]}")
            break
    _, accuracy = evaluate(state, x_val, y_val)
    best = octl.read(state).gauges["stop/to_beat"]
    print(f"accuracy {100 * float(accuracy):.1f} %, best validation loss {best:.4f}")


if __name__ == "__main__":
    main()
