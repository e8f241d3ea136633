"""What happens to a run while a command looks at it, or to the command."""

from optaxctl.host import _database


def database(directory, act):
    db = _database.connect(directory / _database.FILE)
    try:
        act(db)
    finally:
        db.close()


def change(directory, *events, key="a", **fields):
    """Changes a run, as its history would."""
    batch = _database.Batch({"key": key, **fields}, None, [], list(events), [])
    database(directory, lambda db: _database.write(db, [batch]))


def meanwhile(monkeypatch, module, *acts):
    """Lets one thing happen in each sleep; returns what has not happened."""
    left = list(acts)
    monkeypatch.setattr(module.time, "sleep", lambda _: left.pop(0)())
    return left


def interrupt():
    raise KeyboardInterrupt
