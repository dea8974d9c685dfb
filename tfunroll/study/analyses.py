"""What each study shows: its findings, from what was gathered."""

from tfunroll.study.comparisons import (
    alternatives,
    convergence,
    correction,
    levels,
    order,
    replay,
    robustness,
    routes,
)
from tfunroll.study.findings import Finding
from tfunroll.study.starts import initial
from tfunroll.study.trends import horizon, scaling, stability, transition
from tfunroll.study.uncertainty import ensembles

ANALYSES = {
    "modalities": (order, correction, robustness),
    "correction_vs_prediction": (correction,),
    "horizon": (horizon, order),
    "scaling": (scaling, order),
    "transition": (transition, order),
    "convergence": (convergence,),
    "stability": (stability, order),
    "alternatives": (alternatives,),
    "initial": (initial, order),
    "routes": (routes,),
    "levels": (levels,),
    "replay": (replay, order),
    "ensembles": (ensembles,),
}


def analyse(gathered) -> list[Finding]:
    """The findings of a study, by its name; of a user's own study the comparison with ONE."""
    return [f for make in ANALYSES.get(gathered.study.name, (order, robustness))
            if (f := make(gathered)) is not None]  # fmt: skip
