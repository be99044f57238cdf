import pytest

from edge.settings import EdgeSettings
from tests.support.settings_rules import check_settings
from zentransfer.settings import SettingsError, load


def test_every_field_has_a_default_and_a_description() -> None:
    check_settings(EdgeSettings)


def test_an_empty_file_makes_a_node() -> None:
    settings = load(EdgeSettings, None)
    assert (settings.region, settings.node) == ("us", "us-1")


def test_a_node_of_another_region_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_EDGE_NODE", "fr-1")
    with pytest.raises(SettingsError, match="node must be one of region us"):
        load(EdgeSettings, None)


@pytest.mark.parametrize(
    "told",
    [
        {"ftps": {"port": 990}},
        {"ftps": {"legacy_port": 2121}},
        {"ftp": {"tls_required": True}},
        {"ftps": {"tls": {"certificate_file": "a.crt"}}},
        {"ftp": {"public_hosts": {"10.0.0.5": "2001:db8::1"}}},
        {"ftp": {"public_hosts": {"here": "203.0.113.1"}}},
        {"ftp": {"data_peer": "strict"}},
        {"ftp": {"data_peer": "any"}, "ftps": {"session_reuse": "required"}},
    ],
)
def test_what_the_ftp_door_cannot_do_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"ftps?"):
        EdgeSettings.model_validate(told)


def test_the_ftp_doors_tls_has_a_certificate_of_its_own_or_that_of_all() -> None:
    pair = {"certificate_file": "a.crt", "key_file": "a.key"}
    for told in ({"tls": pair}, {"ftps": {"tls": pair}}):
        settings = EdgeSettings.model_validate({"ftp": {"tls_required": True}} | told)
        policy = settings.ftps.policy(is_required=settings.ftp.tls_required)
        assert policy.is_required
        assert (policy.reuse, policy.tolerates_cuts, policy.names) == ("off", False, frozenset())
