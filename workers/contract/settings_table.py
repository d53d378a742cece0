"""Settings as a flat table of dotted names, with their defaults and validators."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

from workers.contract.settings import (
    Frozen,
    Settings,
    SettingValue,
)


@cache
def leaves(model: type[Frozen] = Settings) -> Mapping[str, FieldInfo]:
    """Return all settings of a model by dotted name, in the order in which they are declared."""
    return dict(_walk(model, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


@cache
def default_of(name: str, model: type[Frozen] = Settings) -> SettingValue:
    """Return the default of a setting by dotted name."""
    value: SettingValue = leaves(model)[name].default
    return value


@cache
def adapter_of(name: str, model: type[Frozen] = Settings) -> TypeAdapter[Any]:
    """Return a validator of one setting by dotted name."""
    field = leaves(model)[name]
    # FieldInfo separates the range from the type, so put them together again.
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def flatten(settings: Frozen) -> dict[str, SettingValue]:
    """Return the settings as a table from dotted name to value."""
    return dict(zip(leaves(type(settings)), _values_of(type(settings))(settings), strict=True))


@cache
def _values_of(model: type[Frozen]) -> Callable[[Frozen], tuple[SettingValue, ...]]:
    """Return a getter of all settings of a model at once; reading them one by one takes most of the time of a plan."""
    return attrgetter(*leaves(model))


def value_of(settings: Frozen, name: str) -> SettingValue:
    """Return one setting by dotted name."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value  # type: ignore[no-any-return]  # leaves are SettingValue by construction


def build(values: Mapping[str, SettingValue]) -> dict[str, Any]:
    """Return a table of dotted names as the nested keyword arguments of a model."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *rooms, leaf = name.split(".")
        target = nested
        for room in rooms:
            target = target.setdefault(room, {})
        target[leaf] = value
    return nested


def settings_from(values: Mapping[str, SettingValue]) -> Settings:
    """Return settings from a table of dotted names; a missing setting takes its default.

    Raises:
        pydantic.ValidationError: a name is unknown or a value is not allowed.
    """
    return Settings.model_validate(build(values))


def with_seed(settings: Settings, seed: SettingValue) -> Settings:
    """Return the same settings with another seed; only the seed is checked.

    Raises:
        pydantic.ValidationError: the seed is not allowed.
    """
    return settings.model_copy(update={"seed": adapter_of("seed").validate_python(seed)})
