"""Arguments of `lr.plateau` in the words of other libraries."""

from typing import Any, Literal

from optaxctl._core import checks


def like_torch(
    patience: int = 10,
    *,
    factor: float = 0.1,
    threshold: float = 1e-4,
    threshold_mode: Literal["rel", "abs"] = "rel",
    cooldown: int = 0,
    min_lr: float = 0.0,
    eps: float = 1e-8,
    learning_rate: float = 1.0,
) -> dict[str, Any]:
    """Returns the arguments of `lr.plateau` for torch's `ReduceLROnPlateau`.

    torch cuts at update patience + 1 without improvement, and counts a NaN as one.

    Args:
      patience: Updates without improvement that are forgiven, >= 0.
      factor: The factor of one cut.
      threshold: Smallest gain that counts.
      threshold_mode: Whether it is a share of the best value or in its units.
      cooldown: Updates to ignore after a cut.
      min_lr: Lowest rate.
      eps: A cut of the rate by no more than this is not made.
      learning_rate: The rate of the optimizer, which makes shares of `min_lr` and
        `eps`.

    Returns:
      Keyword arguments.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.plateau(**octl.lr.like_torch(patience=3), monitor="loss")
    """
    who = "lr.like_torch"
    checks.count(who, low=0, patience=patience)
    checks.one_of(who, "threshold_mode", threshold_mode, ("rel", "abs"))
    checks.above(0, who, learning_rate=learning_rate)
    checks.at_least(0, who, threshold=threshold, min_lr=min_lr, eps=eps)
    relative = threshold_mode == "rel"
    return {
        "updates": patience + 1,
        "factor": factor,
        "atol": 0.0 if relative else threshold,
        "rtol": threshold if relative else 0.0,
        "cooldown": cooldown,
        "floor": min(min_lr / learning_rate, 1.0),
        "eps": eps / learning_rate,
        "nonfinite": "count",
    }


def like_keras(
    patience: int = 10,
    *,
    factor: float = 0.1,
    min_delta: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
    learning_rate: float = 1.0,
) -> dict[str, Any]:
    """Returns the arguments of `lr.plateau` for Keras' `ReduceLROnPlateau`.

    Keras takes a patience of 0 for 1, and the last update of a cooldown counts, so that
    a cooldown of 1 is none.

    Args:
      patience: Updates without improvement before a cut, >= 0.
      factor: The factor of one cut.
      min_delta: Smallest gain that counts, in units of the signal.
      cooldown: Keras' cooldown, >= 0.
      min_lr: Lowest rate.
      learning_rate: The rate of the optimizer, which makes a share of `min_lr`.

    Returns:
      Keyword arguments.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.plateau(**octl.lr.like_keras(patience=3))
    """
    who = "lr.like_keras"
    checks.count(who, low=0, patience=patience, cooldown=cooldown)
    checks.above(0, who, learning_rate=learning_rate)
    checks.at_least(0, who, min_delta=min_delta, min_lr=min_lr)
    return {
        "updates": max(patience, 1),
        "factor": factor,
        "atol": min_delta,
        "rtol": 0.0,
        "cooldown": max(cooldown - 1, 0),
        "floor": min(min_lr / learning_rate, 1.0),
        "nonfinite": "count",
    }


def like_optax(
    patience: int = 10,
    *,
    factor: float = 0.1,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> dict[str, Any]:
    """Returns the arguments of `lr.plateau` for Optax's `reduce_on_plateau`.

    Its `accumulation_size` is `every(n, smooth(...))` here. A patience of 0, which
    there cuts in every update, is refused.

    Args:
      patience: Updates without improvement before a cut, >= 1.
      factor: The factor of one cut.
      rtol: Smallest gain that counts, relative to the best value.
      atol: The same, in units of the signal.
      cooldown: Updates to ignore after a cut.
      min_scale: Lowest scale.

    Returns:
      Keyword arguments.

    Raises:
      ValueError: If an argument is out of range.

    Example:
      >>> import optaxctl as octl
      >>> rate = octl.lr.plateau(**octl.lr.like_optax(patience=3), monitor="loss")
    """
    checks.count("lr.like_optax", patience=patience)
    return {
        "updates": patience,
        "factor": factor,
        "atol": atol,
        "rtol": rtol,
        "cooldown": cooldown,
        "floor": min_scale,
        "nonfinite": "count",
    }
