"""The reference policy, kept on the host for as long as a run needs it."""

import contextlib
from collections.abc import Iterator
from typing import Any

from apo_sim.llm.models import stored_parameters


class Reference:
    """The parameters that a network has now, to be put back for a while later on.

    Args:
        network: at the reference policy.
        names: parameters that a run changes; None: all.

    Example:
        >>> from flax import nnx
        >>> network = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
        >>> reference, old = Reference(network), network.kernel.get_value()
        >>> network.kernel.set_value(old + 1.0)
        >>> with reference.lent():
        ...     float((network.kernel.get_value() - old).mean())
        0.0
        >>> float((network.kernel.get_value() - old).mean())
        1.0
    """

    def __init__(self, network: Any, names: list[str] | None = None) -> None:
        self.network: Any = network
        self.names: list[str] | None = names
        self.values: dict[str, Any] = self._now()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Within it, the network is the reference policy; the device never holds both."""
        own = self._now()
        stored_parameters.put(self.network, self.values)
        try:
            yield
        finally:
            stored_parameters.put(self.network, own)

    def _now(self) -> dict[str, Any]:
        return stored_parameters.to_host(stored_parameters.of(self.network, self.names))
