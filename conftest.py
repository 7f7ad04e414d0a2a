"""Double precision, every annotation checked at run time, and how much hypothesis tries."""

import os

import jax
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
install_import_hook("apo_sim", "beartype.beartype")

# Compilation makes the first example of every property slow, so time says nothing about it.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_configure(config):
    """Let strategies run annotated code: beartype looks at a random item of a tuple."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Do not use the `random` module inside strategies"
    )
