"""Keep the last healthy states on the device, and go back to them inside the step."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from optaxctl._core import checks
from optaxctl._core.types import I32, Flag
from optaxctl.views._signals import varying

Slots = tuple[Any, ...]
"""A ring of pairs of parameters and optimizer state."""


class Health(NamedTuple):
    """What is known of the run, for its snapshots."""

    quiet: I32  # steps without an alarm since the last one, or the last snapshot
    newest: I32  # the slot with the newest snapshot
    depth: I32  # snapshots there are; the first is the initial state
    landing: Flag  # whether parameters are 0, and the next update must set them


@dataclass(frozen=True)
class Snapshots:
    """How often `control` copies a healthy state on the device, and how many it keeps.

    The parameters and the optimizer's state are copied as they were handed to a step,
    once `every` steps in a row raised no alarm, so every snapshot has measured a
    healthy loss. On `rewind` the newest one is thrown away, since whatever went wrong
    may have begun before it was taken, and the one before it comes back: it has seen
    `every` healthy steps since. The further a run falls, the older what it returns to;
    the first snapshot is the initial state, and the oldest one always stays.

    What comes back is the parameters and the optimizer's state, bit for bit. Steps are
    not uncounted and controllers keep their state, so the schedules of `inject`,
    budgets and cuts of the rate go on; the data goes on too, past the batches that did
    the harm. The count of a ready-made optimizer, and with it its schedule, comes back.

    When a snapshot is due and the parameters or moments are NaN or infinite, the step
    raises `NONFINITE_UPDATE` and goes back instead.

    Attributes:
      every: Steps without an alarm between two snapshots, >= 1. A rewind loses between
        `every` and twice as many.
      keep: How many to keep, >= 2. Each takes as much memory as parameters and
        optimizer state: AdamW then holds 3 * (1 + keep) numbers for each parameter.

    Raises:
      ValueError: If a number is out of range.

    Example:
      >>> import jax.numpy as jnp, optax, optaxctl as octl
      >>> tx = octl.control(
      ...     optax.sgd(0.5),
      ...     octl.respond(octl.watch.spike(6.0), rewind=True),
      ...     snapshots=octl.Snapshots(every=1),
      ... )
      >>> params = jnp.array([8.0])
      >>> state = tx.init(params)
      >>> for loss in (1.0, 1.0, 1.0, 99.0):
      ...     print(float(params[0]))
      ...     params, state = octl.apply_gradients(
      ...         tx, jnp.array([2.0]), state, params, value=loss
      ...     )
      8.0
      7.0
      6.0
      5.0
      >>> float(params[0]), octl.read(state).rewinds
      (7.0, 1)
    """

    every: int = 100
    keep: int = 2

    def __post_init__(self) -> None:
        checks.count("Snapshots", every=self.every)
        checks.count("Snapshots", low=2, keep=self.keep)

    def start(self) -> Health:
        """Returns what is known before the first step."""
        zero = lambda: jnp.zeros((), jnp.int32)
        return Health(zero(), zero(), zero() + 1, jnp.zeros((), jnp.bool_))

    def fill(self, params: Any, inner: Any) -> Slots:
        """Returns all slots with the initial state, each a copy that can be donated."""
        copy = lambda: jax.tree.map(jnp.array, (params, inner))
        return tuple(copy() for _ in range(self.keep))

    def due(self, healthy: Flag, health: Health) -> tuple[Flag, Health]:
        """Returns whether to take a snapshot in this step, and counts it."""
        quiet = jnp.where(healthy, health.quiet + 1, 0)
        take = quiet >= self.every
        return take, Health(
            quiet=jnp.where(take, 0, quiet),
            newest=jnp.where(take, (health.newest + 1) % self.keep, health.newest),
            depth=jnp.where(
                take, jnp.minimum(health.depth + 1, self.keep), health.depth
            ),
            landing=health.landing,
        )

    def popped(self, back: Flag, health: Health) -> Health:
        """Throws the newest snapshot away, unless it is the last, before going back."""
        pops = back & (health.depth > 1)
        return health._replace(
            newest=jnp.where(pops, (health.newest - 1) % self.keep, health.newest),
            depth=jnp.where(pops, health.depth - 1, health.depth),
        )


# What follows has a form that XLA:CPU carries out in place. Every slot has a branch of
# its own, the branch that changes nothing comes second, the other selects from old and
# new, and what overwrites a buffer waits for a value from the branch that reads it.
# Anything simpler copies the parameters, the moments or the snapshots in every step.


def filed(
    take: Flag,
    newest: I32,
    slots: Slots,
    params: Any,
    inner: Any,
    axis_name: str | None,
) -> tuple[Slots, Flag]:
    """Writes the newest snapshot if `take`, and tells whether it is broken."""
    # Inside `shard_map` a device may see a shard; each branch must know that it does.
    axes = frozenset().union(*map(varying, jax.tree.leaves((params, inner))))
    yes = jax.lax.pcast(jnp.ones((), jnp.bool_), tuple(axes), to="varying")
    new, whole = [], yes
    for i, slot in enumerate(slots):
        here = take & (newest == i)

        def write(slot: Any, params: Any, inner: Any, here: Flag = here) -> Any:
            return _select(here, (params, inner), slot), yes & _finite((params, inner))

        keep = lambda slot, params, inner: (slot, yes)
        slot, fine = jax.lax.cond(here, write, keep, slot, params, inner)
        new.append(slot)
        whole &= fine
    broken = (~whole).astype(jnp.int32)
    if axis_name is not None:
        broken = jax.lax.pmax(broken, axis_name)
    return tuple(new), broken != 0


def restored(there: Flag, newest: I32, slots: Slots, tree: Any, part: int) -> Any:
    """Returns `tree`, or that part of the newest snapshot if `there`."""
    for i, slot in enumerate(slots):
        here = there & (newest == i)
        write = lambda slot, tree, here=here: _select(here, slot, tree)
        tree = jax.lax.cond(here, write, lambda slot, tree: tree, slot[part], tree)
    return tree


def flown(
    back: Flag, landing: Flag, newest: I32, slots: Slots, updates: Any, params: Any
) -> Any:
    """Returns the updates, or those that lead to the newest snapshot in two steps.

    An update cannot say "become s", as p + (s - p) is not s in floating point; so it is
    -p in the step that goes back, and s in the one that lands.
    """
    wide = lambda u, p: u.astype(jnp.result_type(u, p))
    updates = jax.tree.map(wide, updates, params)
    minus = lambda p: jnp.zeros_like(p) if p.dtype == bool else -p
    leave = lambda u, p: _select(back, jax.tree.map(minus, p), u)
    updates = jax.lax.cond(back, leave, lambda u, p: u, updates, params)
    return restored(landing, newest, slots, updates, 0)


def _finite(tree: Any) -> Flag:
    """Whether all arrays are finite; scalars may be infinite, as a "best so far" is.

    Of a control state inside only the optimizer counts: what it packs has its own law.
    """
    ok = jnp.ones((), jnp.bool_)
    for leaf in jax.tree.leaves(tree, is_leaf=_is_control):
        if _is_control(leaf):
            ok &= _finite(leaf.inner)
        elif jnp.issubdtype(leaf.dtype, jnp.inexact):
            ok &= jnp.all(jnp.isfinite(leaf)) if leaf.ndim else ~jnp.isnan(leaf)
    return ok


def _is_control(node: Any) -> bool:
    return hasattr(node, "layout") and hasattr(node, "inner")


def _select(here: Flag, new: Any, old: Any) -> Any:
    """Selects leaf by leaf, in the structure and precision of `old`.

    Frameworks rebuild what they pass through, NNX for one, so equal leaves may sit in
    different containers.
    """
    leaves, structure = jax.tree.flatten(old)
    pairs = zip(jax.tree.leaves(new), leaves, strict=True)
    return structure.unflatten(
        [jnp.where(here, n.astype(o.dtype), o) for n, o in pairs]
    )
