"""Flax NNX objects as a pytree that still knows its control state, and back."""

from typing import Any

from optaxctl.views._state import ControlState

try:
    from flax import nnx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        '`optaxctl.nnx` needs Flax: pip install "optaxctl[flax]".', name=error.name
    ) from error

import jax


def pure(carry: Any) -> dict[Any, Any]:
    """Returns the state of NNX objects as nested dicts of arrays, to be saved.

    It is `nnx.as_pure(nnx.state(carry))`, which keeps what is shared once and includes
    random and batch statistics, but for the state of `control`: that stays a
    `ControlState`, so a checkpoint can write it by name. The arrays are not copied.

    Args:
      carry: A model, an `nnx.Optimizer`, or a tuple or dict of such.

    Returns:
      The dicts, keyed as `nnx.state` is. A checkpoint of that restores into these.

    Example:
      >>> import optax, optaxctl as octl
      >>> from flax import nnx
      >>> model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
      >>> tx = octl.control(optax.adam(0.1), octl.guard())
      >>> optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
      >>> tree = octl.nnx.pure((model, optimizer))
      >>> tree[0]["kernel"].shape, type(tree[1]["opt_state"]).__name__
      ((2, 3), 'ControlState')
    """
    tree = {"": nnx.to_pure_dict(nnx.state(carry), nnx.as_pure)}
    # Inner states come before those around them.
    for path, node in nnx.iter_graph(carry):
        if isinstance(node, ControlState):
            *parents, last = ("", *path)
            holder: Any = tree
            for key in parents:
                holder = holder[key]
            arrays = {"inner": {}, **holder[last]}
            holder[last] = ControlState(layout=node.layout, **arrays)
    return tree[""]


def restore(carry: Any, tree: Any) -> Any:
    """Puts a tree of `pure` back into the variables of NNX objects, in place.

    Args:
      carry: What the tree was made of, or the same built anew.
      tree: What `pure` returned, or a checkpoint of it.

    Returns:
      The carry: the same objects.

    Example:
      >>> import jax, optaxctl as octl
      >>> from flax import nnx
      >>> first, second = (nnx.Linear(2, 3, rngs=nnx.Rngs(n)) for n in range(2))
      >>> restored = octl.nnx.restore(second, octl.nnx.pure(first))
      >>> restored is second, bool((first.kernel == second.kernel).all())
      (True, True)
    """
    nnx.update(carry, _dicts(tree))
    return carry


def _dicts(tree: Any) -> Any:
    def visit(node: Any) -> Any:
        if not isinstance(node, ControlState):
            return node
        fields = node._asdict()
        # NNX has no variables for these.
        del fields["layout"]
        return _dicts({k: v for k, v in fields.items() if v is not None})

    return jax.tree.map(visit, tree, is_leaf=lambda x: isinstance(x, ControlState))
