"""Settings of every test: eight CPU devices, strict promotion, no network."""

import os
from pathlib import Path

# Before jax is imported: sharding tests need more than one device.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--oracles",
        type=Path,
        default=Path(__file__).parent / "oracles",
        metavar="DIR",
        help="directory of other libraries' numbers, for tests/oracles",
    )
