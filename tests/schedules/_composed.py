"""Schedules of schedules, for the registry."""

from tests.schedules._entry import (
    COUNT,
    COUNT0,
    LAST,
    NO_SHAPE,
    NUMBER,
    Body,
    Entry,
    shapes,
)

COSINE = Body("cosine", {"decay_steps": 40})
LINE = Body("linear", {"transition_steps": 40, "end_value": 0.25})
STAIRS = Body("step", {"step_size": 25, "gamma": 0.5})

COMPOSED: dict[str, Entry] = {
    "join": Entry(
        {"schedules": [COSINE, LINE, STAIRS], "boundaries": [30, 60]},
        sweeps={"boundaries": ([0, 10], [20, 20], [5, 90])},
        options={"schedules": ([LINE, COSINE, STAIRS],)},
        wrong={
            "schedules": ([LINE, 0.5, LINE], None),
            "boundaries": ([30], [1, 2, 3], [60, 30], [-1, 5], [0.5, 5], 3),
        },
        horizon={"boundaries": [2**24 + 1, LAST - 20]},
    ),
    "times": Entry(
        {"schedules": [COSINE, STAIRS]},
        options={"schedules": ([COSINE], [COSINE, COSINE])},
        wrong={"schedules": ([], [COSINE, 0.5])},
    ),
    "warmup": Entry(
        {"schedule": Body("cosine", {"decay_steps": 70}), "warmup_steps": 20},
        sweeps={"warmup_steps": (0, 5, 90), "init_value": (0.25, 0.5, 2.0)},
        options={"schedule": (STAIRS,), "shape": shapes("linear")},
        wrong={
            "schedule": (0.5, None),
            "warmup_steps": COUNT0,
            "init_value": NUMBER,
            "shape": NO_SHAPE,
        },
        horizon={"warmup_steps": LAST - 20},
    ),
    "cooldown": Entry(
        {
            "schedule": Body("inverse_sqrt", {"timescale": 20}),
            "start": 60,
            "steps": 30,
        },
        sweeps={
            "start": (0, 5, 90),
            "steps": (0, 5, 90),
            "end_value": (0.25, 0.5, 2.0),
        },
        options={"schedule": (STAIRS,), "shape": shapes("linear")},
        wrong={
            "schedule": (0.5, None),
            "start": COUNT0,
            "steps": COUNT0,
            "end_value": NUMBER,
            "shape": NO_SHAPE,
        },
        horizon={"start": 2**24 + 1, "steps": 2**30},
    ),
    "repeat": Entry(
        {"schedule": LINE, "steps": 30, "m_mul": 0.5},
        sweeps={
            "steps": (5, 20, 90),
            "cycles": (1, 2, 3),
            "t_mul": (1, 2, 3),
            "m_mul": (0.0, 0.25, 1.0),
        },
        options={"schedule": (COSINE,), "t_mul": (1.5, 2.25)},
        wrong={
            "schedule": (0.5, None),
            "steps": COUNT,
            "cycles": (0, 1.5),
            "t_mul": (0, 0.5, 1.05, *NUMBER),
            "m_mul": (-0.1, *NUMBER),
        },
    ),
    "stretch": Entry(
        {"schedule": COSINE, "steps": 40, "new_steps": 90},
        sweeps={"steps": (5, 20, 90), "new_steps": (5, 20, 80)},
        options={"schedule": (LINE,)},
        wrong={"schedule": (0.5, None), "steps": COUNT, "new_steps": COUNT},
        horizon={"new_steps": LAST},
    ),
}
