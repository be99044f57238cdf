"""The rules that every process's settings keep, checked field by field."""

import re
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from zentransfer.settings import Group, ProcessSettings

_SECRETIVE = re.compile(r"secret|password|passphrase|token|pepper|private|(^|_)key($|_)")


def check_settings(cls: type[ProcessSettings]) -> None:
    """Assert that an empty file starts a machine and that each field explains itself.

    Every field has a default and a one-line description, secrets are ``SecretStr`` or the path of
    a file, and every group is a frozen :class:`Group` whose default is its own.
    """
    assert re.fullmatch(r"ZT_[A-Z]+_", cls.model_config.get("env_prefix", "")), cls
    assert cls.model_validate({}) == cls.model_validate({})
    faults = [f"{cls.__name__}.{name}: {fault}" for name, fault in _faults(cls)]
    assert not faults, "\n".join(faults)


def _faults(cls: type[BaseModel]) -> Iterator[tuple[str, str]]:
    if not cls.model_config.get("frozen") or cls.model_config.get("extra") != "forbid":
        yield "", "is not frozen, or ignores what it does not know"
    if not cls.model_config.get("hide_input_in_errors"):
        yield "", "shows the rejected value"
    for name, field in cls.model_fields.items():
        yield from ((name, fault) for fault in _field_faults(name, field))
        for group in _groups(field):
            yield from ((f"{name}.{inner}", fault) for inner, fault in _faults(group))


def _field_faults(name: str, field: FieldInfo) -> Iterator[str]:
    if field.is_required():
        yield "has no default: an empty file must start a machine"
    if not field.description or "\n" in field.description:
        yield "has no description of one line"
    if field.alias or field.validation_alias:
        yield "has a second name"
    kinds = {field.annotation, *get_args(field.annotation)}
    if (
        _SECRETIVE.search(name)
        and not name.endswith("_file")
        and not kinds & {SecretStr, SecretBytes, bool}
    ):
        yield "may be a secret: make it SecretStr, or the path of a file named ..._file"
    for group in _groups(field):
        if not issubclass(group, Group):
            yield "is no Group"
        default = field.get_default(call_default_factory=True)
        # Else a variable that overrides one key would move its neighbours to other defaults.
        if default is not None and default != group():
            yield "has a default that differs from its group's own"


def _groups(field: FieldInfo) -> Iterator[type[BaseModel]]:
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind
