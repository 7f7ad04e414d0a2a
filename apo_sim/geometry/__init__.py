"""Geometries of the proximal step, one generator per file, and links of f-divergences."""

from apo_sim.geometry.bregman import Bregman, Geometry
from apo_sim.geometry.burg import Burg
from apo_sim.geometry.chi_square_kl import ChiSquareKL
from apo_sim.geometry.euclidean import Euclidean
from apo_sim.geometry.kl import KL
from apo_sim.geometry.links import AlphaDivergence, ForwardKL, JensenShannon, MixedChiSquare
from apo_sim.geometry.tsallis import Tsallis

NAMED: dict[str, Bregman] = {
    "kl": KL(),
    "tsallis": Tsallis(),
    "burg": Burg(),
    "chi_square_kl": ChiSquareKL(),
    "euclidean": Euclidean(),
    "euclidean_agile": Euclidean(lazy=False),
    "forward_kl": ForwardKL(),
    "jensen_shannon": JensenShannon(),
    "alpha_divergence": AlphaDivergence(),
    "mixed_chi_square": MixedChiSquare(),
}

__all__ = [
    "KL",
    "NAMED",
    "AlphaDivergence",
    "Bregman",
    "Burg",
    "ChiSquareKL",
    "Euclidean",
    "ForwardKL",
    "Geometry",
    "JensenShannon",
    "MixedChiSquare",
    "Tsallis",
]
