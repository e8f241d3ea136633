"""Other libraries' schedules in the words of this one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

import optaxctl as octl
from tests.oracles._expressions import function

S = octl.schedules
Config = dict[str, Any]
Schedule = Callable[[Any], Any]


class Course(NamedTuple):
    """What a library moves: the rate and, where it does, the momentum."""

    rate: Schedule
    momentum: Schedule | None = None


def torch(config: Config) -> Course:
    """`get` takes torch's own names and arguments."""
    config = {name: value for name, value in config.items() if name != "optimizer"} | {
        "lr": config["optimizer"]["lr"]
    }
    name = config.pop("scheduler")
    if name == "SequentialLR":
        parts = [torch_part(part, config) for part in config["schedulers"]]
        return Course(S.join(parts, config["milestones"]))
    if name == "ChainedScheduler":
        parts = [torch_part(part, config) for part in config["schedulers"]]
        rate = S.constant(config["lr"])
        factors = [S.times(part, S.constant(1 / config["lr"])) for part in parts]
        return Course(S.times(rate, *factors))
    for argument in ("lr_lambda", "scale_fn"):
        if isinstance(config.get(argument), str):
            config[argument] = function(config[argument])
    if name == "MultiplicativeLR":
        config["total_iters"] = 1000
    if name in ("OneCycleLR", "CyclicLR"):
        del config["lr"]
        found = S.hyperparams(name, **config)
        return Course(found["learning_rate"], found.get("momentum"))
    return Course(S.get(name, **config))


def torch_part(part: Config, whole: Config) -> Schedule:
    return torch({**part, "optimizer": {"lr": whole["lr"]}}).rate


def transformers(config: Config) -> Course:
    lr, given = config["optimizer"]["lr"], dict(config)
    name, warm = given["scheduler"], given.get("num_warmup_steps", 0)
    total = given.get("num_training_steps")
    length = max(1, total - warm) if total else 0
    end = given.get("min_lr", (given.get("min_lr_rate") or 0.0) * lr) or 0.0
    if name == "constant":
        return Course(S.constant(lr))
    if name == "constant_with_warmup":
        return Course(S.warmup(S.constant(lr), warm))
    if name == "linear":
        return Course(S.warmup(S.linear(length, init_value=lr), warm))
    if name == "polynomial":
        power, last = given.get("power", 1.0), given.get("lr_end", 1e-7)
        fall = S.polynomial(length, power=power, init_value=lr, end_value=last)
        return Course(S.warmup(fall, warm))
    if name == "inverse_sqrt":
        scale = given.get("timescale") or warm or 10_000
        return Course(S.warmup(S.inverse_sqrt(scale, init_value=lr), warm))
    if name == "cosine_with_restarts":
        cycles = int(given.get("num_cycles", 1))
        waves = S.cosine_restarts(length, cycles=cycles, init_value=lr)
        return Course(S.warmup(S.stretch(waves, cycles * length, length), warm))
    if name in ("cosine", "cosine_with_min_lr"):
        return Course(S.warmup(half_waves(given, length, lr, end), warm))
    if name == "cosine_warmup_with_min_lr":
        fall = half_waves(given, length, lr, end)
        start = given.get("warmup_lr_rate")
        if start is None:
            ahead = S.warmup(fall, warm)
            return Course(lambda step: ahead(step + 1))
        ramp = S.linear(max(1, warm - 1), init_value=start * lr, end_value=lr)
        return Course(S.join([ramp, lambda step: fall(step + 1)], [warm]))
    if name == "warmup_stable_decay":
        end = given.get("min_lr_ratio", 0.0) * lr
        fall = given["num_decay_steps"]
        stable = given.get("num_stable_steps")
        stable = total - warm - fall if stable is None else stable
        return Course(
            S.warmup_stable_decay(
                *(warm, stable, fall),
                peak_value=lr,
                init_value=end,
                end_value=end,
                warmup_shape=shape(given.get("warmup_type", "linear")),
                decay_shape=shape(given.get("decay_type", "cosine")),
            )
        )
    raise NotImplementedError(f"transformers' {name}")


def half_waves(given: Config, length: int, lr: float, end: float) -> Schedule:
    """num_cycles waves in the length; half of one is a fall, and it never ends."""
    gone = round(2 * given.get("num_cycles", 0.5) * length)
    waves = S.cosine(length, init_value=lr, end_value=end, periodic=True)
    return S.stretch(waves, gone, length)


def timm(config: Config) -> Course:
    lr, name = config["optimizer"]["lr"], config["scheduler"]
    warm, low = config.get("warmup_t", 0), config.get("lr_min", 0.0)
    start = config.get("warmup_lr_init", 0.0)
    prefix = config.get("warmup_prefix", name in ("step", "multistep", "wsd"))
    body = timm_body(config, lr, low)
    if prefix:
        return Course(S.warmup(body, warm, init_value=start))
    # The ramp covers the beginning of the schedule; only tanh's leads up to it.
    peak = float(body(warm)) if name == "tanh" else lr
    ramp = S.linear(max(1, warm), init_value=start, end_value=peak)
    return Course(S.join([ramp, lambda step: body(step + warm)], [warm]))


def timm_body(config: Config, lr: float, low: float) -> Schedule:
    name = config["scheduler"]
    rate = config.get("decay_rate", 1.0)
    if name == "step":
        return S.step(config["decay_t"], gamma=rate, init_value=lr)
    if name == "multistep":
        early = [max(0, t - 1) for t in config["decay_t"]]
        return S.multistep(early, gamma=rate, init_value=lr)
    if name == "wsd":
        return timm_stable_decay(config, lr, low)
    length, k = config["t_initial"], config.get("k_decay", 1.0)
    power = config.get("power", 0.5)
    shapes = {
        "cosine": lambda done: jnp.cos(jnp.pi / 2 * done**k) ** 2,
        "poly": lambda done: (1 - done**k) ** power,
    }
    one = S.constant(1.0)
    unit = (
        S.tanh(length, lower=config.get("lb", -7.0), upper=config.get("ub", 3.0))
        if name == "tanh"
        else S.cooldown(one, 0, length, shape=shapes[name])
    )
    cycles = {
        "cycles": config.get("cycle_limit", 1),
        "t_mul": config.get("cycle_mul", 1.0),
    }
    height = S.repeat(unit, length, **cycles)
    shrunk = S.repeat(unit, length, **cycles, m_mul=config.get("cycle_decay", 1.0))
    return lambda step: low * (1 - height(step)) + lr * shrunk(step)


def timm_stable_decay(config: Config, lr: float, low: float) -> Schedule:
    scale = config.get("stable_timescale") or config.get("warmup_t", 0)
    exponent = {"constant": 0.0, "rsqrt": 0.5, "power": config.get("stable_power", 0.5)}
    exponent = exponent[config.get("stable_fn", "constant")]
    stable = S.constant(lr)
    if exponent:
        stable = S.inverse_sqrt(scale, exponent=exponent, init_value=lr)
    kind, p = config.get("decay_fn", "1-sqrt"), config.get("decay_power", 0.5)
    r = config.get("decay_ratio", 0.1)
    shapes = {"power": lambda f: 1 - f**p, "exp": lambda f: (r**f - r) / (1 - r)}
    begin = config["t_initial"] - config["decay_t"]
    fall = shapes.get(kind) or shape(kind)
    floored = lambda step: jnp.maximum(stable(step), low)
    return S.cooldown(floored, begin, config["decay_t"], end_value=low, shape=fall)


def keras(config: Config) -> Course:
    lr, name = config.get("initial_learning_rate", 0.0), config["schedule"]
    rate, steps = config.get("decay_rate", 0.0), config.get("decay_steps", 0)
    stairs = {"init_value": lr, "staircase": config.get("staircase", False)}
    if name == "ExponentialDecay":
        return Course(S.exponential(steps, decay_rate=rate, **stairs))
    if name == "InverseTimeDecay":
        return Course(S.inverse_time(steps, decay_rate=rate, **stairs))
    if name == "PiecewiseConstantDecay":
        after = [b + 1 for b in config["boundaries"]]  # Keras jumps after the boundary.
        return Course(S.piecewise(after, config["values"]))
    if name == "PolynomialDecay":
        low, power = config.get("end_learning_rate", 1e-4), config.get("power", 1.0)
        cycle = config.get("cycle", False)
        ends = {"init_value": lr, "end_value": low, "cycle": cycle}
        return Course(S.polynomial(steps, power=power, **ends))
    if name == "CosineDecay":
        target = config.get("warmup_target")
        peak = lr if target is None else target
        low = config.get("alpha", 0.0) * peak
        fall = S.cosine(steps, init_value=peak, end_value=low)
        if target is None:
            return Course(fall)
        return Course(S.warmup(fall, config.get("warmup_steps", 0), init_value=lr))
    if name == "CosineDecayRestarts":
        return Course(
            S.cosine_restarts(
                config["first_decay_steps"],
                t_mul=config.get("t_mul", 2.0),
                m_mul=config.get("m_mul", 1.0),
                init_value=lr,
                end_value=config.get("alpha", 0.0) * lr,
            )
        )
    raise NotImplementedError(f"Keras' {name}")


HORIZON = 1_000_000  # steps in a fastai run, whose time is a share of it


def fastai(config: Config) -> Course:
    if config["fn"] == "combined_cos":
        values = [config[name] for name in ("start", "middle", "end")]
        bounds = [round(config["pct"] * HORIZON), HORIZON]
        return Course(S.piecewise(bounds, values, shape="cosine"))
    lengths = [round(share * HORIZON) for share in config["pcts"]]
    bounds = [sum(lengths[:i]) for i in range(1, len(lengths))]
    return Course(S.join(list(map(fastai_part, config["scheds"], lengths)), bounds))


def fastai_part(text: str, steps: int) -> Schedule:
    name, _, arguments = text.rstrip(")").partition("(")
    start, end, *power = map(float, arguments.split(","))
    ends = {"init_value": start, "end_value": end}
    if name == "SchedNo":
        return S.constant(start)
    if name == "SchedExp":
        return S.exponential(steps, decay_rate=end / start, init_value=start)
    if name == "SchedPoly":
        shape = lambda done: 1 - done ** power[0]
        return S.cooldown(S.constant(start), 0, steps, end_value=end, shape=shape)
    return {"SchedLin": S.linear, "SchedCos": S.cosine}[name](steps, **ends)


def shape(name: str) -> Any:
    return {"1-sqrt": "sqrt"}.get(name, name)


LIBRARIES: dict[str, Callable[[Config], Course]] = {
    "torch": torch,
    "transformers": transformers,
    "timm": timm,
    "keras": keras,
    "fastai": fastai,
}
