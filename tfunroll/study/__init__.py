"""Studies: matrices of runs as data, run in shards, resumed, gathered into tables and findings."""

from tfunroll.study.costs import estimate
from tfunroll.study.description import Study, load, names
from tfunroll.study.execution import report, run
from tfunroll.study.gathering import gather

__all__ = ["Study", "estimate", "gather", "load", "names", "report", "run"]
