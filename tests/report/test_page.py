"""The page in a browser: drawn, marked, silent, and deaf to what the data says."""

import html
import json
import pathlib
import re

import numpy as np
import pytest

import optaxctl as octl
from tests.report._browser import Opened, open_page
from tests.report._project import HOSTILE, event, training, write

# It would show on the root if any of it were taken for HTML.
ATTACK = (
    "</script><script>document.documentElement.dataset.taken = 1</script>"
    "<img src=x onerror='document.documentElement.dataset.taken = 1'>"
    "<!--<script>\u2028 \" ' ` & ${1}"
)
TAG = r'<div class="{}"([^>]*)>'


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The report of a usual run."""
    directory = tmp_path_factory.mktemp("one")
    page = octl.report.html(training(directory, name=HOSTILE))
    return open_page(page, directory)


# What a reader does without a mouse; the answers become the title.
READER = """<script>addEventListener("load", async () => {
  const box = document.querySelector(".chart"), says = document.getElementById("says");
  const shown = () => document.querySelectorAll("canvas").length;
  const answers = [];
  const press = async (key) => {
    box.dispatchEvent(new KeyboardEvent("keydown", { key }));
    await new Promise((done) => setTimeout(done, 50));
    answers.push([key, says.textContent.split(",")[0], box.dataset.shown]);
  };
  for (const key of ["End", "ArrowLeft", "Home", "+", "0"]) await press(key);
  box.closest("main").querySelector("section > details").open = true;
  await new Promise((done) => setTimeout(done, 50));
  answers.push(shown());
  document.getElementById("theme").click();
  document.getElementById("theme").click();
  await new Promise((done) => setTimeout(done, 50));
  const back = getComputedStyle(document.body).backgroundColor;
  answers.push([document.documentElement.dataset.theme, back, shown()]);
  document.title = JSON.stringify(answers);
});</script></body>"""


def tags(opened: Opened, name: str) -> list[dict[str, str]]:
    found = re.findall(TAG.format(name), opened.dom)
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in found]


def test_every_chart_is_drawn(opened: Opened) -> None:
    charts = tags(opened, "chart")
    drawn = [chart for chart in charts if "data-drawn" in chart]
    titles = re.findall(r"<h3[^>]*>([^<]+)</h3>", opened.dom)
    assert titles == [
        "Loss",
        "Validation loss minus training loss",
        "Learning rate",
        "Gradient norm",
        "accuracy",
        "Scale of the learning rate",
        "stop/patience_left",
    ]
    # The last two, details, are drawn when somebody looks at them.
    assert len(drawn) == opened.dom.count("<canvas") == len(charts) - 2 == 5
    assert [chart["data-drawn"] for chart in drawn] == ["3", "1", "1", "2", "1"]
    assert {chart["data-shown"] for chart in drawn} == {"1 300"}


def test_markers_stand_at_the_steps_of_their_events(opened: Opened) -> None:
    markers, areas = tags(opened, "event"), tags(opened, "u-over")
    assert len(markers) == 3 * len(areas) == 15
    for place, area in enumerate(areas):
        marked = markers[3 * place : 3 * place + 3]
        (width,) = re.findall(r"width: ([\d.]+)px", area["style"])
        steps = [int(marker["data-step"]) for marker in marked]
        assert steps == [30, 150, 300]
        for step, marker in zip(steps, marked, strict=True):
            (left,) = re.findall(r"left: ([\d.]+)px", marker["style"])
            expected = float(width) * (step - 1) / (300 - 1)
            assert float(left) == pytest.approx(expected, abs=0.06)
    said = [(m["data-event"], m["data-severity"]) for m in markers[:3]]
    assert said == [("1", "critical"), ("2", "warning"), ("3", "info")]


def test_keys_move_zoom_and_tell_and_the_switch_makes_it_dark(
    tmp_path: pathlib.Path,
) -> None:
    run = training(tmp_path)
    page = re.sub("<meta http-equiv=[^>]*>", "", octl.report.html(run))
    opened = open_page(page.replace("</body>", READER), tmp_path)
    title, *_ = re.findall("<title>(.*)</title>", opened.dom)
    loss = dict(zip(*run.series("loss"), strict=True))
    said = lambda step: f"Step {step}: loss {loss[step]:.4g}"
    assert json.loads(html.unescape(title)) == [
        ["End", said(300), "1 300"],
        ["ArrowLeft", said(294), "1 300"],
        ["Home", said(1), "1 300"],
        ["+", "Steps 1 to 151", "1 150.5"],
        ["0", "Steps 1 to 300", "1 300"],
        7,
        ["dark", "rgb(18, 22, 27)", 7],
    ]
    assert opened.console == []


def test_it_says_nothing_on_the_console_and_asks_no_server(opened: Opened) -> None:
    assert opened.root.keys() == {"lang", "data-theme", "data-ready"}
    assert opened.console == []
    assert opened.requests == []


def test_a_run_named_like_a_script_is_only_named_so(opened: Opened) -> None:
    assert f"<h1>{html.escape(HOSTILE, quote=False)}</h1>" in opened.dom
    assert f"<title>{html.escape(HOSTILE, quote=False)}</title>" in opened.dom
    assert opened.dom.count("<script") == 3


def test_nothing_that_is_recorded_is_taken_for_html(tmp_path: pathlib.Path) -> None:
    what = {
        "name": ATTACK,
        "status": ATTACK,
        "reason": ATTACK,
        "key": ATTACK,
        "config": {ATTACK: {ATTACK: [ATTACK]}},
        "environment": {ATTACK: ATTACK},
        "summary": {"steps": 3, "best": {ATTACK: [1.0, 2]}},
        "evaluations": {f"val_{ATTACK}": ([1, 3], [1.0, 2.0])},
        "events": [
            event(
                2,
                ATTACK,
                actor=ATTACK,
                severity="warning",
                reason=ATTACK,
                evidence={ATTACK: ATTACK},
                outcome=ATTACK,
            )
        ],
    }
    columns = {ATTACK: [1.0, 2.0, 4.0], "knob/" + ATTACK: [1.0, 1.0, 1.0]}
    first = write(tmp_path, columns, **what)
    second = write(tmp_path, columns, **{**what, "key": "other", "config": {}})
    opened = open_page(octl.report.html(first, second), tmp_path)
    assert opened.root.keys() == {"lang", "data-theme", "data-ready"}
    assert opened.console == []
    assert opened.requests == []
    assert opened.root["data-ready"] == "1"
    assert opened.dom.count("<script") == 3
    assert "<img" not in opened.dom


def test_a_long_series_is_thinned_and_the_page_says_so(tmp_path: pathlib.Path) -> None:
    loss = np.full(100_000, 1.0)
    loss[70_000] = 50.0
    page = octl.report.html(write(tmp_path, {"loss": loss}))
    assert "Of 100,000 steps each line shows the lowest and the highest" in page
    assert '"values":[1.0' in page
    assert "50.0" in page
    assert len(page) < 200_000


def test_a_notebook_shows_the_page_in_a_frame(tmp_path: pathlib.Path) -> None:
    page = octl.report.html(training(tmp_path))
    shown = page._repr_html_()  # pyright: ignore[reportAttributeAccessIssue]
    (inside,) = re.findall(r'srcdoc="([^"]*)"', shown)
    assert html.unescape(inside) == page
    assert 'sandbox="allow-scripts"' in shown


def test_a_run_without_anything_has_a_page(tmp_path: pathlib.Path) -> None:
    page = octl.report.html(write(tmp_path, {}, summary={}, status="running", step=0))
    assert "Running at step 0." in page
    assert "Nothing: no controller had a reason to act." in page
