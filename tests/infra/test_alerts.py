"""The alerts are there, as the queries' heads ask for, and none looks at what the host's lock-lost line touches."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from shared.redelivery import Backoff
from tests.infra.bicep import INFRA, MAIN, MODULES, read
from tests.infra.iso8601 import duration
from tests.infra.settings import ROOT

MONITORING = read(INFRA / "modules" / "monitoring.bicep")
QUERIES = {path.stem.removeprefix("alert-"): path for path in (INFRA / "queries").glob("alert-*.kql")}
QUERY_ALERTS = {alert["name"]: alert for alert in MONITORING.of("var")["queryAlerts"].value}
METRIC_ALERTS = {alert["name"]: alert for alert in MONITORING.of("var")["metricAlerts"].value}
METRICS = {condition["metric"] for alert in METRIC_ALERTS.values() for condition in alert["conditions"]}
QUERY_RULES = MONITORING.resource("Microsoft.Insights/scheduledQueryRules")
METRIC_RULES = MONITORING.resource("Microsoft.Insights/metricAlerts")
# The host's completion of a message that the function has dead-lettered fails: a user error to the broker, an error
# in the host's log. Both are expected; these metrics of the namespace do not count them.
UNTOUCHED_BY_LOCK_LOST = {"DeadletteredMessages", "ActiveMessages", "CompleteMessage"}


def test_each_query_is_an_alert_and_each_alert_its_query() -> None:
    assert QUERY_ALERTS.keys() == QUERIES.keys()
    assert QUERY_ALERTS.keys() >= {
        *("dead-letters", "oldest-message", "failure-rate", "environment-faults", "nothing-handled")
    }
    for name, alert in QUERY_ALERTS.items():
        assert str(alert["query"]) == f"loadTextContent('../queries/alert-{name}.kql')"


@pytest.mark.parametrize("name", QUERIES)
def test_severity_and_window_are_those_that_the_query_asks_for(name: str) -> None:
    head = QUERIES[name].read_text(encoding="utf-8")
    said = re.search(r"^// Alert: any row, severity (\d), window (PT\d+[MH]), every (PT\d+[MH])$", head, re.MULTILINE)
    assert said
    alert = QUERY_ALERTS[name]
    assert (alert["severity"], alert["window"]) == (int(said[1]), said[2])
    assert QUERY_RULES.value["properties"]["evaluationFrequency"] == said[3]


def test_a_query_fires_with_its_first_row_and_is_asked_every_five_minutes() -> None:
    assert QUERY_RULES.value["kind"] == "LogAlert"
    properties = QUERY_RULES.value["properties"]
    (criterion,) = properties["criteria"]["allOf"]
    assert str(criterion["query"]) == "alert.query"
    assert (criterion["timeAggregation"], criterion["operator"], criterion["threshold"]) == ("Count", "GreaterThan", 0)
    assert criterion["failingPeriods"] == {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1}
    assert (str(properties["windowSize"]), str(properties["severity"])) == ("alert.window", "alert.severity")
    assert properties["evaluationFrequency"] == "PT5M"
    assert properties["autoMitigate"] is True, "else each evaluation would mail as long as the row is in the window"
    assert "muteActionsDuration" not in properties, "it excludes autoMitigate"
    assert [str(scope) for scope in properties["scopes"]] == ["workspace.id"]
    assert "for alert in queryAlerts:" in QUERY_RULES.text


def test_each_reason_is_an_alert_of_its_own_so_that_none_hides_another() -> None:
    assert {name: alert["splitBy"] for name, alert in QUERY_ALERTS.items()} == {
        "dead-letters": ["reason"],
        "environment-faults": ["reason"],
        "oldest-message": [],
        "failure-rate": [],
        "nothing-handled": [],
    }
    (criterion,) = QUERY_RULES.value["properties"]["criteria"]["allOf"]
    (dimension,) = criterion["dimensions"]
    assert (str(dimension["name"]), dimension["operator"], dimension["values"]) == ("column", "Include", ["*"])
    assert "for column in alert.splitBy:" in QUERY_RULES.text


def test_a_window_that_waits_for_the_next_attempt_is_longer_than_the_longest_delay() -> None:
    """Else the alert would be resolved, and mail so, while the only message that waits is between two attempts."""
    longest = timedelta(seconds=Backoff().longest_delay)
    for name in ("environment-faults", "oldest-message"):
        assert duration(QUERY_ALERTS[name]["window"]) > longest + duration("PT10M"), name


def test_the_broker_alone_is_asked_for_its_own_dead_letters_and_for_what_waits() -> None:
    asked = {
        name: (
            found["severity"],
            found["window"],
            [tuple(condition.values()) for condition in found["conditions"]],
        )
        for name, found in METRIC_ALERTS.items()
    }
    waits = [("ActiveMessages", "Minimum", "GreaterThan", 0), ("CompleteMessage", "Total", "LessThan", 1)]
    assert asked == {
        "dead-letter-queue": (3, "PT5M", [("DeadletteredMessages", "Maximum", "GreaterThan", 0)]),
        "messages-wait": (1, "PT15M", waits),
    }
    assert "for alert in metricAlerts:" in METRIC_RULES.text
    assert "for condition in alert.conditions:" in METRIC_RULES.text
    properties = METRIC_RULES.value["properties"]
    assert (str(properties["windowSize"]), str(properties["severity"])) == ("alert.window", "alert.severity")
    assert (properties["evaluationFrequency"], properties["autoMitigate"]) == ("PT5M", True)
    assert [str(scope) for scope in properties["scopes"]] == ["namespace.id"]
    criteria = properties["criteria"]
    assert criteria["odata.type"] == "Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria"
    (criterion,) = criteria["allOf"]
    assert {name: str(value) for name, value in criterion.items() if str(value).startswith("condition.")} == {
        "name": "condition.metric",
        "metricName": "condition.metric",
        "timeAggregation": "condition.aggregation",
        "operator": "condition.operator",
        "threshold": "condition.threshold",
    }
    assert criterion["metricNamespace"] == "Microsoft.ServiceBus/namespaces"
    (dimension,) = criterion["dimensions"]
    assert (dimension["name"], dimension["operator"]) == ("EntityName", "Include")
    assert [str(value) for value in dimension["values"]] == ["queueName"]


def test_no_alert_looks_at_what_a_lost_lock_touches() -> None:
    """The queries are held against the host's own line in test_kql.py; here: there is no other alert."""
    assert METRICS <= UNTOUCHED_BY_LOCK_LOST
    kinds = {found.type.partition("@")[0] for path in [MAIN, *MODULES] for found in read(path).of("resource").values()}
    alerting = {kind for kind in kinds if re.search(r"alert|rule|detector", kind, re.IGNORECASE)}
    assert alerting == {"Microsoft.Insights/scheduledQueryRules", "Microsoft.Insights/metricAlerts"}


def test_every_alert_is_on_and_reaches_somebody() -> None:
    query, metric = QUERY_RULES.value["properties"], METRIC_RULES.value["properties"]
    assert query["enabled"] is metric["enabled"] is True
    assert [str(group) for group in query["actions"]["actionGroups"]] == ["people.id"]
    assert [str(action["actionGroupId"]) for action in metric["actions"]] == ["people.id"]
    people = MONITORING.resource("Microsoft.Insights/actionGroups").value["properties"]
    assert people["enabled"] is True
    assert [str(receiver["emailAddress"]) for receiver in people["emailReceivers"]] == ["alertEmail"]
    assert len(people["groupShortName"]) <= 12


def test_the_namespaces_metrics_reach_the_workspace_for_the_alert_that_reads_them_there() -> None:
    assert "AzureMetrics" in QUERIES["nothing-handled"].read_text(encoding="utf-8")
    setting = MONITORING.resource("Microsoft.Insights/diagnosticSettings").value
    assert str(setting["scope"]) == "namespace"
    assert setting["properties"]["metrics"] == [{"category": "AllMetrics", "enabled": True}]
    assert str(setting["properties"]["workspaceId"]) == "workspace.id"


def test_the_workbook_is_the_file_and_asks_the_workspace() -> None:
    workbook = MONITORING.resource("Microsoft.Insights/workbooks").value["properties"]
    placeholder, asked = '"fallbackResourceIds": []', '"fallbackResourceIds": ["${workspace.id}"]'
    assert (
        str(workbook["serializedData"]) == f"replace(loadTextContent('../workbook.json'), '{placeholder}', '{asked}')"
    )
    assert (INFRA / "workbook.json").read_text(encoding="utf-8").count(placeholder) == 1


def test_the_monitoring_guide_says_what_to_do_at_each_alert() -> None:
    guide = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert [name for name in [*(f"`alert-{name}`" for name in QUERY_ALERTS), *METRICS] if name not in guide] == []
