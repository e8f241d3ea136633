"""What people read after their commonest mistakes, word for word."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
import optax.contrib
import pytest

import optaxctl as octl
from tests.views._steps import PARAMS, gradients, one

SGD = optax.sgd(0.1)
VAL = ("val_loss",)


def schedule(step: Any) -> Any:
    return 0.1 * step


def step(tx: Any, **extra: Any) -> None:
    tx.update(gradients(0), tx.init(PARAMS), PARAMS, **extra)


def guarded(**extra: Any) -> None:
    step(octl.control(SGD, octl.guard()), **extra)


def mixed() -> octl.Controller:
    return one()._replace(signals=frozenset({"loss", "val_loss"}))


def evaluated() -> Any:
    return octl.control(SGD, octl.stop.patience(3), observed=VAL)


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a scalar is wanted": (
        lambda: guarded(value=jnp.ones(3)),
        TypeError,
        "`watch.nonfinite` reads the signal `loss`, which must be a scalar, got shape "
        "(3,). Reduce it first, for example with `jnp.mean`.",
    ),
    "the loss comes twice": (
        lambda: guarded(value=1.0, loss=1.0),
        TypeError,
        "`update` got both `value=` and `loss=`, which are the same signal. Pass the "
        "loss once, as `value=`.",
    ),
    "a computed name is handed over": (
        lambda: guarded(value=1.0, grad_norm=1.0),
        TypeError,
        "`update` got `grad_norm=`, which is measured here. Give your own quantity "
        "another name.",
    ),
    "an observed name is handed over": (
        lambda: step(evaluated(), val_loss=1.0),
        TypeError,
        "`val_loss` is declared as observed and was handed to `update` too. Take it "
        "out of `observed`, or hand it over by `observe` only.",
    ),
    "a controller is not called": (
        lambda: octl.together(guard=octl.guard),  # pyright: ignore
        TypeError,
        "`together(guard=...)` must be a controller. Did you forget to call it?",
    ),
    "no controller": (
        lambda: octl.control(SGD, 3),  # pyright: ignore
        TypeError,
        "`control(controller=...)` must be a controller, got 3.",
    ),
    "one name and not a tuple": (
        lambda: octl.control(SGD, octl.guard(), observed="val_loss"),
        TypeError,
        "`control(observed='val_loss')` must be a tuple of names.",
    ),
    "a computed name is recorded": (
        lambda: octl.control(SGD, octl.guard(), record=("grad_norm",)),
        ValueError,
        "`control(record=...)` names `grad_norm`, which is measured here.",
    ),
    "a name is observed and recorded": (
        lambda: octl.control(SGD, octl.guard(), observed=("x",), record=("x",)),
        ValueError,
        "`x` is in `observed` and in `record`; observed signals are always recorded.",
    ),
    "a rule mixes step and observed signals": (
        lambda: octl.control(SGD, mixed(), observed=VAL),
        ValueError,
        "A controller reads `loss` in every step and `val_loss` only when observed, so "
        "it cannot tell a new value from an old one. Split it into two controllers "
        "with `together`.",
    ),
    "a rate beside inject": (
        lambda: octl.control(
            octl.inject(optax.sgd, learning_rate=0.1), octl.guard(), learning_rate=0.1
        ),
        ValueError,
        "`control(learning_rate=...)` is for ready-made optimizers; `inject` owns the "
        "rate already. Leave it out.",
    ),
    "two schedules": (
        lambda: octl.control(
            octl.inject(optax.sgd, learning_rate=schedule), octl.lr.follow(schedule)
        ),
        ValueError,
        "Two schedules own the learning rate: the optimizer's and the one in "
        "`lr.follow`. Make the optimizer's a number.",
    ),
    "two plateaus": (
        lambda: octl.control(
            optax.chain(SGD, optax.contrib.reduce_on_plateau()), octl.lr.plateau()
        ).init(PARAMS),
        ValueError,
        "Two controllers own the learning rate: `optax.contrib.reduce_on_plateau` "
        "inside the optimizer and an `lr.*` around it. Take one of them out.",
    ),
    "an argument that the factory does not take": (
        lambda: octl.inject(optax.sgd, learning_rate=0.1, momentun=0.9),
        TypeError,
        "`inject(sgd, momentun=...)`: the factory takes no such argument; it has "
        "learning_rate, momentum, nesterov, accumulator_dtype.",
    ),
    "an undeclared name is observed": (
        lambda: octl.observe(evaluated().init(PARAMS), vall_oss=1.0),
        TypeError,
        "`observe` got `vall_oss`, which is not among the signals declared "
        "(val_loss). Did you mean `val_loss`? Declare it with "
        '`control(..., observed=("vall_oss",))`.',
    ),
    "nowhere to observe": (
        lambda: octl.observe(SGD.init(PARAMS), val_loss=1.0),
        TypeError,
        "`observe` found no control state. Pass the optimizer state of a `control`led "
        "optimizer, or what contains it.",
    ),
    "more than a scalar is observed": (
        lambda: octl.observe(evaluated().init(PARAMS), val_loss=jnp.ones(3)),
        TypeError,
        "`observe(val_loss=...)` must have shape (), got (3,).",
    ),
    "a negative rate": (
        lambda: octl.set_lr(
            octl.control(
                octl.inject(optax.sgd, learning_rate=0.1), octl.guard("grad_norm")
            ).init(PARAMS),
            -1.0,
        ),
        ValueError,
        "`set_lr(learning_rate=...)` must be >= 0, got -1.0.",
    ),
    "a signal with the name of a column": (
        lambda: octl.control(SGD, octl.guard(), record=("clipped",)),
        ValueError,
        "A signal cannot be called `clipped`, under which `row` tells what a step did. "
        "Give it another name.",
    ),
    "a factor that is not finite": (
        lambda: octl.set_lr_scale(
            octl.control(
                octl.inject(optax.sgd, learning_rate=0.1), octl.guard("grad_norm")
            ).init(PARAMS),
            float("nan"),
        ),
        ValueError,
        "`set_lr_scale(factor=...)` must be >= 0, got nan.",
    ),
    "an optimizer that is made already": (
        lambda: octl.inject(SGD),  # pyright: ignore
        TypeError,
        "`inject` takes the function that makes an optimizer, such as `optax.sgd`, and "
        "its arguments by name, not what the function returns.",
    ),
    "no patience to give up": (
        lambda: octl.supervise(SGD, give_up_updates=0),
        ValueError,
        "`supervise(give_up_updates=...)` must be >= 1, got 0.",
    ),
    "a word for a number": (
        lambda: octl.stop.patience("3"),  # pyright: ignore
        ValueError,
        "`stop.patience(updates=...)` must be a number, got '3'.",
    ),
    "no rate to set": (
        lambda: octl.set_lr(octl.control(SGD, octl.guard()).init(PARAMS), 0.1),
        TypeError,
        "`set_lr` found no learning rate that control owns. Build the optimizer with "
        "`control(inject(optax.adamw, learning_rate=...), ...)`.",
    ),
    "nothing to read": (
        lambda: octl.read(SGD.init(PARAMS)),
        TypeError,
        "`read` found no control state. Pass the optimizer state of a `control`led "
        "optimizer, or what contains it.",
    ),
    "a view that would ignore": (
        lambda: octl.clip_by(octl.lr.plateau(monitor="loss")),
        TypeError,
        "`clip_by` carries out clip_norm only, and this controller also moves "
        "lr_scale. Use `control`.",
    ),
    "a mask for nothing": (
        lambda: octl.replay(
            octl.stop.patience(3), {"val_loss": [1.0]}, {"val_los": [True]}
        ),
        ValueError,
        "`replay(mask=...)` names `val_los`, which is not among the values. Did you "
        "mean `val_loss`?",
    ),
    "series of two lengths": (
        lambda: octl.replay(
            octl.stop.patience(3), {"val_loss": [1.0], "loss": [1.0, 2.0]}
        ),
        ValueError,
        "`replay` needs at least one series, all of one shape (steps,), got `val_loss` "
        "(1,), `loss` (2,).",
    ),
    "a word that is close": (
        lambda: octl.stop.patience(3, mode="mni"),  # pyright: ignore
        ValueError,
        "`stop.patience(mode=...)` must be 'min' or 'max', got 'mni'. Did you mean "
        "`min`?",
    ),
    "a number out of range": (
        lambda: octl.lr.plateau(factor=10.0),
        ValueError,
        "`lr.plateau(factor=...)` must be > 0 and < 1, got 10.0.",
    ),
    "a fraction of an update": (
        lambda: octl.stop.patience(2.5),  # pyright: ignore
        ValueError,
        "`stop.patience(updates=...)` must be a whole number >= 1, got 2.5.",
    ),
    "a response to nothing": (
        lambda: octl.respond(octl.watch.spike()),
        ValueError,
        "`respond(...)` must ask for something, for example skip=True.",
    ),
    "a field that no decision has": (
        lambda: octl.decide(lr_scal=0.5),
        TypeError,
        "A decision has no field 'lr_scal'; it has lr_scale, clip_norm, skip, rewind, "
        "stop, alarm, knobs.",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_in_these_words(mistake: str) -> None:
    make, error, words = MISTAKES[mistake]
    with pytest.raises(error) as caught:
        make()
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: guarded(valeu=1.0),
            [
                "`watch.nonfinite` reads the signal `loss`",
                "The closest given is `valeu`.",
                "Pass the loss as `update(..., value=loss)`.",
            ],
        ),
        (
            lambda: step(octl.control(SGD, octl.stop.patience(3)), value=1.0),
            [
                *("`val_loss`", "(accepted, grad_norm, loss, step)"),
                'declare `control(..., observed=("val_loss",))`',
            ],
        ),
        (
            lambda: step(
                octl.control(SGD, octl.guard(), record=("entropy",)),
                value=1.0,
                entrpy=1.0,
            ),
            [
                "`control(record=...)` reads the signal `entropy`",
                "The closest given is `entrpy`.",
            ],
        ),
        (
            lambda: octl.replay(octl.stop.patience(3), {"val_los": [1.0]}),
            ["`replay` needs a series of the signal `val_loss`", "`val_los`"],
        ),
    ],
    ids=["misspelt value", "missing metric", "misspelt record", "missing series"],
)
def test_a_missing_signal_is_named_with_those_that_are_there(
    make: Callable[[], Any], words: list[str]
) -> None:
    with pytest.raises(TypeError) as caught:
        make()
    assert [word for word in words if word not in str(caught.value)] == []
