# What jaxlib compiles comes without types, and half of jax.numpy names its Device: without this
# stub, pyright's strict mode knows neither `jnp.asarray` nor `jnp.zeros`.
from typing import Any

class Device:
    def __getattr__(self, name: str) -> Any: ...

def __getattr__(name: str) -> Any: ...
