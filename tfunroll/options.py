"""Names with options, "piso:sweeps=2": read once into a frozen dataclass, and written again."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from tfunroll.core import InputError


def option(
    default: float, low: float, high: float, help_text: str, step: int = 1, above: bool = False
):
    """A field of an Options class.

    Args:
      default: its type, int or float, is that of all values.
      low, high: the allowed range, both ends included.
      step: whole numbers are multiples of it.
      above: real numbers lie above ``low``, which is not included.
    """
    facts = {"low": low, "high": high, "help": help_text, "step": step, "above": above}
    return dataclasses.field(default=default, metadata=facts)


@dataclass(frozen=True)
class Options:
    """Base of frozen dataclasses whose fields are ``option``s; alone: no options.

    Raises: InputError: a value outside its range; it names the nearest allowed one.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))

    def __str__(self) -> str:
        """What differs from the defaults, "sweeps=2,substeps=4"; empty if nothing does."""
        pairs = ((f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self))
        return ",".join(f"{name}={value!r}" for name, value, usual in pairs if value != usual)


def write(name: str, options: Options) -> str:
    """The text that ``read`` takes: the name, and what differs from the defaults."""
    return f"{name}:{text}" if (text := str(options)) else name


def read(where: str, text: str, kinds: Mapping[str, type[Options]]) -> tuple[str, Options]:
    """The parts of "name" or "name:option=value,option=value".

    Args: where: the flag or field, for messages. kinds: name -> its class of options.
    Raises: InputError: an unknown name or option, or an impossible value; it says what is allowed.
    """
    name, _, given = text.partition(":")
    if name not in kinds:
        listed = ", ".join(sorted(kinds))
        raise InputError(f"{where}={name!r} is unknown; allowed: {listed}{_nearest(name, kinds)}")
    fields = {field.name: field for field in dataclasses.fields(kinds[name])}
    values = {}
    for part in given.split(",") if given else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not fields:
            raise InputError(f"{where}={text!r}: {name} has no options; allowed: {name}")
        if key not in fields or not equals or key in values:
            wrong = "is given twice as an option" if key in values else "is not an option"
            if key in fields and not equals:
                wrong = "needs a value, as an option"
            listed = ", ".join(f"{f.name} ({_allowed(f)})" for f in fields.values())
            near = "" if key in fields else _nearest(key, fields)
            raise InputError(
                f"{where}={text!r}: {key!r} {wrong} of {name}; allowed: {listed}{near}"
            )
        try:
            values[key] = type(fields[key].default)(value)
        except ValueError:
            raise InputError(
                f"{where}={text!r}: {key}={value} must be {_allowed(fields[key])}"
            ) from None
    try:
        return name, kinds[name](**values)
    except InputError as error:
        raise InputError(f"{where}={text!r}: {error}") from None


def _check(field: dataclasses.Field, value) -> None:
    low, high, step = (field.metadata[name] for name in ("low", "high", "step"))
    wanted = type(field.default)
    if isinstance(value, bool) or not isinstance(value, int if wanted is int else (int, float)):
        raise InputError(f"{field.name}={value!r} must be {_allowed(field)}")
    inside = low <= value <= high and not (field.metadata["above"] and value == low)
    if inside and (wanted is float or value % step == 0):
        return
    near = ""
    if math.isfinite(value) and wanted is int:
        near = f"; nearest: {step * round(min(max(value, low), high) / step)}"
    elif math.isfinite(value) and not (field.metadata["above"] and value <= low):
        near = f"; nearest: {min(max(value, low), high):g}"
    raise InputError(f"{field.name}={value!r} must be {_allowed(field)}{near}")


def _allowed(field: dataclasses.Field) -> str:
    low, high, step = (field.metadata[name] for name in ("low", "high", "step"))
    if type(field.default) is float:
        start = f"above {low:g}, up" if field.metadata["above"] else f"from {low:g}"
        return f"a number {start} to {high:g}"
    kind = {1: "a whole number", 2: "an even number"}.get(step, f"a multiple of {step}")
    return f"{kind} from {low} to {high}"


def _nearest(word: str, allowed) -> str:
    near = difflib.get_close_matches(word, list(allowed), 1)
    return f"; nearest: {near[0]}" if near else ""
