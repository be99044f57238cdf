"""What a process is told at start: a TOML file, overridden by the environment, checked once.

The rule: nothing is ignored in silence. A file that is named exists, a name that nobody knows is
refused with the one that was meant, and a value is never repeated in an error: it may be a secret.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from zentransfer.limits import SETTINGS_FILE_BYTES_MAX

_PREFIXES: Final = (
    "ZT_CONTROL_",
    "ZT_EDGE_",
    "ZT_GEO_",
    "ZT_SEND_",
    "ZT_UP_",
)  # of all our programs
_NO_SETTINGS: Final = frozenset(("ZT_LIFELINE_FD",))  # what our processes tell each other
_BETWEEN: Final = "__"  # between the names of nested groups in a variable


class Group(BaseModel):
    """A table of the settings file: a frozen set of keys that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ProcessSettings(BaseSettings):
    """The settings of one process; a subclass adds its fields and an ``env_prefix``.

    Made by :func:`load` only. Every field has a default, a description and its unit in its name.
    """

    model_config = SettingsConfigDict(
        env_nested_delimiter=_BETWEEN, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take the environment first and the file second; there is no other source."""
        return _Environment(settings_cls), init_settings


class SettingsError(Exception):
    """The settings cannot be used; ``problems`` are sentences for a person, each with its cure."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


S = TypeVar("S", bound=ProcessSettings)


def load(cls: type[S], path: Path | None) -> S:
    """Return the settings of the file at *path*, if any, overridden by the environment.

    Raises :class:`SettingsError`, which names every key, file and variable that is wrong, what was
    expected and the cure, and repeats no value.
    """
    table = _read(path) if path else {}
    strangers = list(_strangers(cls, os.environ))
    if strangers:
        raise SettingsError(strangers)
    try:
        return cls.model_validate(table)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_context=False, include_input=False)
        given = _Environment(cls)()
        raise SettingsError([_explained(cls, path, given, error) for error in found]) from None


def effective(settings: ProcessSettings) -> str:
    """Return *settings* as TOML that loads again, but for its secrets, which are masked.

    Each key carries its variable and description, so the text is a reference as well.
    """
    prefix = settings.model_config.get("env_prefix", "")
    return "\n".join(_toml(settings, settings.model_dump(mode="json"), (), prefix)).strip() + "\n"


class _Environment(EnvSettingsSource):
    """Variables; what is no JSON where JSON is needed stays as it is, for the check to refuse."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: object) -> object:
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(SETTINGS_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise SettingsError([f"{path}: no such file; correct the path or leave it out"]) from None
    except OSError as exc:
        problem = f"{path}: cannot be read ({exc.strerror}); correct its path or its rights"
        raise SettingsError([problem]) from None
    if len(data) > SETTINGS_FILE_BYTES_MAX:
        problem = f"{path}: is larger than {SETTINGS_FILE_BYTES_MAX} bytes; name a settings file"
        raise SettingsError([problem])
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: is not UTF-8 text; save it as UTF-8"]) from None
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError([f"{path}: is not TOML: {exc}; correct that line"]) from None


def _group(field: FieldInfo) -> type[BaseModel] | None:
    """Return the group that *field* holds, also where it may be left out."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _strangers(cls: type[ProcessSettings], names: Mapping[str, str]) -> Iterator[str]:
    """Yield a problem for each variable that bears our prefix, or nobody's, and is no setting."""
    prefix = cls.model_config.get("env_prefix", "").upper()
    assert prefix, f"{cls.__name__} has no env_prefix"
    known = {_variable(prefix, location) for location in _locations(cls, ())}
    for name in sorted(names):
        is_anothers = name.upper().startswith(tuple({*_PREFIXES} - {prefix}))
        if not name.upper().startswith("ZT_") or is_anothers:
            continue
        if name.upper() not in known | _NO_SETTINGS:
            near = known if name.upper().startswith(prefix) else known | _respelled(name.upper())
            yield f"{name}: no such setting{_meant(name.upper(), near)}; correct or unset it"


def _respelled(name: str) -> set[str]:
    """Return *name* with the prefix of each program of ours that it may have been meant for."""
    _, _, rest = name.removeprefix("ZT_").partition("_")
    return {prefix + rest for prefix in _PREFIXES if rest}


def _locations(cls: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the path of each key and of each group, a group before its keys."""
    for name, field in cls.model_fields.items():
        yield (*above, name)
        group = _group(field)
        if group is not None:
            yield from _locations(group, (*above, name))


def _variable(prefix: str, location: Sequence[str | int]) -> str:
    return (prefix + _BETWEEN.join(str(name) for name in location)).upper()


def _meant(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _explained(
    cls: type[ProcessSettings],
    path: Path | None,
    given: dict[str, Any],
    error: ErrorDetails,
) -> str:
    """Return one problem as a sentence: where, what was expected, what it is for, the cure.

    *given* is what the environment gave, as nested tables.
    """
    location = error["loc"]
    key = ".".join(str(name) for name in location) or "all together"
    variable = _variable_of(cls, location) if _is_in(given, location) else None
    where = f"{variable or path or 'settings'}: {key}"
    if error["type"] == "extra_forbidden":
        known = {".".join(names) for names in _locations(cls, ())}
        return f"{where}: no such setting{_meant(key, known)}; correct or remove it"
    field = _field(cls, location)
    about = f" ({field.description})" if field and field.description else ""
    cure = "correct or unset the variable" if variable else "correct it"
    expected = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}{about}: {expected}; {cure}"


def _is_in(given: JsonValue, location: Sequence[str | int]) -> bool:
    """Whether the value at *location* came with what is *given*."""
    for name in location:
        if not isinstance(given, dict):
            return True  # a list or a wrong type: the whole of it was given
        if str(name) not in given:
            return False
        given = given[str(name)]
    return bool(location)


def _variable_of(cls: type[ProcessSettings], location: Sequence[str | int]) -> str | None:
    """Return the variable that gave the value at *location*: its own, else its group's."""
    prefix = cls.model_config.get("env_prefix", "")
    present = {name.upper(): name for name in os.environ}
    for length in range(len(location), 0, -1):
        name = present.get(_variable(prefix, location[:length]))
        if name is not None:
            return name
    return None


def _field(cls: type[BaseModel], location: Sequence[str | int]) -> FieldInfo | None:
    """Return the innermost field on the way to *location*."""
    found: FieldInfo | None = None
    group: type[BaseModel] | None = cls
    for name in location:
        if group is None or name not in group.model_fields:
            break
        found = group.model_fields[str(name)]
        group = _group(found)
    return found


def _toml(
    model: BaseModel, values: dict[str, Any], above: tuple[str, ...], prefix: str
) -> Iterator[str]:
    """Yield the lines of *model*: its keys first, then its groups as tables."""
    groups: list[tuple[str, BaseModel]] = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            groups.append((name, value))
            continue
        about = f"  # {_variable(prefix, (*above, name))}: {field.description}"
        if value is None:
            yield f"# {name} is not set{about}"
        else:
            yield f"{name} = {_literal(values[name])}{about}"
    for name, group in groups:
        yield ""
        yield f"[{'.'.join((*above, name))}]"
        yield from _toml(group, values[name], (*above, name), prefix)


def _literal(value: JsonValue) -> str:
    """Return *value*, as pydantic dumps it for JSON, as a TOML literal."""
    if isinstance(value, list):
        return f"[{', '.join(_literal(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(k)} = {_literal(v)}" for k, v in value.items()) + "}"
    # JSON and TOML write numbers, truth and text alike, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
