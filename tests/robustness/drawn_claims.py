"""Claims whose figures depend on the seed, and that take a moment. Workers import them, too."""

import time

from apo_sim.claims import Study, claim, judge

IDS = [f"drawn-{number}" for number in range(4)]


def _declare(id: str) -> None:
    @claim(id=id, title="Drawn", source="ours", statement="$0 < 1$", control="the bound")
    def check(study: Study):
        time.sleep(0.2)
        x = study.rng().normal(size=5)
        bound = -1.0 if study.wrong else 1.0
        return judge.upper_bound(0.0, bound, draw=lambda figure: figure.text(0, 0.5, str(x)))


for _id in IDS:
    _declare(_id)
