"""What ``zentransfer doctor`` takes from the environment: the password, which no option takes."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from zentransfer.settings import ProcessSettings


class DoctorSettings(ProcessSettings):
    """The settings of ``zentransfer doctor``."""

    model_config = SettingsConfigDict(env_prefix="ZT_DOCTOR_")

    password: SecretStr | None = Field(default=None, description="what the camera signs in with")
