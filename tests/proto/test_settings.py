import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from tests.support.settings_rules import check_settings
from zentransfer.ids import Region
from zentransfer.limits import SETTINGS_FILE_BYTES_MAX
from zentransfer.service import LIFELINE_VARIABLE
from zentransfer.settings import Group, ProcessSettings, SettingsError, effective, load

SECRET = "correct-horse-battery"


class Tls(Group):
    """A group inside a group."""

    certificate_file: Path = Field(Path("tls.pem"), description="certificate chain, PEM")
    versions: tuple[str, ...] = Field(("1.2", "1.3"), description="TLS versions that are offered")


class Door(Group):
    """A listener."""

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8100, ge=0, le=65535, description="TCP port; 0 takes a free one")
    tls: Tls = Field(default_factory=Tls, description="how TLS is done")


class Redis(Group):
    """A group that may be left out."""

    password: SecretStr = Field(SecretStr(""), description="password of the server")


class ExampleSettings(ProcessSettings):
    """One of each kind."""

    model_config = SettingsConfigDict(env_prefix="ZT_EXAMPLE_")

    region: Region = Field(Region.US, description="where this is")
    drain_deadline_s: float = Field(900.0, gt=0, description="seconds of a drain")
    greeting: str = Field("hello", description="what is said first")
    is_public: bool = Field(default=False, description="whether strangers may come")
    peer_limits: dict[str, int] = Field({}, description="uploads in flight by peer")
    note: str | None = Field(None, description="what the operator wants to remember")
    pepper: SecretStr | None = Field(None, description="key of the verifiers")
    door: Door = Field(default_factory=Door, description="the door")
    redis: Redis | None = Field(None, description="where leases are kept; none is in process")

    @field_validator("greeting")
    @classmethod
    def _is_short(cls, value: str) -> str:
        if len(value) > 20:
            raise ValueError("should be at most 20 characters")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "ExampleSettings":
        if self.is_public and self.door.host == "127.0.0.1":
            raise ValueError("a public door needs a door.host that strangers reach")
        return self


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that writes a settings file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems(path: Path | None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(ExampleSettings, path)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert SECRET not in str(caught.value)
    return caught.value.problems


def test_an_empty_file_starts_a_machine(file: Callable[[str], Path]) -> None:
    assert load(ExampleSettings, file("")) == load(ExampleSettings, None)
    check_settings(ExampleSettings)


def test_the_file_sets_and_the_environment_overrides_one_key(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(
        'greeting = "file"\n[door]\nhost = "::1"\nport = 1\n[door.tls]\nversions = ["1.3"]\n'
    )
    monkeypatch.setenv("ZT_EXAMPLE_DOOR__PORT", "9000")
    monkeypatch.setenv("ZT_EXAMPLE_DOOR__TLS__CERTIFICATE_FILE", "other.pem")
    monkeypatch.setenv("ZT_EXAMPLE_PEER_LIMITS", '{"a": 1}')
    monkeypatch.setenv("zt_example_redis__password", SECRET)
    settings = load(ExampleSettings, path)
    assert settings.greeting == "file"
    assert settings.door == Door(
        host="::1", port=9000, tls=Tls(certificate_file=Path("other.pem"), versions=("1.3",))
    )
    assert settings.peer_limits == {"a": 1}
    assert settings.redis is not None
    assert settings.redis.password.get_secret_value() == SECRET


def test_settings_are_frozen_at_every_depth() -> None:
    settings: Any = load(ExampleSettings, None)
    with pytest.raises(ValidationError):
        settings.greeting = "changed"
    with pytest.raises(ValidationError):
        settings.door.port = 1
    with pytest.raises(ValidationError):
        settings.door.tls.versions = ()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ZT_EXAMPLE_DOR__PORT", "ZT_EXAMPLE_DOOR__PORT"),
        ("ZT_EXAMPLE_DOOR__PROT", "ZT_EXAMPLE_DOOR__PORT"),
        ("ZT_EXAMPLE_DOOR_PORT", "ZT_EXAMPLE_DOOR__PORT"),
        ("ZT_EXAMPLE_DOOR__TLS__VERSION", "ZT_EXAMPLE_DOOR__TLS__VERSIONS"),
        ("zt_example_greting", "ZT_EXAMPLE_GREETING"),
        ("ZT_EXAMPLE_REDIS__PASWORD", "ZT_EXAMPLE_REDIS__PASSWORD"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_one_that_was_meant(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, SECRET)
    assert problems(None) == (
        f"{name}: no such setting (did you mean {meant}?); correct or unset it",
    )


def test_a_variable_unlike_all_others_is_refused_without_a_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZT_EXAMPLE_QQQQQQQQQQQQQQQQQQQQ", "1")
    (problem,) = problems(None)
    assert "did you mean" not in problem


@pytest.mark.parametrize(
    "name",
    ["ZT_EDGE_NODE", "zt_control_x", "ZT_UP_BASE", "ZT_GEO_DATABASE", LIFELINE_VARIABLE, "ZTX"],
)
def test_variables_of_other_processes_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    load(ExampleSettings, None)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ZT_EXAMPLES_GREETING", "ZT_EXAMPLE_GREETING"),
        ("ZT_EGDE_NODE", "ZT_EDGE_NODE"),
        ("zt_contrl_http__port", "ZT_CONTROL_HTTP__PORT"),
    ],
)
def test_a_variable_of_no_process_is_refused_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")
    cure = f"{name}: no such setting (did you mean {meant}?); correct or unset it"
    assert problems(None) == (cure,)


@pytest.mark.parametrize("name", ["ZT_QQQQ", "ZT_"])
def test_a_variable_of_no_process_that_is_like_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert problems(None) == (f"{name}: no such setting; correct or unset it",)


def test_an_unknown_key_is_refused_with_the_one_that_was_meant(file: Callable[[str], Path]) -> None:
    path = file("[door]\nprot = 1\n")
    assert problems(path) == (
        f"{path}: door.prot: no such setting (did you mean door.port?); correct or remove it",
    )


def test_a_wrong_value_names_key_file_expectation_and_cure(file: Callable[[str], Path]) -> None:
    path = file(f'region = "{SECRET}"\n[door]\nport = "{SECRET}"\n')
    assert problems(path) == (
        f"{path}: region (where this is): should be 'us', 'fr' or 'sg'; correct it",
        f"{path}: door.port (TCP port; 0 takes a free one): should be a valid integer, "
        "unable to parse string as an integer; correct it",
    )


def test_a_wrong_value_names_its_variable(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZT_EXAMPLE_DOOR__PORT", SECRET)
    monkeypatch.setenv("ZT_EXAMPLE_PEER_LIMITS", SECRET)
    monkeypatch.setenv("ZT_EXAMPLE_DOOR__TLS__VERSIONS", SECRET)
    path = file("drain_deadline_s = -1\n[door]\nhost = 7\n")
    found = problems(path)
    assert [problem.split(" (")[0] for problem in found] == [
        f"{path}: drain_deadline_s",
        "ZT_EXAMPLE_PEER_LIMITS: peer_limits",
        f"{path}: door.host",
        "ZT_EXAMPLE_DOOR__PORT: door.port",
        "ZT_EXAMPLE_DOOR__TLS__VERSIONS: door.tls.versions",
    ]
    assert all(
        problem.endswith(("; correct it", "; correct or unset the variable")) for problem in found
    )


def test_a_wrong_key_in_a_variable_that_holds_a_group_is_named(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZT_EXAMPLE_DOOR", '{"prot": 1, "port": "x"}')
    path = file("[door]\nhost = 7\n")
    assert [problem.split(" (")[0] for problem in problems(path)] == [
        f"{path}: door.host",
        "ZT_EXAMPLE_DOOR: door.port",
        "ZT_EXAMPLE_DOOR: door.prot: no such setting",
    ]


def test_our_own_rules_speak_in_their_own_words(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file(f'greeting = "{SECRET * 2}"\n')
    assert problems(path) == (
        f"{path}: greeting (what is said first): should be at most 20 characters; correct it",
    )
    monkeypatch.setenv("ZT_EXAMPLE_IS_PUBLIC", "true")
    assert problems(file("")) == (
        f"{path}: all together: a public door needs a door.host that strangers reach; correct it",
    )
    assert problems(None)[0].startswith("settings: all together: ")


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "missing.toml"
    assert problems(path) == (f"{path}: no such file; correct the path or leave it out",)


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"{tmp_path}: cannot be read (")


@pytest.mark.parametrize(
    "text", [f"pepper = {SECRET}\n", f'"{SECRET}\n', f'a = 1\na = "{SECRET}"\n']
)
def test_what_is_no_toml_names_the_line_and_repeats_nothing(
    text: str, file: Callable[[str], Path]
) -> None:
    path = file(text)
    (problem,) = problems(path)
    assert re.fullmatch(
        rf"{path}: is not TOML: [^\n]+ \(at line \d, column \d+\); correct that line", problem
    )


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"greeting = '\xff'")
    assert problems(path) == (f"{path}: is not UTF-8 text; save it as UTF-8",)


@pytest.mark.reaches("SETTINGS_FILE_BYTES_MAX")
def test_a_file_as_large_as_the_limit_is_read_and_no_larger_one(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"#" * SETTINGS_FILE_BYTES_MAX)
    load(ExampleSettings, path)
    path.write_bytes(b"#" * (SETTINGS_FILE_BYTES_MAX + 1))
    (problem,) = problems(path)
    assert "is larger than" in problem


def test_effective_settings_are_toml_that_explains_itself(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZT_EXAMPLE_PEPPER", SECRET)
    monkeypatch.setenv("ZT_EXAMPLE_REDIS__PASSWORD", SECRET)
    text = effective(load(ExampleSettings, None))
    assert SECRET not in text
    assert text.splitlines()[:6] == [
        'region = "us"  # ZT_EXAMPLE_REGION: where this is',
        "drain_deadline_s = 900.0  # ZT_EXAMPLE_DRAIN_DEADLINE_S: seconds of a drain",
        'greeting = "hello"  # ZT_EXAMPLE_GREETING: what is said first',
        "is_public = false  # ZT_EXAMPLE_IS_PUBLIC: whether strangers may come",
        "peer_limits = {}  # ZT_EXAMPLE_PEER_LIMITS: uploads in flight by peer",
        "# note is not set  # ZT_EXAMPLE_NOTE: what the operator wants to remember",
    ]
    table = tomllib.loads(text)
    assert table["pepper"] == table["redis"]["password"] == "*" * 10
    assert table["door"]["tls"] == {"certificate_file": "tls.pem", "versions": ["1.2", "1.3"]}


@given(
    greeting=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    note=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    limits=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 2**62)
    ),
    deadline=st.floats(0.001, 1e300),
    versions=st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)
def test_effective_settings_load_again_as_they_were(
    greeting: str, note: str | None, limits: dict[str, int], deadline: float, versions: list[str]
) -> None:
    table: dict[str, Any] = {
        "greeting": greeting,
        "peer_limits": limits,
        "drain_deadline_s": deadline,
        "door": {"tls": {"versions": versions}},
    }
    if note is not None:
        table["note"] = note
    settings = ExampleSettings.model_validate(table)
    assert ExampleSettings.model_validate(tomllib.loads(effective(settings))) == settings


def test_no_secret_is_shown_by_what_a_debugger_or_an_error_prints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZT_EXAMPLE_PEPPER", SECRET)
    settings = load(ExampleSettings, None)
    assert SECRET not in repr(settings) + str(settings)
    with pytest.raises(ValidationError) as caught:
        ExampleSettings.model_validate({"redis": {"password": [SECRET]}})
    assert SECRET not in str(caught.value)


class Loose(Group):
    """A group that breaks the rules."""

    api_token: str = Field("", description="what it signs in with")
    undescribed_s: float = 1.0


class LooseSettings(ProcessSettings):
    """Settings that break the rules."""

    model_config = SettingsConfigDict(env_prefix="ZT_LOOSE_")

    required: int = Field(description="has no default")


class OtherLooseSettings(ProcessSettings):
    """Settings that break the others."""

    model_config = SettingsConfigDict(env_prefix="ZT_LOOSE_")

    loose: Loose = Field(Loose(undescribed_s=2), description="a group")


def test_the_rules_of_fields_are_checked() -> None:
    with pytest.raises(ValidationError):
        check_settings(LooseSettings)
    with pytest.raises(AssertionError) as caught:
        check_settings(OtherLooseSettings)
    for fault in ("may be a secret", "has no description", "differs from its group's own"):
        assert fault in str(caught.value)


def test_settings_without_a_prefix_cannot_be_loaded() -> None:
    with pytest.raises(AssertionError, match="no env_prefix"):
        load(ProcessSettings, None)
