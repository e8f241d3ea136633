"""Kills one of two processes that train together, and starts both again."""

import random
from pathlib import Path
from typing import Any

from tests.scale._launch import End, together

EPOCHS = 8
KILLS = 2


def two_processes(at: Path, seed: int = 0) -> dict[str, Any]:
    """Kills one of two in what it does to files, until they get through.

    The other must end by itself, with an error, and the parameters, optimizer, control
    and the best must in the end equal, bit for bit, those of a run that nothing
    happened to.
    """
    rng = random.Random(seed)
    whole = _trained(at / "whole")
    if any(end.status for end in whole):
        raise RuntimeError(f"The training fails by itself:\n{whole[0].errors}")
    victims, survivors = [], []
    for _ in range(KILLS):
        victim = rng.randrange(2)
        events = len(whole[victim].reports[-1]["written"])
        event = rng.randint(1, events // KILLS)
        ends = _trained(at / "killed", "--victim", victim, "--die-at-event", event)
        victims.append(ends[victim].status)
        survivors.append(ends[1 - victim].status)
    ended = _trained(at / "killed")
    differs = [
        f"{what} of process {number}" if end.reports else f"status {end.status}"
        for number, (end, wanted) in enumerate(zip(ended, whole, strict=True))
        for what in ("carry", "best")
        if not end.reports or end.reports[-1][what] != wanted.reports[-1][what]
    ]
    killed = sum(status == -9 for status in victims)
    silent = sum(status == 0 for status in survivors)
    return {
        "kills": killed,
        "survivors that ended as if all were well": silent,
        "differs": ", ".join(differs),
        "pass": killed > 0 and not silent and not differs,
    }


def _trained(directory: Path, *options: Any) -> list[End]:
    return together(2, directory, "--epochs", EPOCHS, *options)
