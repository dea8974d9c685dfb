"""Building as an Apache Beam pipeline: its elements are the groups, each a unit of work.

apache-beam is the extra ``beam`` and is imported where it is needed.
"""

import contextlib
import functools
import io
import logging
import pathlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from tfunroll.datasets.generation import Group

from tfunroll.core import InputError

if TYPE_CHECKING:
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

MOST = 10**9  # trajectories of a group, so that keys keep the order of the groups


def options(flags: str) -> "PipelineOptions":
    """Beam's options from its own flags, such as "--runner=FlinkRunner --parallelism=8".

    Without any, the DirectRunner works in this process.

    Raises: InputError: no apache-beam, an unknown runner or flag, an impossible value.
    """
    try:
        from apache_beam.options import pipeline_options
        from apache_beam.runners import create_runner
    except ImportError:
        raise InputError("beam needs apache-beam: pip install 'tfunroll[beam]'") from None
    said, log = io.StringIO(), logging.getLogger(pipeline_options.__name__)
    warnings = []  # Beam only warns of flags that it does not know
    handler = logging.Handler()
    handler.emit = warnings.append
    log.addHandler(handler)
    try:
        with contextlib.redirect_stderr(said):
            made = pipeline_options.PipelineOptions(shlex.split(flags))
            made.get_all_options()
            create_runner(made.view_as(pipeline_options.StandardOptions).runner or "DirectRunner")
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"beam_options={flags!r}: {' '.join(str(error).split())}") from None
    except SystemExit:  # argparse prints its usage and exits
        reason = said.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise InputError(f"beam_options={flags!r}: {reason}") from None
    finally:
        log.removeHandler(handler)
    for warning in warnings:
        raise InputError(f"beam_options={flags!r}: {warning.getMessage()}; write --name=value")
    return made


def examples(
    groups: Sequence[Group],
    cache_dir: pathlib.Path,
    generate: Callable[[Group, pathlib.Path], Iterable[dict]],
) -> "apache_beam.PTransform":
    """(key, example) of all groups; keys sort like the examples of the plain build."""
    import apache_beam

    return (
        apache_beam.Create(list(enumerate(groups)))
        | apache_beam.Reshuffle()  # one bundle a group, for any number of workers
        | apache_beam.FlatMap(functools.partial(_keyed, cache_dir=cache_dir, generate=generate))
    )


def _keyed(numbered: tuple[int, Group], cache_dir, generate):
    number, group = numbered
    return [(number * MOST + i, e) for i, e in enumerate(generate(group, cache_dir))]
