"""One value for every process."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from optaxctl.host._json import dumped, loaded


def shared(value: Any) -> Any:
    """Returns, in every process, what the first one gave; all must call it at once."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(dumped(value).encode(), np.uint8)
    share = multihost_utils.broadcast_one_to_all
    size = int(share(np.int32(text.size)))
    return loaded(np.asarray(share(np.resize(text, size))).tobytes().decode())
