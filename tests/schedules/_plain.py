"""Schedules of one piece, for the registry."""

from tests.schedules._entry import (
    COUNT,
    ENDS,
    LAST,
    NO_ENDS,
    NUMBER,
    Entry,
    shapes,
)

PLAIN: dict[str, Entry] = {
    "constant": Entry(
        {"value": 0.5},
        sweeps={"value": (0.0, 0.25, 2.0)},
        wrong={"value": NUMBER},
        span=(0.5, 0.5),
        exact=True,
    ),
    "linear": Entry(
        {"transition_steps": 80},
        sweeps={"transition_steps": (5, 20, 90), **ENDS},
        wrong={"transition_steps": COUNT, **NO_ENDS},
        horizon={"transition_steps": LAST},
        exact=True,
    ),
    "polynomial": Entry(
        {"transition_steps": 80, "power": 2.0},
        sweeps={"transition_steps": (5, 20, 90), "power": (0.5, 1.0, 3.0), **ENDS},
        options={"cycle": (True,)},
        wrong={"transition_steps": COUNT, "power": (0.0, -1.0, *NUMBER), **NO_ENDS},
        horizon={"transition_steps": LAST},
    ),
    "step": Entry(
        {"step_size": 20, "gamma": 0.5},
        sweeps={
            "step_size": (5, 20, 90),
            "gamma": (0.0, 0.1, 0.9),
            "init_value": (0.0, 0.25, 2.0),
        },
        wrong={"step_size": COUNT, "gamma": (-0.1, *NUMBER), "init_value": NUMBER},
        horizon={"step_size": 2**30},
    ),
    "multistep": Entry(
        {"milestones": [20, 60, 80], "gamma": 0.5},
        sweeps={
            "milestones": ([5, 6, 7], [20, 20, 20], [0, 50, 90]),
            "gamma": (0.0, 0.1, 0.9),
            "init_value": (0.0, 0.25, 2.0),
        },
        wrong={
            "milestones": ([-1], [2.5], 3, "3", b"3", {30: 0.5}),
            "gamma": (-0.1, *NUMBER),
            "init_value": NUMBER,
        },
        horizon={"milestones": [2**24 + 1, LAST]},
    ),
    "piecewise": Entry(
        {"boundaries": [20, 60, 80], "values": [0.25, 1.0, 0.5, 0.0]},
        sweeps={
            "boundaries": ([5, 6, 7], [20, 20, 20], [0, 50, 90]),
            "values": (
                [0.0, 1.0, 0.0, 1.0],
                [1.0, 1.0, 1.0, 1.0],
                [3.0, 2.0, 1.0, 0.0],
            ),
        },
        options={"shape": shapes(but="")},
        wrong={
            "boundaries": ([3, 2, 1], [-1, 2, 3], [0.5, 1, 2], 3),
            "values": (0.5, [1.0], [1.0, 1.0, 1.0, float("nan")]),
            "shape": ("sine",),
        },
        horizon={"boundaries": [2**24 + 1, 2**30, LAST]},
        exact=True,
    ),
    "exponential": Entry(
        {"transition_steps": 40, "decay_rate": 0.25},
        sweeps={
            "transition_steps": (5, 20, 90),
            "decay_rate": (0.0, 0.5, 0.99),
            "init_value": (0.0, 0.25, 2.0),
        },
        options={"staircase": (True,)},
        wrong={
            "transition_steps": COUNT,
            "decay_rate": (-0.1, *NUMBER),
            "init_value": NUMBER,
        },
        horizon={"transition_steps": LAST},
    ),
    "inverse_time": Entry(
        {"decay_steps": 10, "decay_rate": 1.0},
        sweeps={
            "decay_steps": (5, 20, 90),
            "decay_rate": (0.0, 0.5, 2.0),
            "init_value": (0.0, 0.25, 2.0),
        },
        options={"staircase": (True,)},
        wrong={
            "decay_steps": COUNT,
            "decay_rate": (-0.1, *NUMBER),
            "init_value": NUMBER,
        },
        horizon={"decay_steps": LAST},
        exact=True,
    ),
    "inverse_sqrt": Entry(
        {"timescale": 10},
        sweeps={
            "timescale": (5, 20.5, 90),
            "shift": (0, 1.5, 50),
            "init_value": (0.0, 0.25, 2.0),
            "exponent": (0.25, 1.0, 2.0),
        },
        wrong={
            "timescale": (0, -1, *NUMBER),
            "shift": (-1, *NUMBER),
            "init_value": NUMBER,
            "exponent": (0, *NUMBER),
        },
        horizon={"timescale": LAST},
    ),
    "cosine": Entry(
        {"decay_steps": 80},
        sweeps={"decay_steps": (5, 20, 90), **ENDS},
        options={"periodic": (True,)},
        wrong={"decay_steps": COUNT, **NO_ENDS},
        horizon={"decay_steps": LAST},
    ),
}
