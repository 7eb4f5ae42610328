"""Take the screenshots in a headless Chromium: Airflow's graph, MLflow's runs and model, Prefect's run, an answer on
the service's page and its page of monitoring, Prometheus' graphs and its alerts.

    .venv/bin/python docs/screenshots.py [--airflow URL --env FILE] [--mlflow URL] [--prefect URL]
                                         [--serving URL [--radiograph FILE]] [--monitor URL] [--prometheus URL]

The servers must be up and have runs already; a server that is not named is left out. Chromium is Debian's package.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from websockets.sync.client import ClientConnection, connect

IMAGES = Path(__file__).parent / "images"
DAG = "pneumonia_pipeline_fast"
WIDTH, HEIGHT = 1440, 900
NARROWER = 1200  # of a page that is shown whole
PATIENCE = 60.0
TRAINING = "workflowType=machine_learning"  # MLflow's page opens in another mode


class Page:
    """A page of Chromium, controlled through its DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.numbers = socket, itertools.count(1)
        self.call("Page.enable")
        self.resize(WIDTH, HEIGHT)

    def resize(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self.socket.recv(timeout=60))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                found: dict[str, Any] = answer["result"]
                return found

    def script(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def open(self, url: str, *words: str) -> None:
        """Open a page and wait until it shows all of these words, and then for its drawing to settle."""
        self.call("Page.navigate", url=url)
        end = time.monotonic() + PATIENCE
        while True:
            shown = self.script("document.body ? document.body.innerText : ''") or ""
            if all(word in shown for word in words):
                break
            if time.monotonic() > end:
                raise SystemExit(f"{url} does not show {words}; it shows: {shown[:500]}")
            time.sleep(0.5)
        time.sleep(4)

    def click(self, text: str) -> None:
        """Press the first button or link with this text, if there is one."""
        wanted = json.dumps(text)
        self.script(
            "[...document.querySelectorAll('button, a, [role=tab]')]"
            f".find(one => one.innerText.trim() === {wanted} || one.ariaLabel === {wanted})?.click()"
        )
        time.sleep(2)

    def choose(self, field: str, file: Path) -> None:
        """Choose a file in a field of the page, named by a selector."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=field)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file.resolve())])

    def wait(self, condition: str) -> None:
        """Wait until an expression is true on the page."""
        end = time.monotonic() + PATIENCE
        while not self.script(condition):
            if time.monotonic() > end:
                raise SystemExit(f"the page does not come to {condition}")
            time.sleep(0.2)

    def save(self, name: str) -> None:
        picture = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        (IMAGES / f"{name}.png").write_bytes(picture)
        print(f"docs/images/{name}.png", file=sys.stderr)


@contextmanager
def browser() -> Iterator[Page]:
    """Start Chromium with an empty profile, and end it."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium is installed; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        process = subprocess.Popen([program, *flags, f"--user-data-dir={profile}"], stderr=subprocess.DEVNULL)
        try:
            announced = Path(profile) / "DevToolsActivePort"
            end = time.monotonic() + PATIENCE
            while not announced.exists() or not announced.read_text().strip():
                if time.monotonic() > end:
                    raise SystemExit("Chromium did not start")
                time.sleep(0.2)
            port = announced.read_text().split()[0]
            target = requests.put(f"http://127.0.0.1:{port}/json/new?about:blank", timeout=30).json()
            with connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(20)


def airflow(page: Page, url: str, env: Path) -> None:
    """Save the graph of the last successful run, and the form of a manual run."""
    lines = env.read_text(encoding="utf-8").splitlines()
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    login = {"username": settings["AIRFLOW_ADMIN_USER"], "password": settings["AIRFLOW_ADMIN_PASSWORD"]}
    token = requests.post(f"{url}/auth/token", json=login, timeout=30).json()["access_token"]
    query = {"state": "success", "order_by": "-run_after", "limit": "1"}
    head = {"Authorization": f"Bearer {token}"}
    runs = requests.get(f"{url}/api/v2/dags/{DAG}/dagRuns", params=query, headers=head, timeout=30).json()["dag_runs"]
    if not runs:
        raise SystemExit(f"{url}: {DAG} has no successful run; trigger one first")
    page.call("Network.setCookie", name="_token", value=token, url=url)
    page.open(url, "Dags")
    page.open(f"{url}/dags/{DAG}/runs/{runs[0]['dag_run_id']}", "promote_model")
    page.click("Show Graph (Press g)")
    page.save("airflow-graph")
    page.open(f"{url}/dags/{DAG}", "Trigger")
    page.click("Trigger")
    page.save("airflow-form")


def mlflow(page: Page, url: str) -> None:
    """Save the comparison of all runs, and a registered model with its aliases."""
    api = f"{url}/api/2.0/mlflow"
    model = requests.get(f"{api}/registered-models/search", timeout=30).json()["registered_models"][0]["name"]
    query = {"experiment_ids": [experiment(api)], "filter": "attributes.status = 'FINISHED'", "max_results": 1}
    if not requests.post(f"{api}/runs/search", json=query, timeout=30).json().get("runs"):
        raise SystemExit(f"{url}: no finished run; make one with make run")
    page.open(f"{url}/#/experiments/{query['experiment_ids'][0]}/runs?{TRAINING}&compareRunsMode=CHART", "auroc")
    page.click("Close")  # MLflow's assistant, which opens by itself
    time.sleep(2)
    page.save("mlflow-comparison")
    page.open(f"{url}/#/models/{model}?{TRAINING}", "champion")
    page.script("[...document.querySelectorAll('*')].find(one => one.innerText === 'Versions').scrollIntoView()")
    page.save("mlflow-model")


def experiment(api: str) -> str:
    name = {"experiment_name": "pneumonia"}
    found = requests.get(f"{api}/experiments/get-by-name", params=name, timeout=30).json()
    return str(found["experiment"]["experiment_id"])


def prefect(page: Page, url: str) -> None:
    """Save the page of the newest completed flow run."""
    query = {
        "sort": "START_TIME_DESC",
        "limit": 1,
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    runs = requests.post(f"{url}/api/flow_runs/filter", json=query, timeout=30).json()
    if not runs:
        raise SystemExit(f"{url}: no completed flow run; make one with make run")
    page.open(f"{url}/runs/flow-run/{runs[0]['id']}", "Task Runs", "epoch")
    page.save("prefect-run")


def serving(page: Page, url: str, radiograph: Path | None) -> None:
    """Save the page's answer about a radiograph, with the heat map over it; without a file, about a sample."""
    page.open(url, "version")
    if radiograph is not None:
        page.choose("#files", radiograph)
    elif page.script("document.querySelector('[data-sample]') !== null"):
        page.script("document.querySelector('[data-sample=\"2\"]').click()")
    else:
        raise SystemExit(f"{url}: its model has no sample images; name a file with --radiograph")
    page.wait("document.querySelector('[data-state=answered]') !== null")
    move = "slider.value = 70; slider.dispatchEvent(new Event('input'))"
    page.script(f"{{ const slider = document.querySelector('input[type=range]'); {move} }}")
    page.wait("document.querySelector('.cover').naturalWidth > 0")
    page.script("document.querySelector('.card').scrollIntoView({block: 'nearest'})")
    page.save("serving")


def monitor(page: Page, url: str) -> None:
    """Save the whole page of monitoring of a service whose stream has been looked at."""
    found = requests.get(f"{url}/v1/monitor", params={"hours": 24}, timeout=30).json()
    if found["drift"] is None:
        raise SystemExit(f"{url}: nobody has looked at drift; do so with flows/monitor.py")
    page.open(f"{url}/monitor?hours=24", found["model"])
    page.wait("document.querySelector('#history svg') !== null")
    height = page.script("Math.ceil(document.documentElement.scrollHeight)")
    page.resize(NARROWER, height)
    time.sleep(1)
    page.resize(NARROWER, page.script("Math.ceil(document.documentElement.scrollHeight)"))
    time.sleep(1)
    page.save("monitor")
    page.resize(WIDTH, HEIGHT)


GRAPHS = (
    "sum by (status) (rate(pneumonia_requests_total[1m]))",
    "sum by (part) (rate(pneumonia_image_duration_seconds_sum[1m]) / rate(pneumonia_image_duration_seconds_count[1m]))",
)


def prometheus(page: Page, url: str) -> None:
    """Save the graphs of a few expressions over the last minutes, and the alerts, of which one has to fire."""
    # Debian's package has the classic page alone, and the project's own image the new one alone
    root = f"{url}/classic" if requests.get(f"{url}/classic/graph", timeout=30).ok else url
    fields = {}
    for number, expression in enumerate(GRAPHS):
        fields |= {f"g{number}.expr": expression, f"g{number}.tab": "0", f"g{number}.range_input": "10m"}
        fields |= {f"g{number}.stacked": "0"}
    page.open(f"{root}/graph?{urllib.parse.urlencode(fields)}", "200", "Graph")
    page.save("prometheus")
    firing = {"query": 'ALERTS{alertstate="firing"}'}
    found = requests.get(f"{url}/api/v1/query", params=firing, timeout=30).json()["data"]["result"]
    if not found:
        raise SystemExit(f"{url}: no alert fires; end MLflow for four minutes, for one")
    page.open(f"{root}/alerts", found[0]["metric"]["alertname"])
    title = json.dumps(f"{found[0]['metric']['alertname']} (1 active)")
    page.script(f"[...document.querySelectorAll('tr, div')].findLast(one => one.innerText.trim() === {title})?.click()")
    time.sleep(2)
    page.save("alerts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--airflow")
    parser.add_argument("--env", type=Path, default=Path(".env"), help="the stack's file with the login")
    parser.add_argument("--mlflow")
    parser.add_argument("--prefect")
    parser.add_argument("--serving")
    parser.add_argument("--monitor", help="a service, whose page of monitoring is shown")
    parser.add_argument("--prometheus")
    parser.add_argument("--radiograph", type=Path, help="the file that the page is shown with; otherwise a sample")
    chosen = parser.parse_args()
    if not any((chosen.airflow, chosen.mlflow, chosen.prefect, chosen.serving, chosen.monitor, chosen.prometheus)):
        parser.error("name at least one server")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with browser() as page:
        if chosen.airflow:
            airflow(page, chosen.airflow.rstrip("/"), chosen.env)
        if chosen.mlflow:
            mlflow(page, chosen.mlflow.rstrip("/"))
        if chosen.prefect:
            prefect(page, chosen.prefect.rstrip("/"))
        if chosen.serving:
            serving(page, chosen.serving.rstrip("/"), chosen.radiograph)
        if chosen.monitor:
            monitor(page, chosen.monitor.rstrip("/"))
        if chosen.prometheus:
            prometheus(page, chosen.prometheus.rstrip("/"))


if __name__ == "__main__":
    main()
