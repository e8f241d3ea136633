"""Uses the core where nothing but jax, jaxtyping and optax is installed."""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import jax
import optax

import optaxctl as octl

for extra in ("flax", "orbax", "rich", "sklearn", "typer"):
    assert importlib.util.find_spec(extra) is None, f"{extra} is installed here"

uses = {name: lambda name=name: getattr(octl, name) for name in dir(octl)}
uses["checkpoint"] = lambda: octl.checkpoint.Checkpoints("unused")
missing = {}
for name, use in uses.items():
    try:
        use()
    except ModuleNotFoundError as error:
        missing[name] = str(error)
assert missing.keys() == {"checkpoint", "linen", "nnx"}, missing
for sentence in missing.values():
    assert 'pip install "optaxctl[' in sentence, sentence
    assert "\n" not in sentence, sentence

tx = octl.supervise(octl.inject(optax.adam, learning_rate=0.1))
params = jax.numpy.ones(2)
state = tx.init(params)
step = jax.jit(lambda g, s, p, loss: tx.update(g, s, p, value=loss))
for loss in (0.7, float("nan")):
    updates, state = step(params, state, params, loss)
assert octl.read(state).refused == 1

command = Path(sysconfig.get_path("scripts")) / "optaxctl"
done = subprocess.run([command, "demo"], capture_output=True, text=True, check=False)
if not (done.returncode and 'pip install "optaxctl[' in done.stderr):
    sys.exit(f"`optaxctl demo` without its extra said: {done.stderr or done.stdout}")
assert done.stderr.count("\n") == 1, done.stderr
