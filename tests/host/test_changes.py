"""What has become of each controller since a checkpoint is said, and none is lost."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import optaxctl as octl
from optaxctl.host._by_name import held
from tests.host.test_by_name import STALE, W, fresh, restored, trained
from tests.host.test_checkpoint import assert_same_bits


def counter(*names: str) -> octl.Controller:
    """A controller of one's own that counts the updates under some names."""

    def update(signals: Any, state: Any) -> Any:
        del signals
        return octl.decide(), {name: state[name] + 1 for name in state}

    def init() -> Any:
        return {name: jnp.zeros(()) for name in names}

    return octl.Controller(init, update, frozenset(), lambda state: {})


def test_single_values_are_said_where_a_controller_has_others_now(
    tmp_path: Any,
) -> None:
    def nested(*names: str) -> Any:
        return octl.control(optax.adam(0.1), octl.together(mine=counter(*names)))

    saved = trained(octl.together(stop=STALE), nested("a", "b"))
    other = octl.together(stop=octl.stop.budget(9))
    with pytest.warns(UserWarning, match="other controllers") as said:
        found = restored(tmp_path, saved, fresh(other, nested("b", "c")))
    assert str(said.pop().message).partition(": ")[2] == (
        "`stop` of `opt`, `mine/c` of `opt/inner` are new and start at their "
        "beginning; `mine/a` of `opt/inner` is gone and was dropped; `stop` of `opt` "
        "was stop.patience(9, monitor='loss') and is stop.budget(9)."
    )
    mine = found.inner.content().controller["mine"]
    assert (mine["b"], mine["c"]) == (5, 0)


FRUITFUL = octl.stop.patience(9, monitor="accepted", mode="max")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A checkpoint of two of a kind; `a` is stale by 4 and `b` by 0."""
    with octl.checkpoint.Checkpoints(tmp_path_factory.mktemp("pair")) as checkpoints:
        both = trained(octl.together(a=STALE, b=FRUITFUL))
        checkpoints.save(5, {"opt": both, "w": W})
        yield checkpoints


def test_two_controllers_may_swap_their_names(pair: Any) -> None:
    template = {"opt": fresh(octl.together(a=FRUITFUL, b=STALE)), "w": W}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree, _ = pair.restore(template, renamed={"a": "b", "b": "a"})
    gauges = octl.read(tree["opt"]).gauges
    assert (gauges["a/stale"], gauges["b/stale"]) == (0, 4)


@pytest.mark.parametrize(
    ("renamed", "message"),
    [
        ({"a": "b"}, "turns both `a` and `b` of the checkpoint into `b`, and one wou"),
        ({"a": "c", "b": "c"}, "turns both `a` and `b` of the checkpoint into `c`"),
        ({"a": "late"}, r"`a` into `late`\. .* has a, b, .* b, c, later\. .* `later`"),
        ({"": "c"}, r"turns the controller into `c`\. The checkpoint has a, b, and"),
        ({"a": ""}, "turns `a` into the controller"),
    ],
)
def test_no_renaming_loses_a_controller(pair: Any, renamed: Any, message: str) -> None:
    here = octl.together(b=STALE, c=STALE, later=STALE)
    with pytest.raises(ValueError, match=message):
        pair.restore({"opt": fresh(here), "w": W}, renamed=renamed)


@pytest.mark.parametrize("single", [STALE, octl.stop.any_of(a=STALE, b=FRUITFUL)])
def test_a_single_controller_becomes_a_part_and_a_part_single(
    tmp_path: Any, single: octl.Controller
) -> None:
    saved = trained(single)
    grown = octl.together(stop=single, clip=octl.clip.quantile())
    with pytest.warns(UserWarning, match=r"s: `clip` is new and starts at its begin"):
        found = restored(tmp_path / "1", saved, fresh(grown), renamed={"": "stop"})
    assert_same_bits(found.content().controller["stop"], saved.content().controller)
    gauges = octl.read(found).gauges
    for name, value in octl.read(saved).gauges.items():
        assert gauges[f"stop/{name}"] == value
    with pytest.warns(UserWarning, match=r"s: `clip` is gone and was dropped\.$"):
        again = restored(tmp_path / "2", found, fresh(single), renamed={"stop": ""})
    assert_same_bits(again.content().controller, saved.content().controller)
    assert octl.read(again).gauges == octl.read(saved).gauges


def test_one_that_is_not_renamed_is_called_by_what_made_it(tmp_path: Any) -> None:
    template = fresh(octl.together(stop=octl.stop.budget(9)))
    with pytest.warns(UserWarning, match="other controllers") as said:
        restored(tmp_path, trained(STALE), template)
    assert str(said.pop().message).endswith(
        ": `stop` is new and starts at its beginning; "
        "`stop.patience(9, monitor='loss')` is gone and was dropped."
    )


@pytest.mark.parametrize("parts", [(), (optax.clip(1.0), optax.ema(0.9))])
def test_a_control_in_a_chain_that_grew_or_shrank_goes_on(
    tmp_path: Any, parts: Any
) -> None:
    tx = octl.control(optax.adam(0.1), octl.together(stop=STALE))
    saved: Any = optax.chain(optax.clip(1.0), tx).init(W)
    saved = (saved[0], trained(octl.together(stop=STALE)))
    with pytest.warns(UserWarning, match="has other leaves") as said:
        found = restored(tmp_path, saved, optax.chain(*parts, tx).init(W))
    assert "other controllers" not in str(said.pop().message)
    assert_same_bits(found[-1], saved[-1])


def test_a_control_that_is_gone_is_said(pair: Any) -> None:
    with pytest.warns(UserWarning, match="the control of `opt` is gone and was drop"):
        tree = pair.restore({"opt": optax.sgd(0.1).init(W), "w": W})[0]
    assert tree["opt"] == optax.sgd(0.1).init(W)


def test_two_that_a_slash_gives_one_path_are_refused(tmp_path: Any) -> None:
    state = fresh(STALE)
    for tree, path in (
        ({"x/y": state, "x": {"y": state}}, "x/y"),
        ({"x/y": W, "x": {"y": W + 1}}, "x/y"),
        (fresh(octl.together(**{"s/t": STALE, "s": octl.together(t=STALE)})), "contr"),
    ):
        with (
            octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
            pytest.raises(ValueError, match=rf"Two .* at `{path}.*has a slash in it"),
        ):
            checkpoints.save(1, tree)


def test_a_program_for_several_settings_notes_the_first_until_the_next_step() -> None:
    """The limit of what is known of how controllers were made; nothing is learnt."""
    observe = jax.jit(lambda state: octl.observe(state, val_loss=1.0))

    def call(state: Any) -> Any:
        return held(state)[""]["calls"][""]

    txs = [
        octl.control(optax.sgd(0.1), octl.stop.patience(n), observed=("val_loss",))
        for n in (3, 9)
    ]
    for tx, updates in zip(txs, (3, 9), strict=True):
        state = observe(tx.init(W))
        assert call(state) == "stop.patience(3)"
        assert call(tx.update(W, state, W)[1]) == f"stop.patience({updates})"
    # The price of this: one population of both, and another setting in mid-run.
    jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tx.init(W) for tx in txs))
    jax.lax.scan(
        lambda state, _: (txs[1].update(W, state, W)[1], None), txs[0].init(W), length=2
    )
