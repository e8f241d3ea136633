"""Rows by hand, for tests of the history that train nothing."""

import jax.numpy as jnp
import numpy as np

import optaxctl as octl
from optaxctl.host._table import Columns as Known, Table
from optaxctl.views._row import Columns

KINDS = {
    **dict.fromkeys(("step", "accepted", "refused", "rewind", "stop", "alarms"), "i"),
    **dict.fromkeys(("loss", "grad_norm", "learning_rate"), "f"),
    "lr_scale": "f",
    "clip_norm": "f",
    "clipped": "i",
}
QUIET = {
    **dict.fromkeys(KINDS, 0),
    "loss": 1.0,
    "grad_norm": 1.0,
    "learning_rate": 0.1,
    "lr_scale": 1.0,
    "clip_norm": np.inf,
}


def words(columns, values):
    """Returns one row of 32-bit words."""
    cells = [np.array(values[name], f"{kind}4") for name, kind in columns.items()]
    return np.array([cell.view(np.int32) for cell in cells], np.int32)


def rows(steps, *, more=None, **given):
    """Returns the words of several steps; what is given is a function of the step."""
    kinds = {**KINDS, **(more or {})}
    whole = []
    for step in steps:
        values = {"step": step, "accepted": step}
        values |= {name: f(step) for name, f in given.items()}
        whole.append(words(kinds, {**QUIET, **values}))
    return kinds, np.stack(whole)


def row(steps, *, calls=None, more=None, **given):
    """Returns a `Row` of one step, or of several as a scan would stack them."""
    one = isinstance(steps, int)
    kinds, whole = rows([steps] if one else steps, more=more, **given)
    columns = Columns(tuple(kinds), "".join(kinds.values()), calls or {})
    return octl.Row(columns, jnp.asarray(whole[0] if one else whole))


def table(steps, *, more=None, **given):
    """Returns a `Table` of several steps."""
    kinds, whole = rows(steps, more=more, **given)
    return Table(Known(kinds.items()).places, whole, np.asarray(whole[:, 0], float))
