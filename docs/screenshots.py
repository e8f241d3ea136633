"""Writes images/*.png: reports and commands on real runs, as people see them.

Run `python docs/screenshots.py` after changing one, and look at the pictures. It needs
scikit-learn, for handwritten digits, and Chromium.
"""

import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from rich.console import Console, RenderableType
from rich.text import Text
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import optaxctl as octl
from optaxctl.cli._watch import Look, Screen

IMAGES = pathlib.Path(__file__).with_name("images")
EPOCHS, BATCH = 60, 32
CORRUPTED = 200
"""The step whose batch is NaN."""
WATCHED = 24
"""The epoch in which somebody watches."""
COLUMNS = 110
TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": f"{COLUMNS}"}


def controller() -> octl.Controller:
    """Returns what the controlled run is controlled by."""
    return octl.together(
        warmup=octl.lr.follow(octl.schedules.warmup(octl.schedules.constant(), 60)),
        plateau=octl.lr.plateau(3, factor=0.5, monitor="val_loss"),
        clip=octl.clip.zscore(),
        guard=octl.guard(),
        stop=octl.stop.patience(8, monitor="val_loss"),
    )


def train(
    directory: str,
    name: str,
    control: octl.Controller,
    watch: Callable[[octl.history.History], None] = lambda history: None,
) -> None:
    """Trains a small network on digits, and records it."""
    x, y = load_digits(return_X_y=True)
    x, val_x, y, val_y = train_test_split(
        (x / 16).astype(np.float32), y, test_size=500, random_state=0, stratify=y
    )
    keys = jax.random.split(jax.random.key(0))
    params: Any = {
        "in": 0.2 * jax.random.normal(keys[0], (64, 64)),
        "out": 0.1 * jax.random.normal(keys[1], (64, 10)),
    }
    rate = 1e-2
    adam = octl.inject(optax.adamw, learning_rate=rate, weight_decay=1e-4)
    tx = octl.control(adam, control, observed=("val_loss",))
    state = tx.init(params)

    def losses(params: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.relu(x @ params["in"]) @ params["out"]
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()
        return loss, 100 * (logits.argmax(-1) == y).mean()

    @jax.jit
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        grad = jax.value_and_grad(lambda params: losses(params, x, y)[0])
        value, grads = grad(params)
        params, state = octl.apply_gradients(tx, grads, state, params, value=value)
        return params, state, octl.row(state)

    evaluate = jax.jit(losses)
    config = {
        "optimizer": {"name": "adamw", "learning_rate": rate, "weight_decay": 1e-4},
        "batch": BATCH,
        "epochs": EPOCHS,
    }
    modes: Any = {"val_accuracy": "max"}
    rng, n = np.random.default_rng(0), 0
    with octl.history.History(
        directory, name=name, config=config, modes=modes
    ) as history:
        for epoch in range(1, EPOCHS + 1):
            began = time.perf_counter()
            order = rng.permutation(len(x))
            for at in range(0, len(x) - BATCH, BATCH):
                chosen, n = order[at : at + BATCH], n + 1
                images = x[chosen] + 0.3 * rng.standard_normal((BATCH, 64), np.float32)
                images = images * (np.nan if n == CORRUPTED else 1)
                params, state, row = step(params, state, images, y[chosen])
                history.write(row)
            loss, accuracy = evaluate(params, val_x, val_y)
            history.epoch(epoch, time.perf_counter() - began)
            history.evaluated(n, val_loss=loss, val_accuracy=accuracy)
            state = octl.observe(state, val_loss=loss)
            if epoch == WATCHED:
                watch(history)
            if octl.read(state).stop:
                break


def photograph(page: str, to: pathlib.Path, *, height: int, dark: bool = False) -> None:
    """Writes what Chromium shows of a page."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("The pictures need Chromium: `apt-get install chromium`.")
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, "page.html")
        file.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                *(program, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--hide-scrollbars", "--virtual-time-budget=3000"),
                *(f"--user-data-dir={directory}/profile",),
                *(f"--window-size=1100,{height}", f"--screenshot={to}"),
                *(("--force-dark-mode",) if dark else ()),
                file.as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def draw(shown: RenderableType, command: str, to: pathlib.Path) -> None:
    """Writes what a terminal shows of a command."""
    console = Console(file=io.StringIO(), record=True, width=COLUMNS, height=44)
    console.print(shown)
    svg = console.export_svg(title=f"$ {command}")
    # The fonts of this machine, and not one from the network.
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    (found,) = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = map(float, found)
    page = f"<style>body {{margin: 0}} svg {{width: 1100px}}</style>{svg}"
    photograph(page, to, height=round(1100 * height / width))


def watched(history: octl.history.History) -> None:
    """Writes what `optaxctl watch` shows while the run goes on."""
    history.flush()
    run = octl.runs.Project(history.directory).run(history.key)
    screen = Screen(Look(run, run.events(), [], True))
    draw(screen, "optaxctl watch", IMAGES / "watch.png")


def show(directory: str) -> None:
    """Writes what `optaxctl show` prints."""
    command = "from optaxctl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "show", "--directory", directory],
        env={**os.environ, **TERMINAL},
        check=True,
        capture_output=True,
        text=True,
    )
    shown = Text.from_ansi(done.stdout.rstrip())
    draw(shown, "optaxctl show", IMAGES / "show.png")


def main() -> None:
    """Trains twice, and writes the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        train(directory, "guard alone", octl.guard())
        train(directory, "controlled", controller(), watched)
        show(directory)
        controlled, alone = octl.runs.Project(directory).runs()
        page = octl.report.html(controlled)
        photograph(page, IMAGES / "report-light.png", height=2700)
        photograph(page, IMAGES / "report-dark.png", height=1400, dark=True)
        both = octl.report.html(controlled, alone)
        photograph(both, IMAGES / "report-compare.png", height=1400)


if __name__ == "__main__":
    main()
