"""Environment switches: aliases of the configuration, refused when misspelt, recorded."""

from __future__ import annotations

import pytest

from aam.config import HealthConfig
from aam.config.switches import SWITCHES, read_switches
from aam.errors import ConfigError


def test_the_switches_users_know():
    assert set(SWITCHES) == {
        "AAM_NAN_DEBUG", "AAM_DEBUG_FINITE", "AAM_ANOMALY_DETECT", "AAM_SAFE_CLAMP", "AAM_SANITIZE_GRADS",
        "AAM_SKIP_STEP_ON_NAN",
    }  # fmt: skip


def test_environment_wins_and_is_recorded():
    asked = HealthConfig(safe_clamp=True)
    switches = read_switches({"AAM_NAN_DEBUG": "1", "AAM_SAFE_CLAMP": "off", "PATH": "/bin"}, asked)
    assert switches.config.nan_debug and not switches.config.safe_clamp
    record = switches.record()
    assert record["nan_debug"] == {"value": True, "source": "AAM_NAN_DEBUG=1"}
    assert record["sanitize_grads"] == {"value": False, "source": "config"}
    assert set(record) == set(SWITCHES.values())
    assert "AAM_SAFE_CLAMP=off overrides safe_clamp=True of the configuration" in switches.notes(asked)
    assert not read_switches({"AAM_SAFE_CLAMP": "1"}, asked).notes(asked)  # they agree


@pytest.mark.parametrize(("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("0", False), (" No ", False)])
def test_words(text, value):
    assert read_switches({"AAM_NAN_DEBUG": text}, HealthConfig()).config.nan_debug is value


@pytest.mark.parametrize("text", ["", "2", "maybe"])
def test_other_values_are_refused(text):
    with pytest.raises(ConfigError, match="AAM_DEBUG_FINITE=.* neither on nor off"):
        read_switches({"AAM_DEBUG_FINITE": text}, HealthConfig())


def test_unknown_names_are_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="AAM_NAN_DEBGU; did you mean 'AAM_NAN_DEBUG'\\? correct it"):
        read_switches({"AAM_NAN_DEBGU": "1"}, HealthConfig())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AAM_NANDEBUG", "AAM_NAN_DEBUG"),
        ("AAM_DEBUG_NAN", "AAM_NAN_DEBUG"),
        ("AAM_nan_debug", "AAM_NAN_DEBUG"),
        ("AAM_SANITISE_GRADS", "AAM_SANITIZE_GRADS"),
        ("AAM_SANITIZE_GRAD", "AAM_SANITIZE_GRADS"),
        ("AAM_SKIP_STEP", "AAM_SKIP_STEP_ON_NAN"),
        ("AAM_SKIP_STEPS_ON_NAN", "AAM_SKIP_STEP_ON_NAN"),
        ("AAM_ANOMALY_DETECTION", "AAM_ANOMALY_DETECT"),
        ("AAM_REFERENCES", "AAM_REFERENCE"),
    ],
)
def test_slips_of_what_is_read_are_refused(name, meant):
    with pytest.raises(ConfigError, match=f"{name}; did you mean '{meant}'"):
        read_switches({name: "1"}, HealthConfig())


@pytest.mark.parametrize(
    "name",
    [
        "AAM_HOME",
        "AAM_DATA",
        "AAM_CACHE_DIR",
        "AAM_MODEL_DIR",
        "AAM_VERSION",
        "AAM_ROOT",
        "AAM_THREADS",
        "AAM_XYZZY",
        "AAM_",
    ],
)
def test_variables_of_a_site_pass(name):
    switches = read_switches({name: "x", "AAM_NAN_DEBUG": "1"}, HealthConfig())
    assert switches.ignored == (name,) and switches.from_environment == {"AAM_NAN_DEBUG": "1"}


def test_variables_that_are_no_switches_pass():
    assert read_switches({"AAM_TEST_DATA": "/data"}, HealthConfig()).from_environment == {}
