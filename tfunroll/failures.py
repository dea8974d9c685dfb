"""What failed among tasks, and the one error that says which and why."""

from collections.abc import Mapping

from tfunroll.core import IncompleteError, InputError


class FailedError(IncompleteError):
    """Some tasks failed; the others did not suffer from it."""


def reasons(outcome: Mapping[str, object]) -> dict[str, str]:
    """Why each task of workers.run_tasks that failed did so, on one line each."""
    return {name: reason(e) for name, e in outcome.items() if isinstance(e, Exception)}


def reason(error: Exception) -> str:
    """An error on one line: a mistake's words, or else its type too."""
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def by_reason(failed: Mapping[str, str]) -> dict[str, list[str]]:
    """Reason -> tasks, for what many tasks failed of."""
    tasks: dict[str, list[str]] = {}
    for name, why in failed.items():
        tasks.setdefault(why, []).append(name)
    return tasks


def error_of(outcome: Mapping[str, object], advice: str) -> Exception | None:
    """What to raise once all tasks have ended; None if none failed.

    A mistake of the user's that no task survived is that InputError, all else is a FailedError.

    Args: advice: the end of its line, such as "--resume tries them again".
    """
    errors = [result for result in outcome.values() if isinstance(result, Exception)]
    if not errors:
        return None
    if len(errors) == len(outcome) and all(isinstance(error, InputError) for error in errors):
        return errors[0]
    parts = (f"{', '.join(names)}: {why}" for why, names in by_reason(reasons(outcome)).items())
    return FailedError(f"{len(errors)} of {len(outcome)} failed: {'; '.join(parts)}; {advice}")
