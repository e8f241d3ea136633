"""Keep the rows of the last steps in the control state."""

from typing import Any

import jax
import jax.numpy as jnp

from optaxctl.views._row import Columns, Row, calls, row
from optaxctl.views._state import ControlState, states


class Rows(Row):
    """What a ring held when it was read, so that `History` can tell what is new."""


def rows(opt_state: Any) -> Row:
    """Returns the rows of the last steps, for `History.write`, oldest first.

    For a step function whose results are not yours to choose: with
    `control(..., rows=256)` the optimizer state keeps the last 256 rows, each what
    `octl.row` would have returned in its step. Call this between steps, at least every
    256 of them: it starts a copy on the device and does not wait. It works in jit too.
    Call it before a checkpoint, since `Checkpoints` leaves the rows out: what it
    restores has those of the template.

    Rows that are not there yet come first and are all 0, `step` too, and so are those
    of steps that were taken back by restoring a checkpoint. Under `vmap` the lanes are
    in front.

    Args:
      opt_state: Any tree with an optimizer state in it whose `control` keeps rows. What
        is controlled inside it is in these rows, with its prefix.

    Returns:
      A `Row` of `rows` steps. `History.write` records those of them that are new.

    Raises:
      TypeError: If no control state in the tree keeps rows, or several beside each
        other do.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(optax.sgd(0.5), octl.guard(), rows=3)
      >>> params = jnp.ones(2)
      >>> state = tx.init(params)
      >>> for loss in (4.0, 3.0, 2.0, 1.0):
      ...     updates, state = tx.update(params, state, params, value=loss)
      >>> values = octl.rows(state).named()
      >>> values["step"].tolist(), values["loss"].tolist()
      ([2, 3, 4], [3.0, 2.0, 1.0])
    """
    keeping = _keeping(opt_state)
    if len(keeping) != 1:
        raise TypeError(
            "`rows` found no control state that keeps rows. Make it with "
            "`control(..., rows=256)`."
            if not keeping
            else f"`rows` found {len(keeping)} control states beside each other that "
            "keep rows. Call it for each of them, or keep rows in one `control` around "
            "them."
        )
    bare = [ControlState(s.layout, *s.arrays(), None) for s in states(keeping)]
    columns, words = _in_order(bare, keeping[0].ring())
    return Rows(Columns(columns.names, columns.kinds, calls(bare)), words)


def with_ring(state: ControlState, size: int | None) -> ControlState:
    """Returns a state that keeps as many rows, all of them empty yet."""
    if size is None:
        return state
    width = len(jax.eval_shape(row, state).columns.names)
    return state._replace(rows=jnp.zeros((size, width), jnp.int32))


def noted(state: ControlState) -> ControlState:
    """Puts the row of the step that made this state over the oldest one, in place."""
    if state.rows is None:
        return state
    words = row(state).words
    place = (words[0] - 1) % len(state.rows)  # the first word is the step
    ring = jax.lax.dynamic_update_slice_in_dim(state.rows, words[None], place, 0)
    return state._replace(rows=ring)


@jax.jit
def _in_order(found: list[ControlState], ring: jax.Array) -> Row:
    step = found[0].content().step[..., None, None]
    ring = jnp.where(ring[..., :1] > step, 0, ring)
    order = jnp.argsort(ring[..., 0], axis=-1, stable=True)
    words = jnp.take_along_axis(ring, order[..., None], axis=-2)
    return Row(row(found).columns, words)


def _keeping(tree: Any) -> list[ControlState]:
    """Returns the control states that keep rows, but none that is inside another."""
    is_state = lambda x: isinstance(x, ControlState)
    found = [s for s in jax.tree.leaves(tree, is_leaf=is_state) if is_state(s)]
    return [
        s
        for state in found
        for s in ([state] if state.rows is not None else _keeping(state.inner))
    ]
