"""Every schedule once more, in plain Python: the value at a whole step."""

import math
from collections.abc import Callable, Sequence
from typing import Any

Reference = Callable[..., Any]


def height(shape: Any, done: float) -> float:
    if shape == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if shape in ("sqrt", "linear"):
        return 1 - (math.sqrt(done) if shape == "sqrt" else done)
    return float(shape(done))


def share(step: float, steps: float) -> float:
    return min(max(step, 0), steps) / steps if steps else 1.0


def constant(t: float, value: float = 1.0) -> float:
    return value


def linear(
    t: float, transition_steps: int, init_value: float = 1.0, end_value: float = 0.0
) -> float:
    return init_value + (end_value - init_value) * share(t, transition_steps)


def polynomial(
    t: float,
    transition_steps: int,
    power: float,
    init_value: float = 1.0,
    end_value: float = 0.0,
    cycle: bool = False,
) -> float:
    whole = transition_steps * max(1, math.ceil(t / transition_steps))
    left = 1 - share(t, whole if cycle else transition_steps)
    return end_value + (init_value - end_value) * left**power


def step(
    t: float, step_size: int, gamma: float = 0.1, init_value: float = 1.0
) -> float:
    return init_value * gamma ** (t // step_size)


def multistep(
    t: float, milestones: Sequence[int], gamma: float = 0.1, init_value: float = 1.0
) -> float:
    return init_value * gamma ** sum(stone <= t for stone in milestones)


def piecewise(
    t: float, boundaries: Sequence[int], values: Sequence[float], shape: Any = None
) -> float:
    begins = [0, *boundaries]
    i = max(i for i in range(len(begins)) if begins[i] <= t)
    if shape is None or i == len(boundaries):
        return values[i]
    done = share(t - begins[i], begins[i + 1] - begins[i])
    return values[i + 1] + (values[i] - values[i + 1]) * height(shape, done)


def exponential(
    t: float,
    transition_steps: int = 1,
    *,
    decay_rate: float,
    init_value: float = 1.0,
    staircase: bool = False,
) -> float:
    time = t // transition_steps if staircase else t / transition_steps
    return init_value * decay_rate**time


def inverse_time(
    t: float,
    decay_steps: int,
    decay_rate: float,
    init_value: float = 1.0,
    staircase: bool = False,
) -> float:
    time = t // decay_steps if staircase else t / decay_steps
    return init_value / (1 + decay_rate * time)


def inverse_sqrt(
    t: float,
    timescale: float,
    shift: float = 0.0,
    init_value: float = 1.0,
    exponent: float = 0.5,
) -> float:
    return init_value * (1 + (t + shift) / timescale) ** -exponent


def cosine(
    t: float,
    decay_steps: int,
    init_value: float = 1.0,
    end_value: float = 0.0,
    periodic: bool = False,
) -> float:
    done = t % (2 * decay_steps) / decay_steps if periodic else share(t, decay_steps)
    return end_value + (init_value - end_value) * height("cosine", done)


def repeat(
    t: float,
    schedule: Reference,
    steps: int,
    cycles: int | None = None,
    t_mul: float = 1,
    m_mul: float = 1.0,
) -> float:
    i, begin, length = (
        (t // steps, t // steps * steps, steps) if t_mul == 1 else (0, 0, steps)
    )
    while t >= begin + length:
        i, begin, length = i + 1, begin + length, length * t_mul
    end = schedule(steps)
    if cycles is not None and i >= cycles:
        return end
    return end + (schedule((t - begin) * steps / length) - end) * m_mul**i


def cosine_restarts(
    t: float,
    first_decay_steps: int,
    t_mul: float = 1,
    m_mul: float = 1.0,
    cycles: int | None = None,
    init_value: float = 1.0,
    end_value: float = 0.0,
) -> float:
    body = lambda s: cosine(s, first_decay_steps, init_value, end_value)
    return repeat(t, body, first_decay_steps, cycles, t_mul, m_mul)


def one_cycle(
    t: float,
    total_steps: int,
    peak_value: float = 1.0,
    init_value: float | None = None,
    end_value: float | None = None,
    pct_start: float = 0.3,
    shape: Any = "cosine",
    three_phase: bool = False,
) -> float:
    low = peak_value / 25 if init_value is None else init_value
    end = low / 1e4 if end_value is None else end_value
    rise, last = pct_start * total_steps - 1, total_steps - 1
    ways = [(0, rise, low, peak_value), (rise, last, peak_value, end)]
    if three_phase:
        ways[1:] = [(rise, 2 * rise, peak_value, low), (2 * rise, last, low, end)]
    for begin, stop, start, goal in ways:
        if t <= stop or stop == last:
            done = share(t - begin, stop - begin)
            return goal + (start - goal) * height(shape, done)
    raise AssertionError(t)


def cyclic(
    t: float,
    step_size_up: int,
    step_size_down: int | None = None,
    base_value: float = 0.0,
    max_value: float = 1.0,
    mode: str = "triangular",
    gamma: float = 1.0,
    scale_fn: Any = None,
    scale_mode: str = "cycle",
) -> float:
    up, down = step_size_up, step_size_down or step_size_up
    cycle, at = 1 + t // (up + down), t % (up + down)
    peak = at / up if at <= up else (up + down - at) / down
    if scale_fn is not None:
        factor = float(scale_fn(cycle if scale_mode == "cycle" else t))
    else:
        modes = {"triangular2": 0.5 ** min(cycle - 1, 1000), "exp_range": gamma**t}
        factor = modes.get(mode, 1.0)
    return base_value + (max_value - base_value) * peak * factor


def warmup_stable_decay(
    t: float,
    warmup_steps: int,
    stable_steps: int,
    decay_steps: int,
    peak_value: float = 1.0,
    init_value: float = 0.0,
    end_value: float = 0.0,
    warmup_shape: Any = "linear",
    decay_shape: Any = "sqrt",
) -> float:
    if t < warmup_steps:
        depth = height(warmup_shape, 1 - t / warmup_steps)
        return init_value + (peak_value - init_value) * depth
    done = share(t - warmup_steps - stable_steps, decay_steps)
    if t < warmup_steps + stable_steps:
        return peak_value
    return end_value + (peak_value - end_value) * height(decay_shape, done)


def power(
    t: float,
    max_value: float,
    tokens_per_step: float,
    batch_size: float,
    amplitude: float = 4.6,
    exponent: float = -0.51,
) -> float:
    tokens = t * tokens_per_step
    law = batch_size * amplitude * tokens**exponent if tokens else math.inf
    return min(max_value, law)


def tanh(
    t: float,
    decay_steps: int,
    lower: float = -7.0,
    upper: float = 3.0,
    init_value: float = 1.0,
    end_value: float = 0.0,
) -> float:
    done = share(t, decay_steps)
    depth = (1 - math.tanh(lower + (upper - lower) * done)) / 2
    return end_value + (init_value - end_value) * (depth if done < 1 else 0)


def custom(t: float, function: Any, init_value: float = 1.0) -> float:
    return init_value * float(function(t))


def multiplicative(
    t: float, function: Any, total_steps: int, init_value: float = 1.0
) -> float:
    steps = range(1, int(min(t, total_steps)) + 1)
    return init_value * math.prod(float(function(s)) for s in steps)


def join(t: float, schedules: Sequence[Reference], boundaries: Sequence[int]) -> float:
    begins = [0, *boundaries]
    i = max(i for i in range(len(begins)) if begins[i] <= t)
    return schedules[i](t - begins[i])


def times(t: float, *schedules: Reference) -> float:
    return math.prod(schedule(t) for schedule in schedules)


def warmup(
    t: float,
    schedule: Reference,
    warmup_steps: int,
    init_value: float = 0.0,
    shape: Any = "linear",
) -> float:
    if t >= warmup_steps:
        return schedule(t - warmup_steps)
    return init_value + (schedule(0) - init_value) * height(shape, 1 - t / warmup_steps)


def cooldown(
    t: float,
    schedule: Reference,
    start: int,
    steps: int,
    end_value: float = 0.0,
    shape: Any = "linear",
) -> float:
    depth = height(shape, share(t - start, steps)) if t >= start else 1
    return end_value + (schedule(t) - end_value) * depth


def stretch(t: float, schedule: Reference, steps: int, new_steps: int) -> float:
    return schedule(t * steps / new_steps)
