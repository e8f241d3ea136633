"""Train an MLP on handwritten digits, with the run under control.

    pip install "optaxctl[demo]"
    python examples/digits_nnx.py

`optaxctl demo` is this program with a progress bar. Stop it and run it again: it goes
on from its last checkpoint in runs/digits, and ends as if it had never stopped.
"""

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl

SEED, EPOCHS, BATCH = 0, 60, 64

# 1797 images of 8 x 8 pixels: 1197 to learn from, 240 to steer by, 360 to be judged by.
images, labels = load_digits(return_X_y=True)
images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
x, test_x, y, test_y = train_test_split(
    images, labels, test_size=360, stratify=labels, random_state=1
)
x, val_x, y, val_y = train_test_split(x, y, test_size=240, stratify=y, random_state=1)
steps = len(x) // BATCH


def batches(epoch):
    """The same batches whenever this epoch is run, so that a run can be resumed."""
    rng = np.random.default_rng([SEED, epoch])
    order = rng.permutation(len(x))
    for n in range(steps):
        chosen = order[n * BATCH : (n + 1) * BATCH]
        noise = 0.2 * rng.standard_normal((BATCH, 64), np.float32)
        corrupted = (epoch, n) == (2, 5)  # one batch on the way is NaN throughout
        yield x[chosen] + (np.nan if corrupted else noise), y[chosen]


rngs = nnx.Rngs(SEED)
model = nnx.Sequential(
    nnx.Linear(64, 256, rngs=rngs),
    nnx.relu,
    nnx.Linear(256, 256, rngs=rngs),
    nnx.relu,
    nnx.Linear(256, 10, rngs=rngs),
)

# What decides about the run: each part moves one thing, together they are a controller.
course = octl.schedules.cosine((EPOCHS - 2) * steps)
controller = octl.together(
    # The learning rate: two epochs of warm-up, then a cosine, ...
    schedule=octl.lr.follow(octl.schedules.warmup(course, 2 * steps)),
    # ... halved whenever the validation loss has not improved for 4 evaluations.
    plateau=octl.lr.plateau(4, factor=0.5, monitor="val_loss"),
    # Gradients that stand out from their recent past are clipped.
    clip=octl.clip.zscore(),
    # A step with a NaN in loss or gradient is refused and changes nothing.
    guard=octl.guard(),
    # After 10 evaluations without a better validation loss, enough.
    stop=octl.stop.patience(10, monitor="val_loss"),
)
adamw = octl.inject(optax.adamw, learning_rate=3e-3)
# The loss and the gradient norm are seen in every step; val_loss is handed over later.
tx = octl.control(adamw, controller, observed=("val_loss",))
optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)


@nnx.jit
def step(carry, batch):
    model, optimizer = carry
    images, labels = batch

    def loss(model):
        targets = optax.smooth_labels(jnp.eye(10)[labels], 0.1)
        return optax.softmax_cross_entropy(model(images), targets).mean()

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads, value=value)  # `value` is what control asks for


@nnx.jit
def measure(model, images, labels):
    logits = model(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, 100 * (logits.argmax(-1) == labels).mean()


def evaluate(carry):
    loss, accuracy = measure(carry[0], val_x, val_y)
    return {"val_loss": loss, "val_accuracy": accuracy}


with octl.checkpoint.Checkpoints("runs/digits") as checkpoints:
    for epoch in octl.loop.epochs(
        step,
        (model, optimizer),
        batches,
        evaluate=evaluate,
        max_epochs=EPOCHS,
        checkpoints=checkpoints,
        save_every=5,
        # NNX objects change in place; this is how they become arrays and back.
        pure=octl.nnx.pure,
        restore=octl.nnx.restore,
    ):
        print(epoch)
        if epoch.reason:  # the last one
            print(epoch.reason)
            # The best parameters, not the last ones.
            nnx.update(model, epoch.best_params)

_, accuracy = measure(model, test_x, test_y)
print(f"test accuracy {accuracy:.1f} %")
