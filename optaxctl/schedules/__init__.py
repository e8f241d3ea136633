"""Plain Optax schedules, `step -> value`: closed forms of an int32 step."""

from optaxctl.schedules._constant import constant
from optaxctl.schedules._cooldown import cooldown
from optaxctl.schedules._cosine import cosine
from optaxctl.schedules._cosine_restarts import cosine_restarts
from optaxctl.schedules._custom import custom, multiplicative
from optaxctl.schedules._cyclic import cyclic
from optaxctl.schedules._exponential import exponential
from optaxctl.schedules._get import get, hyperparams
from optaxctl.schedules._inverse import inverse_sqrt, inverse_time
from optaxctl.schedules._join import join
from optaxctl.schedules._linear import linear
from optaxctl.schedules._one_cycle import one_cycle
from optaxctl.schedules._piecewise import piecewise
from optaxctl.schedules._polynomial import polynomial
from optaxctl.schedules._power import power
from optaxctl.schedules._repeat import repeat
from optaxctl.schedules._step import multistep, step
from optaxctl.schedules._stretch import stretch
from optaxctl.schedules._tanh import tanh
from optaxctl.schedules._times import times
from optaxctl.schedules._units import Units
from optaxctl.schedules._warmup import warmup
from optaxctl.schedules._warmup_stable_decay import warmup_stable_decay

__all__ = [
    "Units",
    "constant",
    "cooldown",
    "cosine",
    "cosine_restarts",
    "custom",
    "cyclic",
    "exponential",
    "get",
    "hyperparams",
    "inverse_sqrt",
    "inverse_time",
    "join",
    "linear",
    "multiplicative",
    "multistep",
    "one_cycle",
    "piecewise",
    "polynomial",
    "power",
    "repeat",
    "step",
    "stretch",
    "tanh",
    "times",
    "warmup",
    "warmup_stable_decay",
]
