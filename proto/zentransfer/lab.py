"""What only a laboratory may do, and the profile that refuses it.

The rule: what would be a hole in front of the world is off unless a setting says so, and with the
profile ``production`` that setting does not even start.
"""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from zentransfer.settings import Group, ProcessSettings


class Profile(StrEnum):
    """Whom a process serves."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


class Lab(Group):
    """Switches for experiments on one machine."""

    client_header: bool = Field(
        default=False, description="believe the header ZT-Lab-Client where a client is"
    )
    allow_private_destinations: bool = Field(
        default=False, description="let deliveries go to private and loopback addresses"
    )


class PlaneSettings(ProcessSettings):
    """The settings that the processes of every plane have; its subclasses set an ``env_prefix``."""

    model_config = SettingsConfigDict()

    profile: Profile = Field(
        default=Profile.DEVELOPMENT, description="development, or production: no lab switches"
    )
    lab: Lab = Field(default_factory=Lab, description="experiments; refused in production")

    @model_validator(mode="after")
    def _has_no_lab_in_production(self) -> Self:
        switched_on = [name for name, is_on in self.lab if is_on]
        if self.profile is Profile.PRODUCTION and switched_on:
            raise ValueError(
                f"lab.{switched_on[0]} is on, which the profile production refuses; switch it off"
            )
        return self
