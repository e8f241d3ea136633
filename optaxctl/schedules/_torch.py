"""torch's schedulers by their own names and arguments, made of the schedules here.

Each returns the learning rate, and the momentum where torch cycles it too. `lr` is the
learning rate of torch's optimizer.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from optaxctl._core import checks
from optaxctl.schedules._constant import constant
from optaxctl.schedules._cooldown import cooldown
from optaxctl.schedules._cosine import cosine
from optaxctl.schedules._cosine_restarts import cosine_restarts
from optaxctl.schedules._course import Schedule
from optaxctl.schedules._custom import custom, multiplicative
from optaxctl.schedules._cyclic import cyclic
from optaxctl.schedules._exponential import exponential
from optaxctl.schedules._linear import linear
from optaxctl.schedules._one_cycle import one_cycle
from optaxctl.schedules._piecewise import piecewise
from optaxctl.schedules._polynomial import polynomial
from optaxctl.schedules._step import multistep, step

Pair = tuple[Schedule, Schedule | None]


def constant_lr(
    *, lr: float = 1.0, factor: float = 1 / 3, total_iters: int = 5
) -> Pair:
    """`ConstantLR`."""
    return piecewise([total_iters], [lr * factor, lr]), None


def cosine_annealing_lr(*, lr: float = 1.0, T_max: int, eta_min: float = 0.0) -> Pair:
    """`CosineAnnealingLR`."""
    return cosine(T_max, init_value=lr, end_value=eta_min, periodic=True), None


def cosine_annealing_warm_restarts(
    *, lr: float = 1.0, T_0: int, T_mult: int = 1, eta_min: float = 0.0
) -> Pair:
    """`CosineAnnealingWarmRestarts`."""
    return cosine_restarts(T_0, t_mul=T_mult, init_value=lr, end_value=eta_min), None


def cyclic_lr(
    *,
    base_lr: float,
    max_lr: float,
    step_size_up: int = 2000,
    step_size_down: int | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    gamma: float = 1.0,
    scale_fn: Callable[[Any], Any] | None = None,
    scale_mode: Literal["cycle", "iterations"] = "cycle",
    cycle_momentum: bool = True,
    base_momentum: float = 0.8,
    max_momentum: float = 0.9,
) -> Pair:
    """`CyclicLR`, in which `gamma` is for `exp_range` only."""

    def wave(start: float, peak: float) -> Schedule:
        return cyclic(
            step_size_up,
            step_size_down=step_size_down,
            base_value=start,
            max_value=peak,
            mode=mode,
            gamma=gamma if mode == "exp_range" and scale_fn is None else 1.0,
            scale_fn=scale_fn,
            scale_mode=scale_mode,
        )

    momentum = wave(max_momentum, base_momentum) if cycle_momentum else None
    return wave(base_lr, max_lr), momentum


def exponential_lr(*, lr: float = 1.0, gamma: float) -> Pair:
    """`ExponentialLR`."""
    return exponential(decay_rate=gamma, init_value=lr), None


def lambda_lr(*, lr: float = 1.0, lr_lambda: Callable[[Any], Any]) -> Pair:
    """`LambdaLR`."""
    return custom(lr_lambda, init_value=lr), None


def linear_lr(
    *,
    lr: float = 1.0,
    start_factor: float = 1 / 3,
    end_factor: float = 1.0,
    total_iters: int = 5,
) -> Pair:
    """`LinearLR`."""
    start, end = lr * start_factor, lr * end_factor
    return linear(total_iters, init_value=start, end_value=end), None


def multi_step_lr(
    *, lr: float = 1.0, milestones: Sequence[int], gamma: float = 0.1
) -> Pair:
    """`MultiStepLR`."""
    return multistep(milestones, gamma=gamma, init_value=lr), None


def multiplicative_lr(
    *, lr: float = 1.0, lr_lambda: Callable[[Any], Any], total_iters: int
) -> Pair:
    """`MultiplicativeLR`, which needs to know its horizon here."""
    return multiplicative(lr_lambda, total_iters, init_value=lr), None


def one_cycle_lr(
    *,
    max_lr: float,
    total_steps: int | None = None,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    pct_start: float = 0.3,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    cycle_momentum: bool = True,
    base_momentum: float = 0.85,
    max_momentum: float = 0.95,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    three_phase: bool = False,
) -> Pair:
    """`OneCycleLR`."""
    if total_steps is None:
        if epochs is None or steps_per_epoch is None:
            raise ValueError(
                "`OneCycleLR` needs `total_steps`, or `epochs` and `steps_per_epoch`."
            )
        total_steps = epochs * steps_per_epoch

    def wave(start: float, peak: float, end: float) -> Schedule:
        return one_cycle(
            total_steps,
            init_value=start,
            peak_value=peak,
            end_value=end,
            pct_start=pct_start,
            shape=_shape(anneal_strategy),
            three_phase=three_phase,
        )

    checks.above(0, "schedules.get", div_factor=div_factor)
    checks.above(0, "schedules.get", final_div_factor=final_div_factor)
    start = max_lr / div_factor
    momentum = wave(max_momentum, base_momentum, max_momentum)
    rate = wave(start, max_lr, start / final_div_factor)
    return rate, momentum if cycle_momentum else None


def polynomial_lr(*, lr: float = 1.0, total_iters: int = 5, power: float = 1.0) -> Pair:
    """`PolynomialLR`."""
    return polynomial(total_iters, power=power, init_value=lr), None


def step_lr(*, lr: float = 1.0, step_size: int, gamma: float = 0.1) -> Pair:
    """`StepLR`."""
    return step(step_size, gamma=gamma, init_value=lr), None


def swa_lr(
    *,
    lr: float = 1.0,
    swa_lr: float,
    anneal_epochs: int = 10,
    anneal_strategy: Literal["cos", "linear"] = "cos",
) -> Pair:
    """`SWALR`; to begin it later, put `cooldown` on the schedule before it."""
    shape = _shape(anneal_strategy)
    steps = anneal_epochs
    return cooldown(constant(lr), 0, steps, end_value=swa_lr, shape=shape), None


def _shape(anneal_strategy: str) -> Literal["cosine", "linear"]:
    known = ("cos", "linear")
    checks.one_of("schedules.get", "anneal_strategy", anneal_strategy, known)
    return "cosine" if anneal_strategy == "cos" else "linear"


TORCH: dict[str, Callable[..., Pair]] = {
    "ConstantLR": constant_lr,
    "CosineAnnealingLR": cosine_annealing_lr,
    "CosineAnnealingWarmRestarts": cosine_annealing_warm_restarts,
    "CyclicLR": cyclic_lr,
    "ExponentialLR": exponential_lr,
    "LambdaLR": lambda_lr,
    "LinearLR": linear_lr,
    "MultiStepLR": multi_step_lr,
    "MultiplicativeLR": multiplicative_lr,
    "OneCycleLR": one_cycle_lr,
    "PolynomialLR": polynomial_lr,
    "StepLR": step_lr,
    "SWALR": swa_lr,
}
