"""One file that describes how a run is controlled, and what it builds.

    octl.from_config("run.yaml", inner=optax.adamw)

The keys of a section are the arguments of the factory that its `type` names, with their
defaults; the guide says which sections there are. Reading and checking need no jax.
"""

from optaxctl.host.config._config import Config
from optaxctl.host.config._foreign import Foreign, Row
from optaxctl.host.config._presets import PRESETS
from optaxctl.host.config._reading import foreign, from_config, parse, read
from optaxctl.host.config._rules import Rule
from optaxctl.host.config._schema import explain, schema, template
from optaxctl.host.config._yaml import ConfigError, Problem

__all__ = [
    "PRESETS",
    "Config",
    "ConfigError",
    "Foreign",
    "Problem",
    "Row",
    "Rule",
    "explain",
    "foreign",
    "from_config",
    "parse",
    "read",
    "schema",
    "template",
]
