"""List the variables that a step's process gets. Airflow's own, with its database's address and its keys, are not among
them: a step runs code of many packages and reads files from outside.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

PASSED_ON = {
    *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"),
    *("LD_LIBRARY_PATH", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES"),
    *("TORCH_HOME", "MPLCONFIGDIR", "GIT_COMMIT"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NETRC", "PGPASSFILE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *(
        "MLFLOW_TRACKING_INSECURE_TLS",
        "MLFLOW_TRACKING_SERVER_CERT_PATH",
        "MLFLOW_PUBLIC_URL",
        "MONITORING_DATABASE_URI",
    ),
}
SETTINGS = "PNEUMONIA_"
MORE = "STEP_VARIABLES"
"""Variable with further names, separated by commas, such as the one that tracking.uri=env:NAME refers to."""


def step_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a step's process."""
    names = PASSED_ON | {name.strip() for name in environment.get(MORE, "").split(",")}
    return {name: text for name, text in environment.items() if name in names or name.startswith(SETTINGS)}
