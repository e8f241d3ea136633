"""Commands for a run that goes on: what is refused, and what became of them."""

import pytest

from optaxctl.cli import _tell
from optaxctl.host.runs import Project
from tests.cli._acts import change, database, interrupt, meanwhile
from tests.cli.test_runs import call, strict
from tests.report._project import write


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["set", "a", "lr_scale=11"], 2, "`lr_scale` must be a number >= 0 and <= 10,"),
        (["set", "a", "lr_scale=-1"], 2, "got -1.0."),
        (["set", "a", "lr_scale=nan"], 2, "got nan."),
        (
            ["set", "a", "learning_rate=inf"],
            2,
            "must be a number >= 0 and <= 1,000, got",
        ),
        (["set", "a", "lr_scale=x"], 2, "got 'x'."),
        (["set", "a", "lr_scale"], 2, "must be such as lr_scale=0.5, got 'lr_scale'."),
        (["set", "a", "lr_scal=1"], 2, "Did you mean `lr_scale`?"),
        (["set", "a", "stop=1"], 2, "`optaxctl stop RUN` stops a run."),
        (["set", "lr_scale=1"], 2, "Missing argument"),
        (["set", "b", "lr_scale=1"], 3, "There is no run 'b'"),
        (["set", "old", "lr_scale=1"], 1, "old is not running (finished), so it takes"),
        (["stop", "@best"], 1, "old is not running (finished), so it takes"),
    ],
)
def test_what_cannot_be_told_is_refused_before_it_is_written(
    tmp_path, arguments, code, message
):
    write(tmp_path, {}, key="a", status="running")
    write(tmp_path, {}, key="old", summary={"best": {"loss": [1.0, 1]}})
    done, out, err = call(tmp_path, *arguments)
    assert (done, out) == (code, "")
    assert message in err
    assert [r.commands() for r in Project(tmp_path).runs()] == [[], []]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["set", "a", "lr_scale=0.5"], {"lr_scale": 0.5}),
        (["set", "a", "learning_rate=1e-3"], {"learning_rate": 1e-3}),
        (["stop", "a"], {"stop": True}),
    ],
)
def test_a_command_is_left_and_its_outcome_told(tmp_path, monkeypatch, arguments, what):
    write(tmp_path, {}, key="a", status="running")
    run = Project(tmp_path).run()

    def answer(outcome):
        (*_, last) = run.commands()
        assert (last["what"], last["outcome"]) == (what, None)
        took = "UPDATE commands SET acknowledged_step = 1200, outcome = ? WHERE id = ?"
        database(tmp_path, lambda db: db.execute(took, (outcome, last["id"])))

    meanwhile(monkeypatch, _tell, lambda: None, lambda: answer("It is done."))
    code, out, err = call(tmp_path, *arguments)
    assert (code, out) == (0, "step 1,200: It is done.\n")
    assert err == "Command 1 is left for a; waiting up to 10 s for its loop.\n"

    meanwhile(monkeypatch, _tell, lambda: answer("Refused: there is no rate."))
    code, out, _ = call(tmp_path, *arguments, "-o", "json")
    assert (code, strict(out)["outcome"]) == (1, "Refused: there is no rate.")

    code, out, err = call(tmp_path, *arguments, "--wait", "0")
    assert (code, out) == (0, "")
    assert err == "Command 3 is left for a, and its loop has yet to look.\n"

    meanwhile(monkeypatch, _tell, interrupt)
    code, out, err = call(tmp_path, *arguments)
    assert (code, out) == (130, "")
    assert err.endswith("left for a, and its loop may still carry it out.\n")
    assert run.commands()[-1]["what"] == what

    meanwhile(monkeypatch, _tell, lambda: change(tmp_path, status="finished"))
    code, out, err = call(tmp_path, *arguments)
    assert (code, out) == (1, "")
    assert err.endswith("a has ended (finished) and did not take it up.\n")


def test_a_loop_that_does_not_look_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    write(tmp_path, {}, key="a", status="running")
    monkeypatch.setattr(_tell.time, "sleep", lambda _: None)
    code, out, err = call(tmp_path, "stop", "a", "--wait", "0.01")
    assert (code, out) == (1, "")
    assert err.endswith(
        "Command 1 is left for a, and its loop has not looked in 10 ms.\n"
    )
