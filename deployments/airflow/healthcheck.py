"""Check whether a part of Airflow is alive, for Docker: exit 0 if it is. The argument is the part's name."""

import http.client  # urllib would take twice as long to import, every few seconds
import json
import sys

# host, port and path; the scheduler has its own small server, whose status code is the answer
PLACES = {
    "apiserver": ("localhost", 8080, "/api/v2/version"),
    "scheduler": ("localhost", 8974, "/health"),
    "dag_processor": ("airflow-apiserver", 8080, "/api/v2/monitor/health"),
}


def healthy(part: str) -> bool:
    host, port, path = PLACES[part]
    connection = http.client.HTTPConnection(host, port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status == 200 and (
        part != "dag_processor" or json.load(answer)["dag_processor"]["status"] == "healthy"
    )


if __name__ == "__main__":
    try:
        sys.exit(not healthy(sys.argv[1]))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"{sys.argv[1]}: {error}")
