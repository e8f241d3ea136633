"""Of the rows that a control state keeps, every step is recorded once."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optaxctl as octl
from optaxctl.host.runs import Project
from optaxctl.views._ring import Rows
from tests.host._rows import row

SIZE = 8


def ring(last, **given):
    """Returns what a ring holds after a step, as `octl.rows` would."""
    kept = row(range(max(last - SIZE, 0) + 1, last + 1), **given)
    empty = jnp.zeros((SIZE - len(kept.words), kept.words.shape[1]), jnp.int32)
    return Rows(kept.columns, jnp.concatenate([empty, kept.words]))


def losses(history):
    return Project(history.directory).run(history.key).series("loss")


def test_every_step_is_recorded_once(tmp_path):
    with octl.history.History(tmp_path) as history:
        for last in (3, 3, 9, 10, 17):
            history.write(ring(last, loss=lambda s: s, clipped=lambda s: s == 2))
            if last == 9:
                history.flush()
    assert losses(history) == (list(range(1, 18)), list(range(1, 18)))
    (event,) = Project(tmp_path).run(history.key).events()
    assert (event.step, event.kind) == (2, "clipped")


def test_what_was_overwritten_is_told_once(tmp_path):
    with octl.history.History(tmp_path) as history:
        history.write(ring(1))
        history.flush()
        history.write(ring(12))
        with pytest.warns(UserWarning, match=r"^3 steps since step 1 are not recorded"):
            history.flush()
        history.write(ring(30))  # another warning would be an error
    assert losses(history)[0] == [1, *range(5, 13), *range(23, 31)]


def test_a_run_that_goes_back_is_recorded_as_it_went_on(tmp_path):
    old, new = lambda s: s, lambda s: -s if s > 6 else s
    with octl.history.History(tmp_path) as history:
        for last in (8, 10):
            history.write(ring(last, loss=old))
        history.evaluated(6, val_loss=1.0)
        history.evaluated(9, val_loss=2.0)
        history.write(ring(12, loss=new))  # back to 6, and further than before
        history.flush()
        found = [*range(1, 7), *range(-7, -13, -1)]
        assert losses(history) == (list(range(1, 13)), found)
        evaluations = Project(tmp_path).run(history.key).evaluations()
        assert evaluations == {"val_loss": ([6], [1.0])}
        history.write(ring(11, loss=new))  # back, and the same again
        history.flush()
        assert losses(history)[0] == list(range(1, 12))


def test_a_resumed_run_goes_on_from_what_its_ring_says(tmp_path):
    with octl.history.History(tmp_path) as first:
        first.write(row(range(1, 21), loss=lambda s: s))
        first.evaluated(10, val_loss=1.0)
        first.evaluated(18, val_loss=2.0)
    with octl.history.History(tmp_path, resume=first.key) as second:
        second.write(ring(16, loss=lambda s: s if s <= 14 else -s))
    assert losses(second) == (list(range(1, 17)), [*range(1, 15), -15, -16])
    evaluations = Project(tmp_path).run(first.key).evaluations()
    assert evaluations == {"val_loss": ([10], [1.0])}
    with octl.history.History(tmp_path, resume=first.key) as third:
        third.write(ring(14, loss=lambda s: s))
    assert losses(third)[0] == list(range(1, 15))


def test_lanes_are_refused(tmp_path):
    columns, words = ring(3)
    with (
        pytest.warns(UserWarning, match="Under `vmap` every lane needs"),
        octl.history.History(tmp_path) as history,
    ):
        history.write(Rows(columns, jnp.stack([words, words])))


def test_a_checkpoint_goes_on_with_another_ring(tmp_path):
    def build(rows, **more):
        controllers = octl.together(guard=octl.guard(), **more)
        tx = octl.control(optax.sgd(0.1), controllers, rows=rows)
        return tx, jax.jit(lambda w, s: octl.apply_gradients(tx, w, s, w, value=w[0]))

    tx, step = build(4)
    w = jnp.ones(2)
    state = tx.init(w)
    with octl.history.History(tmp_path) as history:
        for _ in range(4):
            w, state = step(w, state)
        history.write(octl.rows(state))
        with octl.checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints:
            history.flush()
            checkpoints.save(4, (w, state))
        w, state = step(w, state)  # and is killed

    tx, step = build(3, spike=octl.watch.spike())
    with octl.checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints:
        with pytest.warns(UserWarning, match="`spike` is new"):
            w, state = checkpoints.restore((w, tx.init(w)))[0]
        abstract = jax.eval_shape(lambda: (w, build(2)[0].init(w)))
        bare = octl.rows(checkpoints.restore(abstract)[0]).words
    assert (bare.shape[0], np.any(bare)) == (2, False)
    with octl.history.History(tmp_path, resume=history.key) as history:
        w, state = step(w, state)
        history.write(octl.rows(state))
    steps, values = losses(history)
    assert steps == [1, 2, 3, 4, 5]
    assert values == pytest.approx([0.9**i for i in range(5)])
