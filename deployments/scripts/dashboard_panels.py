"""The panels of Grafana's dashboards: title, what it says, unit, and the expressions by their legends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """A panel.

    Attributes:
        title, description: what a reader sees of it.
        series: PromQL by legend; `{{label}}` in a legend is a series' label.
        unit: Grafana's name of it.
        kind: timeseries or stat.
        width, height: of 24 columns; a row is about 30 pixels.
        colours: of a stat, a key of `write_dashboards.STEPS`.
        names: a stat shows its series' names and not their values.
    """

    title: str
    description: str
    series: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    colours: str = ""
    names: bool = False


def stat(title: str, description: str, series: dict[str, str], unit: str = "short", colours: str = "") -> Panel:
    """Return a panel that shows the last value."""
    return Panel(title, description, series, unit, "stat", width=4, height=4, colours=colours)


PREDICT = 'route="/v1/predict"'
QUANTILE = f"histogram_quantile(%s, sum by (le) (rate(pneumonia_request_duration_seconds_bucket{{{PREDICT}}}[5m])))"
PART = "histogram_quantile(0.95, sum by (le, part) (rate(pneumonia_image_duration_seconds_bucket[5m])))"
SHARE_PNEUMONIA = (
    'sum(increase(pneumonia_decisions_total{decision="PNEUMONIA"}[1h])) / sum(increase(pneumonia_decisions_total[1h]))'
)

SERVICE = (
    stat("Ready", "1 where radiographs are answered", {"": "pneumonia_ready"}, colours="one is good"),
    Panel(
        "Model",
        "The version that answers",
        {"{{name}} {{version}}, {{precision}}": 'pneumonia_model_info{version!=""}'},
        kind="stat",
        height=4,
        names=True,
    ),
    stat("Requests", "A second, over 5 minutes", {"": "sum(rate(pneumonia_requests_total[5m]))"}, "reqps"),
    stat(
        "Failures",
        "Share of the answers of 500 and above, over 5 minutes",
        {
            "": '(sum(rate(pneumonia_requests_total{status=~"5.."}[5m])) or vector(0)) '
            "/ sum(rate(pneumonia_requests_total[5m]))"
        },
        "percentunit",
    ),
    stat("Alerts", "That fire now", {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'}, colours="one is bad"),
    Panel("Requests by status", "", {"{{status}}": "sum by (status) (rate(pneumonia_requests_total[5m]))"}, "reqps"),
    Panel(
        "Time of /v1/predict",
        "From the request's header to the end of its answer",
        {"50 %": QUANTILE % 0.5, "95 %": QUANTILE % 0.95, "99 %": QUANTILE % 0.99},
        "s",
    ),
    Panel(
        "Queue",
        "Images that wait for a thread and that a thread works on, requests in flight",
        {
            "waiting": "pneumonia_queue_images",
            "in work": "pneumonia_computing_images",
            "requests": "pneumonia_requests_in_flight",
        },
    ),
    Panel("Parts of an image's time, 95 %", "Decoding, computing, checking", {"{{part}}": PART}, "s"),
    Panel(
        "Refusals by code",
        "Images a second; docs/serving.md lists the codes",
        {"{{code}}": "sum by (code) (rate(pneumonia_refusals_total[5m]))"},
        "cps",
    ),
    Panel("Memory", "Resident", {"service": 'process_resident_memory_bytes{job="service"}'}, "bytes"),
    Panel(
        "Following the champion",
        "In an hour",
        {
            "put to use": "increase(pneumonia_model_swaps_total[1h])",
            "refused": "increase(pneumonia_model_swap_failures_total[1h])",
            "lookups that failed": "increase(pneumonia_champion_lookup_failures_total[1h])",
        },
    ),
    Panel("CPU", "Cores in use", {"service": 'rate(process_cpu_seconds_total{job="service"}[5m])'}),
    Panel(
        "Alerts that fire",
        "",
        {"{{alertname}}": 'sum by (alertname) (ALERTS{alertstate="firing"})'},
    ),
)


def _metric(metric: str) -> dict[str, str]:
    found = {
        f"{kind}, {bound}": f'pneumonia_{kind}_metric{{metric="{metric}", bound="{bound}"}}'
        for kind in ("estimated", "expected")
        for bound in ("low", "high")
    }
    found["estimated"] = f'pneumonia_estimated_metric{{metric="{metric}", bound="value"}}'
    found["measured"] = f'pneumonia_measured_metric{{metric="{metric}", bound="value"}}'
    return found


MODEL = (
    stat("Drift", "1: what the model sees has changed", {"": "pneumonia_drift_alarm"}, colours="one is bad"),
    Panel(
        "Kind of change",
        "And what to do: docs/operations.md",
        {"{{kind}}": "pneumonia_drift_kind == 1"},
        kind="stat",
        height=4,
        names=True,
    ),
    stat("Window", "Images of the last check", {"": "pneumonia_drift_window_images"}),
    stat("Checked", "Time since the last check", {"": "time() - pneumonia_drift_checked_timestamp_seconds"}, "s"),
    stat("Labels", "Settled by readers", {"": 'pneumonia_feedback_labels{state="settled"}'}),
    Panel(
        "Drift score",
        "Each test's statistic as a share of its alarm level; from 1 on it is an alarm",
        {"all": "pneumonia_drift_score", "{{test}}": "pneumonia_drift_test_score", "alarm": "vector(1)"},
    ),
    Panel("Accuracy", "Estimated without labels, with its expected band", _metric("accuracy"), "percentunit"),
    Panel("AUROC", "Estimated without labels, with its expected band", _metric("auroc"), "percentunit"),
    Panel("Sensitivity", "Estimated without labels, with its expected band", _metric("sensitivity"), "percentunit"),
    Panel("Specificity", "Estimated without labels, with its expected band", _metric("specificity"), "percentunit"),
    Panel(
        "Share of PNEUMONIA",
        "As decided in the last hour, and as the last check estimates the prevalence",
        {"decided": SHARE_PNEUMONIA, "estimated prevalence": "pneumonia_estimated_prevalence"},
        "percentunit",
    ),
    Panel(
        "Probabilities",
        "Quantiles of the answered probability of PNEUMONIA, over an hour",
        {
            f"{100 * q:.0f} %": f"histogram_quantile({q}, sum by (le) (rate(pneumonia_probability_bucket[1h])))"
            for q in (0.1, 0.5, 0.9)
        },
        "percentunit",
    ),
    Panel(
        "Unlike the training images",
        "Share of the answered images, over an hour",
        {"unfamiliar": "sum(increase(pneumonia_unfamiliar_total[1h])) / sum(increase(pneumonia_decisions_total[1h]))"},
        "percentunit",
    ),
    Panel("Readers' feedback", "In the database, by verdict", {"{{verdict}}": "pneumonia_feedback"}),
    Panel(
        "Events",
        "Recorded a second, waiting in the spool, lost in an hour",
        {
            "recorded": "rate(pneumonia_events_recorded_total[5m])",
            "waiting": "pneumonia_events_spooled",
            "lost: {{reason}}": "increase(pneumonia_events_lost_total[1h])",
        },
    ),
)

PIPELINE = (
    Panel(
        "Parts",
        "1 where a part is healthy",
        {"{{part}}": "pneumonia_part_up"},
        kind="stat",
        width=12,
        height=4,
        colours="one is good",
    ),
    stat("Loop", "1 while one runs", {"": "pneumonia_loop_running"}),
    Panel(
        "Last loop",
        "What it did, and what came of it",
        {"{{action}}: {{outcome}} {{version}}": 'pneumonia_loop_last_info{outcome!=""}'},
        kind="stat",
        width=4,
        height=4,
        names=True,
    ),
    stat("Webhook", "1 where it answers", {"": 'up{job="pipelines"}'}, colours="one is good"),
    Panel("Runs by state", "Of each pipeline", {"{{pipeline}}, {{state}}": "pneumonia_pipeline_runs"}),
    Panel("Duration of the last run", "That ended", {"{{pipeline}}": "pneumonia_pipeline_last_duration_seconds"}, "s"),
    Panel("Last run succeeded", "1: yes", {"{{pipeline}}": "pneumonia_pipeline_last_success"}),
    Panel(
        "Since the last run",
        "Time since its end",
        {"{{pipeline}}": "time() - pneumonia_pipeline_last_end_timestamp_seconds"},
        "s",
    ),
    Panel("Loops", "By action and outcome", {"{{action}}, {{outcome}}": "pneumonia_loops"}),
    Panel(
        "Starts by alerts",
        "In an hour",
        {
            "{{outcome}}": "increase(pneumonia_loop_starts_total[1h])",
            "alerts, {{status}}": "increase(pneumonia_alerts_received_total[1h])",
        },
    ),
    Panel(
        "Alertmanager's notifications",
        "Sent and failed, an hour",
        {
            "sent": 'increase(alertmanager_notifications_total{integration="webhook"}[1h])',
            "failed": 'sum(increase(alertmanager_notifications_failed_total{integration="webhook"}[1h]))',
        },
    ),
    Panel("Prometheus' series", "In memory", {"series": "prometheus_tsdb_head_series"}),
    Panel("Targets", "1 where Prometheus can read them", {"{{job}}": "up"}),
)

DASHBOARDS = {
    "service": ("Pneumonia: service", SERVICE),
    "model": ("Pneumonia: model", MODEL),
    "pipeline": ("Pneumonia: pipeline", PIPELINE),
}
"""File, title and panels."""
