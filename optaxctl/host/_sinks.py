"""Where else a history may go: functions of a list of dicts."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optaxctl.host._extras import load
from optaxctl.host._json import dumped

Record = dict[str, Any]


def jsonl(path: str | Path) -> Callable[[list[Record]], None]:
    """Makes a sink that appends one line of JSON for every record to a file.

    It needs no locks, so it is for network file systems too. Infinity is written as
    "Infinity", as JSON has no word for it; what was not measured is left out.

    Args:
      path: The file; it is created if need be.

    Returns:
      A function of a list of records.

    Example:
      >>> import pathlib, tempfile, optaxctl as octl
      >>> file = pathlib.Path(tempfile.mkdtemp(), "run.jsonl")
      >>> sink = octl.history.jsonl(file)
      >>> with octl.history.History(tempfile.mkdtemp(), sinks=[sink]) as history:
      ...     history.evaluated(100, val_loss=0.5)
      >>> len(file.read_text().splitlines())  # run, evaluation, end
      3
    """

    def sink(records: list[Record]) -> None:
        lines = "".join(f"{dumped(record)}\n" for record in records)
        with open(path, "a", encoding="utf-8") as file:
            file.write(lines)

    return sink


def tensorboard(directory: str | Path) -> Callable[[list[Record]], None]:
    """Makes a sink that writes event files for TensorBoard, by tensorboardX.

    Columns and metrics become scalars, `gauge/NAME` under their path; events and the
    configuration become text.

    Args:
      directory: For the event files of this run.

    Returns:
      A function of a list of records.

    Raises:
      MissingExtra: If tensorboardX is not installed.

    Example:
      >>> import tempfile, optaxctl as octl
      >>> sink = octl.history.tensorboard(tempfile.mkdtemp())
      >>> with octl.history.History(tempfile.mkdtemp(), sinks=[sink]) as history:
      ...     history.evaluated(100, val_loss=0.5)
    """
    board = load("tensorboardX", extra="tensorboard", who="`history.tensorboard`")
    writer = board.SummaryWriter(os.fspath(directory), write_to_disk=True)

    def sink(records: list[Record]) -> None:
        for record in records:
            kind, step, at = (record.get(n) for n in ("record", "step", "time"))
            if kind in ("step", "evaluation"):
                for name in record.keys() - {"record", "step", "time"}:
                    writer.add_scalar(name, record[name], step, walltime=at)
            elif kind == "event":
                text = f"{record['actor']}, {record['kind']}: {record['reason']}"
                writer.add_text("events", text, step, walltime=at)
            elif kind == "run":
                writer.add_text(
                    "config", f"```json\n{dumped(record['config'])}\n```", 0
                )
        if any(record["record"] == "end" for record in records):
            writer.close()
        else:
            writer.flush()

    return sink
