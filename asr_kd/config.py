"""Typed configuration: YAML and `key.sub=value`, validated whole."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import pydantic
import yaml

from asr_kd.errors import InputError


class Config(pydantic.BaseModel):
    """Base of all configurations: frozen, every key declared, unknown keys refused."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


C = TypeVar("C", bound=Config)


def load_config(cls: type[C], path: Path | None, overrides: Sequence[str] = ()) -> C:
    """Reads a configuration: defaults, then the YAML file, then `key.sub=value` overrides.

    Args:
        cls: the configuration's type; it declares keys, types and defaults.
        path: YAML file that states only what differs from the defaults.
        overrides: `key=value` or `key.sub=value`; the value is YAML.

    Raises:
        InputError: all faults together; an unknown key is named with the nearest known one.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            read = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"{path}: cannot be read as YAML: {error}") from error
        if read is not None and not isinstance(read, dict):
            raise InputError(f"{path}: expected `key: value` lines, not a {type(read).__name__}")
        values = read or {}
    faults = [fault for text in overrides for fault in _override(values, text)]
    source = f"{path}: " if path is not None else ""
    try:
        config = cls.model_validate(values)
    except pydantic.ValidationError as error:
        faults += [f"{source}{_explain(cls, fault)}" for fault in error.errors()]
    if faults:
        raise InputError(faults)
    return config


def config_dict(config: Config) -> dict[str, Any]:
    """The resolved configuration as JSON-able values."""
    return config.model_dump(mode="json")


def write_config(config: Config, path: Path) -> None:
    """Saves the resolved configuration as YAML beside the result it made."""
    Path(path).write_text(yaml.safe_dump(config_dict(config), sort_keys=False), encoding="utf-8")


def _override(values: dict[str, Any], text: str) -> Iterator[str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        yield f"{text!r}: expected key=value"
        return
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.get(parent)
        values[parent] = inner = dict(inner) if isinstance(inner, Mapping) else {}
        values = inner
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        yield f"{text!r}: {value!r} is not YAML: {error}"


def _explain(cls: type[Config], fault: Any) -> str:
    # Pydantic puts a union's tag into the location; the user never wrote it.
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys(cls))
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known keys: {', '.join(known)}"
        return f"{key}: unknown key{hint}"
    if fault["type"] == "union_tag_not_found":
        tag = fault["ctx"]["discriminator"].strip("'")
        members = list(_members(cls, fault["loc"]))
        kinds = ", ".join(
            name for _, kind in members for name in get_args(kind.model_fields[tag].annotation)
        )
        return f"{members[0][0]}: which one? Add {members[0][0]}.{tag}=..., one of {kinds}"
    return f"{key or cls.__name__}: {fault['msg']} (got {fault['input']!r})"


def _keys(kind: Any) -> Iterator[str]:
    if get_origin(kind) in (Union, UnionType, Annotated):
        for part in get_args(kind):
            yield from _keys(part)
    elif isinstance(kind, type) and issubclass(kind, Config):
        for name, field in kind.model_fields.items():
            yield name
            yield from _keys(field.annotation)


def _members(
    kind: Any, location: Sequence[str | int], key: tuple[str, ...] = ()
) -> Iterator[tuple[str, type[Config]]]:
    """The configurations that may stand at a location below a type, each with the user's key.

    Args:
        kind: the type.
        location: keys and indices, and tags of unions, which are no part of the user's key.
        key: what leads to the type.
    """
    if not (isinstance(kind, type) and issubclass(kind, Config)):
        if location and isinstance(location[0], int):
            key, location = (*key, str(location[0])), location[1:]
        for part in get_args(kind):
            yield from _members(part, location, key)
        return
    fields = {name: field.annotation for name, field in kind.model_fields.items()}
    if not location:
        yield ".".join(key), kind
    elif location[0] in fields:
        first = str(location[0])
        yield from _members(fields[first], location[1:], (*key, first))
    elif any(location[0] in get_args(field) for field in fields.values()):
        yield from _members(kind, location[1:], key)
