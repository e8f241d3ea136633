"""torch's schedulers as they compute, where that is not what they promise."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Config = dict[str, Any]

QUIRKS = {
    "extra step": "one step is taken past the end of the cycle",
    "never restored": "total_iters=0 keeps the factor for ever",
    "float logarithm": "the restart is found by a logarithm of floats, in wrong cycles",
    "overwriting": "a chained scheduler overwrites, or adds to, what others multiplied",
}


def rates(config: Config, steps: np.ndarray, quirks: frozenset[str]) -> np.ndarray:
    """The learning rate at every step."""
    if config["scheduler"] == "ChainedScheduler" and "overwriting" in quirks:
        return chained(config, len(steps))
    course = closed(config, config["optimizer"]["lr"], quirks)
    return np.asarray([course(step) for step in steps])


def closed(config: Config, lr: float, quirks: frozenset[str]) -> Callable[..., float]:
    """The closed form of a scheduler for a base rate."""
    name = config["scheduler"]
    if name == "OneCycleLR":
        top = config["max_lr"]
        low = top / config.get("div_factor", 25.0)
        end = low / config.get("final_div_factor", 1e4)
        return lambda t: one_cycle(config, t, low, top, end, quirks)
    if name == "ConstantLR":
        factor, total = config.get("factor", 1 / 3), config.get("total_iters", 5)
        kept = total == 0 and "never restored" in quirks
        return lambda t: lr * (factor if t < total or kept else 1)
    if name == "CosineAnnealingWarmRestarts":
        return lambda t: restarts(config, lr, t, quirks)
    if name == "ChainedScheduler":
        parts = [closed(part, 1.0, quirks) for part in config["schedulers"]]
        return lambda t: lr * math.prod(part(t) for part in parts)
    if name == "ExponentialLR":
        return lambda t: lr * config["gamma"] ** t
    if name == "StepLR":
        return lambda t: lr * config.get("gamma", 0.1) ** (t // config["step_size"])
    if name == "MultiStepLR":
        gamma, stones = config.get("gamma", 0.1), config["milestones"]
        return lambda t: lr * gamma ** sum(stone <= t for stone in stones)
    if name == "LinearLR":
        total = config.get("total_iters", 5)
        a, b = config.get("start_factor", 1 / 3), config.get("end_factor", 1.0)
        return lambda t: lr * (a + (b - a) * min(t, total) / total)
    if name == "PolynomialLR":
        total, power = config.get("total_iters", 5), config.get("power", 1.0)
        return lambda t: lr * (1 - min(t, total) / total) ** power
    if name == "CosineAnnealingLR":
        low, length = config.get("eta_min", 0.0), config["T_max"]
        wave = lambda t: (1 + math.cos(math.pi * t / length)) / 2
        return lambda t: low + (lr - low) * wave(t)
    raise NotImplementedError(name)


def one_cycle(
    config: Config, t: float, low: float, top: float, end: float, quirks: frozenset[str]
) -> float:
    """From low to top to end, by phases that may end between two steps."""
    epochs = config.get("epochs", 0) or 0
    total = config.get("total_steps") or epochs * config.get("steps_per_epoch", 0)
    t = t if "extra step" in quirks else min(t, total - 1)
    pct = config.get("pct_start", 0.3)
    ends, values = [0, pct * total - 1, total - 1], [low, top, end]
    if config.get("three_phase"):
        ends, values = [*ends[:2], 2 * ends[1], ends[2]], [low, top, low, end]
    i = next((i for i in range(1, len(ends)) if t <= ends[i]), len(ends) - 1)
    done = (t - ends[i - 1]) / (ends[i] - ends[i - 1])
    if config.get("anneal_strategy", "cos") == "cos":
        done = (1 - math.cos(math.pi * done)) / 2
    return values[i - 1] + (values[i] - values[i - 1]) * done


def momenta(config: Config, steps: np.ndarray, quirks: frozenset[str]) -> np.ndarray:
    """The momentum of a one-cycle at every step."""
    high, low = config.get("max_momentum", 0.95), config.get("base_momentum", 0.85)
    return np.asarray([one_cycle(config, t, high, low, high, quirks) for t in steps])


def restarts(config: Config, lr: float, t: float, quirks: frozenset[str]) -> float:
    low, first, times = (
        config.get("eta_min", 0.0),
        config["T_0"],
        config.get("T_mult", 1),
    )
    begin, length = 0, first
    if "float logarithm" in quirks and times > 1:
        n = int(math.log(t / first * (times - 1) + 1, times))
        begin, length = first * (times**n - 1) / (times - 1), first * times**n
    else:
        while t >= begin + length:
            begin, length = begin + length, length * times
    return low + (lr - low) * (1 + math.cos(math.pi * (t - begin) / length)) / 2


def chained(config: Config, steps: int) -> np.ndarray:
    """Every scheduler in turn changes the one rate there is."""
    base = rate = config["optimizer"]["lr"]
    values, every = [], frozenset(QUIRKS)
    parts = [(part, closed(part, base, every)) for part in config["schedulers"]]
    for t in range(steps):
        for part, course in parts:
            now, before = course(t), course(t - 1) if t else base
            if part["scheduler"] in ("CosineAnnealingWarmRestarts", "OneCycleLR"):
                rate = now
            elif part["scheduler"] == "CosineAnnealingLR" and t:
                rate = annealed(part, base, rate, t)
            elif t or part["scheduler"] != "CosineAnnealingLR":
                rate = rate * now / before if before else rate
        values.append(rate)
    return np.asarray(values)


def annealed(part: Config, base: float, rate: float, t: int) -> float:
    low, length = part.get("eta_min", 0.0), part["T_max"]
    if (t - 1 - length) % (2 * length) == 0:
        return rate + (base - low) * (1 - math.cos(math.pi / length)) / 2
    ratio = [1 + math.cos(math.pi * s / length) for s in (t, t - 1)]
    return ratio[0] / ratio[1] * (rate - low) + low
