"""Settings of every test: eight CPU devices, strict promotion, no network."""

import gc
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

# All this before jax is imported. Sharding tests need more than one device.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8 " + os.environ.get(
    "XLA_FLAGS", ""
)
# Nearly all the time of the tests is XLA compiling: with the oldest jax by its older,
# quicker emitters, and with any other as it does for users.
if version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = (
        "--xla_cpu_use_fusion_emitters=false " + os.environ["XLA_FLAGS"]
    )
# What was compiled in this run is not compiled again, in none of its processes.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp()
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_rank_promotion", "raise")

# With the oldest jax they are optimized only where tests depend on how they round.
OPTIMIZED = ("tests/frontends/", "tests/views/test_inject.py")

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    quick = jax.__version_info__ < (0, 11) and not item.nodeid.startswith(OPTIMIZED)
    jax.config.update("jax_disable_most_optimizations", quick)


def pytest_collection_finish() -> None:
    # What is imported stays: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"])
