"""Data goes on with the very next element, in whatever an iterator keeps its place."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import optaxctl as octl
from optaxctl.host import _iterators

TREE = {"w": jnp.zeros(1)}


class Counter:
    """An iterator of one's own; what it keeps its place in is for `spell` to say."""

    def __init__(self, spell: Any = lambda place: place) -> None:
        self.place, self.spell = {"next": 0}, spell

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> int:
        self.place["next"] += 1
        return self.place["next"]

    def get_state(self) -> Any:
        return self.spell(self.place)

    def set_state(self, state: Any) -> None:
        if isinstance(state, bytes):
            assert state[:2] == b"\xff\x00"
            state = {"next": int(state[2:])}
        self.place = state


class Source:
    """Grain's loader compares how its source is spelt."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, n: int) -> int:
        return n

    def __repr__(self) -> str:
        return "Source()"


def dataset() -> Any:
    """Grain's iterator, whose state is a dict."""
    return iter(grain.MapDataset.range(20).shuffle(seed=3).to_iter_dataset().batch(3))


def loader() -> Any:
    """Grain's older one, whose state is bytes."""
    sampler = grain.samplers.IndexSampler(10, shuffle=True, num_epochs=2, seed=1)
    source: Any = Source()
    return iter(grain.DataLoader(data_source=source, sampler=sampler))


def own() -> Any:
    return Counter()


def binary() -> Any:
    return Counter(lambda place: b"\xff\x00" + str(place["next"]).encode())


def everything() -> Any:
    return {f.__name__: f() for f in (dataset, loader, own, binary)}


def following(data: Any) -> list[list[Any]]:
    """What comes next; Grain's batches as lists."""
    several = data.values() if isinstance(data, dict) else [data]
    return [[np.asarray(x).tolist() for x in itertools.islice(i, 3)] for i in several]


@pytest.mark.parametrize("build", [dataset, loader, own, binary, everything])
def test_the_next_element_follows_in_a_new_iterator(build: Any, tmp_path: Path) -> None:
    data = build()
    first = following(data)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, TREE, data=data)
        expected = following(data)
    assert expected != first
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        again = build()
        tree, _ = checkpoints.restore(TREE, data=again)
    assert following(again) == expected
    assert tree["w"] == 0


def test_other_names_and_checkpoints_without_a_position_are_refused(
    tmp_path: Path,
) -> None:
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, TREE)
        checkpoints.save(2, TREE, data={"train": own(), "val": own()})
        for data, message in (
            ({"train": own()}, r"step 2 .* of `train`, `val`, and `data` is `train`\."),
            (own(), "`data` is one without a name"),
            (
                {"train": own(), "val": iter([])},
                r"`data\[\"val\"\]` is a list_iterator",
            ),
        ):
            with pytest.raises((ValueError, TypeError), match=message):
                checkpoints.restore(TREE, data=data)
        with pytest.raises(ValueError, match=r"step 1 .* has no position of the data"):
            checkpoints.restore(TREE, 1, data=own())
        with pytest.warns(UserWarning, match="is not restored. Pass `data=...`") as it:
            assert checkpoints.restore(TREE)[0] == TREE  # none asked for, none moved
        assert (len(it), it[0].filename) == (1, __file__)
        assert checkpoints.restore(TREE, data={})[0] == TREE  # on purpose
        assert checkpoints.restore(TREE, 1)[0] == TREE


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({0: 1}, "the key 0, which would come back as a string"),
        ((3, [1, 2]), "a tuple, which would come back as a list"),
        ({"a": [{"b": ()}]}, "a tuple, which"),
        ({"n": np.int64(1)}, "int64 is not JSON serializable"),
        ({"n": {1}}, "set is not JSON serializable"),
    ],
)
def test_a_state_that_json_would_change_is_refused_before_anything_is_written(
    state: Any, message: str, tmp_path: Path
) -> None:
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(TypeError, match=rf"state of `data` is not JSON.*{message}"):
            checkpoints.save(1, TREE, data=Counter(lambda _: state))
        assert checkpoints.latest() is None


def test_an_iterator_that_does_not_take_its_state_is_named(tmp_path: Path) -> None:
    class Stubborn(Counter):
        def set_state(self, state: Any) -> None:
            raise OSError(f"no shard {state}")

    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, TREE, data={"a": own(), "b": own(), "c": own()})
        data = {"a": own(), "b": Stubborn(), "c": own()}
        with pytest.raises(ValueError, match=r"`data\[\"b\"\]` could not") as said:
            checkpoints.restore(TREE, data=data)
    assert isinstance(said.value.__cause__, OSError)
    assert str(said.value).endswith(
        "OSError: no shard {'next': 0}. Moved before it: `data[\"a\"]`. Build the data "
        "anew before it is used."
    )


def test_every_process_has_its_own_position_and_their_number_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process that takes itself for each of two; Orbax does the rest."""

    def be(index: int, of: int) -> None:
        monkeypatch.setattr(jax, "process_index", lambda: index)
        monkeypatch.setattr(jax, "process_count", lambda: of)

    two = [Counter(), Counter()]
    next(two[1])
    for n, data in enumerate(two):
        be(n, of=2)
        args = ocp.args.JsonSave(_iterators.positions(data))
        next(data)  # going on does not move what is yet to be written
        _iterators.handler(ocp).save(tmp_path, args=args)
    (tmp_path / "commit_success.txt").touch()  # as Orbax leaves one beside them
    for n in range(2):
        be(n, of=2)
        again = Counter()
        _iterators.move(again, _iterators.saved(tmp_path, again, "It"))
        assert again.place == {"next": n}
    for count in (1, 3):
        be(0, of=count)
        message = f"It has the positions of data in 2 processes, and {count} read it"
        with pytest.raises(ValueError, match=message):
            _iterators.saved(tmp_path, Counter(), "It")
