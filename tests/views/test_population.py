"""A population: lanes that stop by themselves, however they share the machine."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec as P

import optaxctl as octl

LANES, LIMIT, CHUNK = 7, 24, 5
X = jax.random.normal(jax.random.key(1), (48, 4))
Y = jnp.sin(X @ jnp.array([1.0, -1.0, 0.5, 2.0]))
TX = optax.adam(0.05)
TOLD: list[str] = []
TRACES: list[None] = []


def init(lane: Any) -> Any:
    keys = jax.random.split(lane["key"], 3)
    params = {
        "in": jax.random.normal(keys[0], (4, 8)),
        "out": lane["scale"] * jax.random.normal(keys[1], (8,)),
    }
    return {"params": params, "opt": TX.init(params), "key": keys[2]}


def loss(params: Any, rows: Any) -> Any:
    hidden = jnp.tanh(X[rows] @ params["in"])
    return jnp.mean((hidden @ params["out"] - Y[rows]) ** 2)


def step(state: Any) -> Any:
    TRACES.append(None)
    key, sub = jax.random.split(state["key"])
    rows = jax.random.randint(sub, (16,), 0, 32)
    grads = jax.grad(loss)(state["params"], rows)
    updates, opt = TX.update(grads, state["opt"])
    params = optax.apply_updates(state["params"], updates)
    state = {"params": params, "opt": opt, "key": key}
    return state, {"val_loss": loss(params, jnp.arange(32, 48))}


def lanes(**broken: Any) -> dict[str, Any]:
    scale = np.ones(LANES, np.float32)
    scale[4] = broken.get("scale", 1)
    return {
        "key": jax.random.split(jax.random.key(0), LANES),
        "scale": jnp.asarray(scale),
        "patience": jnp.arange(LANES) % 4 + 2,
    }


def stopper(lane: Any) -> octl.Controller:
    return octl.stop.patience(lane["patience"])


@functools.cache
def trainer(by: Any) -> Any:
    log = TOLD.append if by == CHUNK else None
    return octl.population(init, step, stopper, max_updates=LIMIT, by=by, log=log)


@functools.cache
def traced(by: Any) -> tuple[octl.Finished, int]:
    before = len(TRACES)
    return trainer(by)(lanes()), len(TRACES) - before


def trained(by: Any) -> octl.Finished:
    return traced(by)[0]


def leaves(ended: octl.Finished) -> list[np.ndarray]:
    """All arrays as numbers, keys too."""
    plain = ended._replace(
        state={**ended.state, "key": jax.random.key_data(ended.state["key"])}
    )
    return [np.asarray(leaf) for leaf in jax.tree.leaves(plain)]


def test_one_by_one_each_lane_is_its_single_run_bit_for_bit() -> None:
    single = jax.jit(
        lambda lane: octl.until(step, stopper(lane), max_updates=LIMIT)(init(lane))
    )
    found = trained("map")
    assert len(set(found.updates.tolist())) > 4
    for i in range(LANES):
        alone = single(jax.tree.map(lambda x, i=i: x[i], lanes()))
        for a, b in zip(leaves(found), leaves(alone), strict=True):
            assert a[i].tobytes() == b.tobytes()
    patient = found.stop == octl.StopReason.PATIENCE
    wanted = lanes()["patience"]
    np.testing.assert_array_equal(found.controller.stale >= wanted, patient)


@pytest.mark.parametrize("by", ["vmap", CHUNK])
def test_side_by_side_it_is_the_same_to_rounding(by: Any) -> None:
    for a, b in zip(leaves(trained(by)), leaves(trained("map")), strict=True):
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("by", ["map", "vmap", CHUNK])
def test_a_lane_that_meets_a_nan_disturbs_no_other(by: Any) -> None:
    sound, broken = trained(by), trainer(by)(lanes(scale=np.nan))
    assert broken.updates[4] == lanes()["patience"][4]
    assert broken.stop[4] == octl.StopReason.PATIENCE
    assert np.isnan(broken.state["params"]["in"][4]).all()
    others = np.arange(LANES) != 4
    for a, b in zip(leaves(broken), leaves(sound), strict=True):
        # In chunks the others may go on in company of another size.
        if by == CHUNK and a.dtype == np.float32:
            np.testing.assert_allclose(a[others], b[others], rtol=1e-5, atol=1e-5)
        else:
            assert a[others].tobytes() == b[others].tobytes()


def test_a_host_loop_tells_who_ends_and_why_once() -> None:
    # Compiled once for all 7 lanes and once for 4 and 2, but not for 6, 5 and 3.
    assert traced(CHUNK)[1] == 3 * traced("vmap")[1]
    TOLD.clear()
    before = len(TRACES)
    found = trainer(CHUNK)(lanes())
    assert len(TRACES) == before
    assert set(found.stop.tolist()) == {
        octl.StopReason.PATIENCE,
        octl.StopReason.BUDGET,
    }
    order = sorted(range(LANES), key=lambda i: -(-int(found.updates[i]) // CHUNK))
    patience = lanes()["patience"]
    for i, line in zip(order, TOLD, strict=True):
        start, _, reason = line.partition(": ")
        assert start == f"Lane {i}, update {found.updates[i]}"
        bar, left = found.gauges["to_beat"][i], found.gauges["patience_left"][i]
        if found.stop[i] == octl.StopReason.PATIENCE:
            end = f"has not beaten {bar:.6g} for {patience[i]} updates; stopping."
        else:
            unit = "update" if left == 1 else "updates"
            end = f"must beat {bar:.6g} within {left} {unit}. The budget is used up."
            end += " Stopping."
        assert reason == f"val_loss {end}"


@pytest.mark.parametrize("by", ["map", "vmap"])
def test_every_device_trains_its_own_lanes(by: Any) -> None:
    mesh = jax.make_mesh((8,), ("lanes",), axis_types=(AxisType.Auto,))
    spec = P("lanes")
    three = octl.stop.patience(3)
    halve = lambda x: (x / 2, {"val_loss": jnp.maximum(x, 1)})
    train = octl.population(lambda x: x, halve, three, max_updates=LIMIT, by=by)
    spread = jax.shard_map(
        train, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )
    starts = 2.0 ** jnp.arange(16)
    np.testing.assert_array_equal(spread(starts).updates, np.arange(16) + 4)


def test_what_makes_no_sense_is_refused() -> None:
    build = functools.partial(octl.population, init, step, max_updates=LIMIT)
    with pytest.raises(ValueError, match=r"\(log=...\)` must be None with"):
        build(stopper, by="vmap", log=print)
    with pytest.raises(ValueError, match="must be 'map' or 'vmap', got 'wmap'"):
        build(stopper, by="wmap")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"population\(by=...\)` must be >= 1, got 0"):
        build(stopper, by=0)
    with pytest.raises(TypeError, match=r"population\(stopper=...\).*got 3"):
        build(lambda lane: 3)(lanes())  # pyright: ignore[reportArgumentType]
