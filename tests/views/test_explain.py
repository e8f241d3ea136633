import jax.numpy as jnp
import optax
import pytest

import optaxctl as octl

NAN = float("nan")


def told(controller: octl.Controller, **series: list[float]) -> list[str]:
    """What is said after every update."""
    state, said = controller.init(), []
    for row in zip(*series.values(), strict=True):
        decision, state = controller.update(dict(zip(series, row, strict=True)), state)
        said.append(octl.explain(decision, controller, state))
    return said


def test_patience_is_told_with_the_signal_the_value_and_the_unit() -> None:
    said = told(octl.stop.patience(2, baseline=1.0), val_loss=[NAN, 3, 2, 4, 0.5])
    assert said == [
        "val_loss must beat 1 within 1 update.",
        "val_loss has not beaten 1 for 2 updates.",
        "val_loss has not beaten 1 for 3 updates.",
        "val_loss has not beaten 1 for 4 updates; stopping.",
        "val_loss must beat 0.5 within 2 updates.",
    ]
    assert told(octl.stop.patience(2), val_loss=[NAN]) == [
        "There is no val_loss to beat yet; 1 update left."
    ]


def test_rules_side_by_side_are_told_apart() -> None:
    rules = {
        "a": octl.stop.patience(1),
        "b": octl.stop.patience(9, monitor="accuracy", mode="max"),
        "c": octl.stop.limit(5.0),
    }
    series = {"val_loss": [1.0, 9.0], "accuracy": [0.25, 0.5]}
    assert told(octl.stop.any_of(**rules), **series)[1] == (
        "val_loss has not beaten 1 for 1 update; stopping. "
        "accuracy must beat 0.5 within 9 updates. "
        "The monitored signal went beyond its limit. Stopping."
    )
    assert told(octl.stop.all_of(**rules), **series)[1] == (
        "val_loss has not beaten 1 for 1 update. "
        "accuracy must beat 0.5 within 9 updates."
    )


def test_it_never_says_that_a_muted_rule_stops() -> None:
    rules = {
        "a": octl.after(10, octl.stop.patience(1)),
        "b": octl.stop.patience(1, monitor="accuracy", mode="max"),
    }
    series = {"val_loss": [1.0, 9.0], "accuracy": [0.5, 0.5]}
    assert told(octl.stop.any_of(**rules), **series)[1] == (
        "val_loss has not beaten 1 for 1 update. "
        "accuracy has not beaten 0.5 for 1 update. "
        "The monitored signal stopped improving. Stopping."
    )


def test_in_control_it_speaks_from_the_gauges() -> None:
    rule = octl.together(
        guard=octl.guard(), stop=octl.after(1, octl.stop.patience(2, monitor="loss"))
    )
    tx = octl.control(optax.sgd(0.1), rule)
    w = jnp.ones(2)
    state = tx.init(w)
    for loss in (0.99996, 1.0, 1.0):
        _, state = tx.update(w, state, w, value=loss)
    decision, gauges = octl.last_decision(state), octl.read(state).gauges
    assert octl.explain(decision, rule, gauges=gauges) == (
        "loss has not beaten 0.99996 for 2 updates; stopping."
    )


def test_what_is_asked_of_a_step_is_told() -> None:
    decision = octl.decide(
        lr_scale=0.5,
        clip_norm=2.0,
        skip=True,
        rewind=True,
        alarm=int(octl.Alarm.NONFINITE_LOSS),
        stop=int(octl.StopReason.BUDGET),
        knobs={"dropout": 2.0, "batch": 1.0},
    )
    assert octl.explain(decision) == (
        "The loss is NaN or infinite. The step is refused. The run goes back to its "
        "last healthy state. The learning rate is multiplied by 0.5. The gradient norm "
        "is limited to 2. dropout is multiplied by 2. The budget is used up. Stopping."
    )
    assert octl.explain(octl.decide()) == "The run goes on."


def test_a_controller_is_told_with_its_state() -> None:
    c = octl.stop.patience(1)
    with pytest.raises(ValueError, match="needs a controller together with its state"):
        octl.explain(octl.decide(), c)


def test_a_rate_that_waits_is_told_too() -> None:
    said = told(octl.lr.plateau(2, factor=0.5), val_loss=[1.0, 1.0, 1.0])
    assert said[1:] == [
        "The run goes on.",
        "The learning rate is multiplied by 0.5.",
    ]
