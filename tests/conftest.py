"""Double precision, and every annotation of the package checked at run time."""

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
install_import_hook("apo_sim", "beartype.beartype")
