"""Named bits that leave a compiled step, each with its severity and its sentence.

This module does not import jax, so that reading commands start at once. Bits are
append-only: a recorded run must mean the same next year. Bits 24 to 30 are for users.
"""

import enum

USER_BITS = range(24, 31)
"""Bits that this library never assigns."""


class Severity(enum.IntEnum):
    """How much an alarm matters."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2
    EMERGENCY = 3


class Alarm(enum.IntFlag):
    """Something is wrong in this step."""

    NONFINITE_LOSS = 1 << 0
    NONFINITE_GRADIENT = 1 << 1
    NONFINITE_SIGNAL = 1 << 2
    LOSS_SPIKE = 1 << 3
    GRADIENT_SPIKE = 1 << 4
    SIGNAL_SPIKE = 1 << 5
    OUT_OF_DOMAIN = 1 << 6
    INVALID_DECISION = 1 << 7
    GRADIENT_EXPLODED = 1 << 8
    DIVERGENCE = 1 << 9
    NONFINITE_UPDATE = 1 << 10
    VANISHING_GRADIENT = 1 << 11
    ON_PROBATION = 1 << 12


ABOUT_CONTROL = Alarm.OUT_OF_DOMAIN | Alarm.INVALID_DECISION
"""Alarms that say something of the control, and nothing of the run."""


class StopReason(enum.IntFlag):
    """Why a run should stop."""

    PATIENCE = 1 << 0
    NONFINITE = 1 << 1
    GAVE_UP = 1 << 2
    TARGET = 1 << 3
    LIMIT = 1 << 4
    SMALL_GAIN = 1 << 5
    CONVERGED = 1 << 6
    OVERFITTING = 1 << 7
    GENERALIZATION_LOSS = 1 << 8
    PROGRESS_QUOTIENT = 1 << 9
    SUCCESSIVE_RISES = 1 << 10
    NO_TREND = 1 << 11
    CANNOT_IMPROVE = 1 << 12
    BUDGET = 1 << 13
    CUSTOM = 1 << 14
    NO_EVIDENCE = 1 << 15
    PRUNED = 1 << 16
    USER = 1 << 17


_ALARMS = {
    Alarm.NONFINITE_LOSS: (Severity.CRITICAL, "The loss is NaN or infinite."),
    Alarm.NONFINITE_GRADIENT: (
        Severity.CRITICAL,
        "The gradient norm is NaN.",
    ),
    Alarm.NONFINITE_SIGNAL: (Severity.WARNING, "A watched signal is NaN or infinite."),
    Alarm.LOSS_SPIKE: (Severity.WARNING, "The loss is far above its recent values."),
    Alarm.GRADIENT_SPIKE: (
        Severity.WARNING,
        "The gradient norm is far above its recent values.",
    ),
    Alarm.SIGNAL_SPIKE: (
        Severity.WARNING,
        "A watched signal is far above its recent values.",
    ),
    Alarm.OUT_OF_DOMAIN: (
        Severity.WARNING,
        'A signal that must be positive is not; for a signed one use scale="linear".',
    ),
    Alarm.INVALID_DECISION: (
        Severity.WARNING,
        "A controller asked for a NaN or negative factor, which was ignored.",
    ),
    Alarm.GRADIENT_EXPLODED: (
        Severity.CRITICAL,
        "The gradient norm is beyond 1.8e19, the largest that float32 can square.",
    ),
    Alarm.DIVERGENCE: (
        Severity.CRITICAL,
        "The loss has been far above its usual values for several steps.",
    ),
    Alarm.NONFINITE_UPDATE: (
        Severity.EMERGENCY,
        "Parameters or moments are NaN or infinite, though loss and gradient were not.",
    ),
    Alarm.VANISHING_GRADIENT: (
        Severity.WARNING,
        "The gradient norm is far below its usual values.",
    ),
    Alarm.ON_PROBATION: (
        Severity.INFO,
        "It is not known yet whether the run is healthy, so no snapshot is taken.",
    ),
}

_REASONS = {
    StopReason.PATIENCE: "The monitored signal stopped improving.",
    StopReason.NONFINITE: "Values were NaN or infinite.",
    StopReason.GAVE_UP: "Going back to a healthy state did not help.",
    StopReason.TARGET: "The monitored signal reached its target.",
    StopReason.LIMIT: "The monitored signal went beyond its limit.",
    StopReason.SMALL_GAIN: "The monitored signal gained too little on its last value.",
    StopReason.CONVERGED: "A signal has hardly changed of late.",
    StopReason.OVERFITTING: "The gap between validation and training stayed too wide.",
    StopReason.GENERALIZATION_LOSS: "The monitored signal is too far above its best.",
    StopReason.PROGRESS_QUOTIENT: (
        "Validation lost more than training progress could be worth."
    ),
    StopReason.SUCCESSIVE_RISES: "The monitored signal became worse strip after strip.",
    StopReason.NO_TREND: "The monitored signal no longer shows a trend to the better.",
    StopReason.CANNOT_IMPROVE: (
        "The monitored signal is not expected to beat its best any more."
    ),
    StopReason.BUDGET: "The budget is used up.",
    StopReason.CUSTOM: "A rule of the user's own asked to stop.",
    StopReason.NO_EVIDENCE: "The gradient is no more than the noise of the examples.",
    StopReason.PRUNED: "Other runs of the population are doing better.",
    StopReason.USER: "The user asked to stop.",
}


def bits(value: int) -> list[int]:
    """Splits flags into single bits, lowest first."""
    return [1 << n for n in range(31) if value >> n & 1]


def _is_user(bit: int) -> bool:
    return bit.bit_length() - 1 in USER_BITS


def severity(alarms: int) -> Severity:
    """Returns the highest severity among `alarms`; users' own bits are warnings."""
    levels = [_ALARMS.get(Alarm(b), (Severity.WARNING,))[0] for b in bits(alarms)]
    return max(levels, default=Severity.INFO)


def names(flags: type[enum.IntFlag], value: int) -> tuple[str, ...]:
    """Returns the lower-case names of the bits that are set.

    A bit without a name is given by its number: `user_3` for the users' bit 24 + 3,
    `unknown_20` for a bit that a newer release may have written.
    """
    known = {member.value: (member.name or "").lower() for member in flags}

    def name(bit: int) -> str:
        n = bit.bit_length() - 1
        fallback = f"user_{n - USER_BITS.start}" if _is_user(bit) else f"unknown_{n}"
        return known.get(bit, fallback)

    return tuple(name(bit) for bit in bits(value))


def sentences(flags: type[enum.IntFlag], value: int) -> tuple[str, ...]:
    """Returns one English sentence for each bit that is set."""
    table = (
        {alarm.value: text for alarm, (_, text) in _ALARMS.items()}
        if flags is Alarm
        else {reason.value: text for reason, text in _REASONS.items()}
    )
    return tuple(
        table.get(bit, f"Flag {name} is set.")
        for bit, name in zip(bits(value), names(flags, value), strict=True)
    )
