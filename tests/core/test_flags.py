import enum
import subprocess
import sys

import pytest

from optaxctl._core import flags
from optaxctl._core.flags import Alarm, Severity, StopReason

FLAGS = pytest.mark.parametrize("kind", [Alarm, StopReason])


@FLAGS
def test_every_flag_is_one_free_bit_with_one_sentence(kind: type[enum.IntFlag]) -> None:
    values = [flag.value for flag in kind]
    assert sum(values) == 2 ** len(values) - 1, "bits are consecutive and append-only"
    assert max(values).bit_length() - 1 < flags.USER_BITS.start
    sentences = flags.sentences(kind, sum(values))
    assert len(set(sentences)) == len(values)
    assert all(text[0].isupper() and text.endswith(".") for text in sentences)


@FLAGS
def test_bits_without_a_name_are_numbered(kind: type[enum.IntFlag]) -> None:
    value = 1 << 20 | 1 << 27 | 1 << 30
    assert flags.names(kind, value) == ("unknown_20", "user_3", "user_6")
    assert flags.sentences(kind, value)[1] == "Flag user_3 is set."


def test_names_are_in_the_order_of_bits() -> None:
    value = Alarm.LOSS_SPIKE | Alarm.NONFINITE_LOSS
    assert flags.names(Alarm, value) == ("nonfinite_loss", "loss_spike")


@pytest.mark.parametrize(
    ("alarms", "expected"),
    [
        (0, Severity.INFO),
        (Alarm.LOSS_SPIKE, Severity.WARNING),
        (Alarm.LOSS_SPIKE | Alarm.NONFINITE_LOSS, Severity.CRITICAL),
        (1 << 25, Severity.WARNING),
    ],
)
def test_severity_is_the_highest(alarms: int, expected: Severity) -> None:
    assert flags.severity(alarms) == expected


def test_reading_flags_does_not_import_jax() -> None:
    code = "import sys, optaxctl._core.flags; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
