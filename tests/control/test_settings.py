from control.settings import ControlSettings
from tests.support.settings_rules import check_settings


def test_every_field_has_a_default_and_a_description() -> None:
    check_settings(ControlSettings)
