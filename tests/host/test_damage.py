"""What the disk did to a checkpoint is found before it is trusted, and said."""

import json
import resource
import shutil
import warnings
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import optaxctl as octl
from optaxctl.host._checksums import newest_sound, seal


def tree(step: int) -> Any:
    return {"x": jnp.full(3000, step, jnp.float32)}


def saved(directory: Path, **how: Any) -> Path:
    """Saves steps 1 to 3, of which the last two are kept."""
    with octl.checkpoint.Checkpoints(directory, **how) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, tree(step), {"step": step})
    return directory


def flip(file: Path, at: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 4
    file.write_bytes(content)


def files(step: Path) -> list[Path]:
    """Those that hold something, and are not rewritten by Orbax when they are moved."""
    return sorted(p for p in step.rglob("*") if p.is_file() and p.parent != step)


def test_a_flipped_bit_in_any_file_leads_to_the_checkpoint_before(
    tmp_path: Path,
) -> None:
    whole = saved(tmp_path / "whole")
    names = [file.relative_to(whole) for file in files(whole / "3")]
    assert len(names) > 5
    for n, name in enumerate(names):
        run = shutil.copytree(whole, tmp_path / str(n))
        flip(run / name, at=len((run / name).read_bytes()) // 2)
        with octl.checkpoint.Checkpoints(run) as checkpoints:
            said = rf"step 3 in .* damaged: `{name.relative_to('3')}` .* Step 2 is rest"
            with pytest.warns(UserWarning, match=said):
                found, notes = checkpoints.restore(tree(0))
            assert notes == {"step": 2}
            np.testing.assert_array_equal(found["x"], 2)
            # Who only reads leaves everything as it is.
            assert checkpoints.latest() == 3
            # The step can be done and saved again, and what was found is not lost.
            checkpoints.save(3, tree(3), {"step": 3})
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert checkpoints.restore(tree(0))[1] == {"step": 3}
        assert (run / "3.damaged" / name.relative_to("3")).exists()


@pytest.mark.parametrize("how", ["cut", "gone", "checksums", "no checksums"])
def test_whatever_is_not_as_it_was_is_damage(tmp_path: Path, how: str) -> None:
    step = saved(tmp_path) / "3"
    data = max(files(step), key=lambda path: path.stat().st_size)
    if how == "cut":
        data.write_bytes(data.read_bytes()[:-9])
    elif how == "gone":
        data.unlink()
    elif how == "checksums":
        (step / "checksums.json").write_text('{"state')
    else:
        (step / "checksums.json").unlink()
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=r"no sound .* of step 3 is not as it was"):
            checkpoints.restore(tree(0), step=3)
        with pytest.warns(UserWarning, match="Step 2 is restored"):
            assert checkpoints.restore(tree(0))[1] == {"step": 2}


def test_half_a_deletion_or_a_save_is_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path)
    for name in ("checksums.json", "_CHECKPOINT_METADATA"):
        (tmp_path / "3" / name).unlink()
    half = tmp_path / "4.orbax-checkpoint-tmp" / "state"
    half.mkdir(parents=True)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        with pytest.warns(UserWarning, match="Step 2 is restored"):
            checkpoints.restore(tree(0))
        # Somebody may only look, while the run goes on.
        assert half.exists()
        checkpoints.tidy()
        assert checkpoints.steps() == [2]
        assert not half.parent.exists()


def test_a_kill_in_a_deletion_leaves_nothing_to_trust(
    tmp_path: Path, monkeypatch: Any
) -> None:
    saved(tmp_path)
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        monkeypatch.setattr(type(checkpoints.directory), "rmtree", lambda path: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            checkpoints.discard(after=2)
        monkeypatch.undo()
    with octl.checkpoint.Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [2]
        checkpoints.save(3, tree(3))


def test_one_may_read_while_another_writes(tmp_path: Path) -> None:
    reader = octl.checkpoint.Checkpoints(tmp_path)
    with octl.checkpoint.Checkpoints(tmp_path) as writer:
        for step in range(1, 5):
            writer.save(step, tree(step), {"step": step})
        writer.wait()
        assert reader.restore(tree(0))[1] == {"step": 4}
        known = reader.steps()
        writer.discard(after=3)
        # What was deleted since it looked is passed over, and not called damaged.
        assert newest_sound(reader.directory, known).step == 3
    reader.close()


def test_outside_of_a_block_a_save_is_complete_when_it_returns(tmp_path: Path) -> None:
    checkpoints = octl.checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    assert (tmp_path / "1" / "checksums.json").exists()
    checkpoints.close()


def test_of_some_steps_the_newest_sound_one_is_restored(tmp_path: Path) -> None:
    saved(tmp_path, keep=3)
    flip(max(files(tmp_path / "2"), key=lambda path: path.stat().st_size))
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.warns(UserWarning, match="Step 1 is restored"),
    ):
        assert checkpoints.restore(tree(0), [1, 2])[1] == {"step": 1}


def test_the_best_is_kept_by_one_metric(tmp_path: Path) -> None:
    how = {"best": "loss", "keep": 1}
    with octl.checkpoint.Checkpoints(tmp_path, **how) as checkpoints:
        checkpoints.save(1, tree(1), metrics={"loss": np.nan, "accuracy": 0.5})
        assert checkpoints.best() is None
        for step, loss in ((2, 0.1), (3, 0.3), (4, 0.2)):
            metrics = {"loss": loss, "accuracy": loss}
            checkpoints.save(step, tree(step), metrics=metrics)
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match=r"best=None would lose it.*best='loss'"),
    ):
        checkpoints.save(5, tree(5))
    with octl.checkpoint.Checkpoints(tmp_path, **how) as checkpoints:
        checkpoints.tidy()
        assert (checkpoints.steps(), checkpoints.best()) == ([2, 4], 2)
    with octl.checkpoint.Checkpoints(tmp_path, best="accuracy", mode="max") as other:
        assert other.best() == 4


def test_a_full_disk_is_an_error_that_says_where(tmp_path: Path) -> None:
    noise = {"x": jnp.asarray(np.random.default_rng(0).normal(size=50_000))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints = octl.checkpoint.Checkpoints(tmp_path)
    checkpoints.save(1, tree(1))
    try:
        # Python ignores SIGXFSZ, so that writing more is an error and no death.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, limits[1]))
        with pytest.raises(OSError, match=r"step 2 could not .*of step 1 is complete"):
            checkpoints.save(2, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.restore(tree(0))[0]["x"][0] == 1
    checkpoints.save(2, noise)
    checkpoints.close()
    with octl.checkpoint.Checkpoints(tmp_path) as again:
        assert again.steps() == [1, 2]
        again.discard(after=1)
        assert again.steps() == [1]


def test_what_a_later_version_wrote_is_refused(tmp_path: Path) -> None:
    step = saved(tmp_path) / "3"
    notes = step / "notes" / "metadata"
    written = json.loads(notes.read_text())
    written["optaxctl"]["format"] += 1
    notes.write_text(json.dumps(written))
    seal(step)
    with (
        octl.checkpoint.Checkpoints(tmp_path) as checkpoints,
        pytest.raises(ValueError, match=r"has the format 2, and .* reads 1.*Update"),
    ):
        checkpoints.restore(tree(0))
