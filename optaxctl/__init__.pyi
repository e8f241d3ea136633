from optaxctl import (
    clip as clip,
    lr as lr,
    report as report,
    schedules as schedules,
    stop as stop,
    transforms as transforms,
    watch as watch,
)
from optaxctl._core.cadence import (
    after as after,
    every as every,
    fallback as fallback,
    start_at as start_at,
    when as when,
)
from optaxctl._core.controllers import Controller as Controller, together as together
from optaxctl._core.decisions import (
    Decision as Decision,
    decide as decide,
    merge as merge,
)
from optaxctl._core.flags import (
    Alarm as Alarm,
    Severity as Severity,
    StopReason as StopReason,
)
from optaxctl._core.keeping import KeepBest as KeepBest, keep_best as keep_best
from optaxctl._core.persistence import lasting as lasting
from optaxctl._core.response import respond as respond
from optaxctl._core.rollback import rollback as rollback
from optaxctl._core.smoothing import smooth as smooth
from optaxctl.frontends import linen as linen, nnx as nnx
from optaxctl.host import (
    checkpoint as checkpoint,
    config as config,
    history as history,
    interrupt as interrupt,
    loop as loop,
    runs as runs,
)
from optaxctl.host._found import RangeTest as RangeTest
from optaxctl.host._summary import TrainingSummary as TrainingSummary
from optaxctl.host.config._reading import from_config as from_config
from optaxctl.host.lr_find import lr_find as lr_find
from optaxctl.views._control import (
    Control as Control,
    apply_gradients as apply_gradients,
    control as control,
)
from optaxctl.views._explain import explain as explain
from optaxctl.views._inject import Injected as Injected, inject as inject
from optaxctl.views._observe import (
    observe as observe,
    set_lr as set_lr,
    set_lr_scale as set_lr_scale,
)
from optaxctl.views._population import population as population
from optaxctl.views._presets import (
    guard as guard,
    skip_spikes as skip_spikes,
    supervise as supervise,
)
from optaxctl.views._read import (
    Reading as Reading,
    last_decision as last_decision,
    read as read,
)
from optaxctl.views._replay import Replay as Replay, replay as replay
from optaxctl.views._ring import rows as rows
from optaxctl.views._row import Row as Row, row as row
from optaxctl.views._schedule import as_schedule as as_schedule
from optaxctl.views._single import (
    clip_by as clip_by,
    scale_by as scale_by,
    skip_if as skip_if,
)
from optaxctl.views._snapshots import Snapshots as Snapshots
from optaxctl.views._state import ControlState as ControlState
from optaxctl.views._until import Finished as Finished, until as until

__all__: list[str]
__version__: str
