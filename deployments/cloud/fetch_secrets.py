"""Print a secret manager's secrets as lines of .env.

    python3 fetch_secrets.py aws REGION NAME…
    python3 fetch_secrets.py gcp PROJECT NAME…

A secret's name is the project's, a hyphen and the variable's: pneumonia-PNEUMONIA_API_KEY. The machine's own role reads
them; no key lies on it. Runs on a new machine's Python, with no package of the project.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
SECRETS = "https://secretmanager.googleapis.com/v1"
SECONDS = 30
USAGE = "fetch_secrets.py aws REGION NAME… or gcp PROJECT NAME…"
MAY_READ = "make sure that it has a value, and that the machine's role may read it"


def from_aws(region: str, names: list[str]) -> dict[str, str]:
    """Read AWS Secrets Manager with boto3, which is installed from Ubuntu's packages where it is missing."""
    try:
        import boto3
    except ModuleNotFoundError:
        install = ["apt-get", "install", "--yes", "--quiet", "python3-boto3"]
        try:
            subprocess.run(install, check=True, stdout=sys.stderr)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"boto3: cannot be installed ({error}); do it by hand: {' '.join(install)}") from error
        import boto3
    client = boto3.client("secretsmanager", region_name=region)
    found = {}
    for name in names:
        try:
            found[name] = client.get_secret_value(SecretId=name)["SecretString"]
        except Exception as error:  # botocore's have no common class that is there before boto3 is
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise SystemExit(f"{name}: cannot be read ({words}); {MAY_READ}") from error
    return found


def answer(what: str, url: str, headers: dict[str, str], remedy: str) -> Any:
    """Return the JSON that an address answers with; end with one line that names `what` where it does not."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as found:  # noqa: S310
            return json.load(found)
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{what}: cannot be read ({error.code} {error.reason}); {remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or reason
        raise SystemExit(f"{what}: cannot be reached ({words}); {remedy}") from error


def from_gcp(project: str, names: list[str]) -> dict[str, str]:
    """Read Google's Secret Manager with the token that the machine's metadata server gives."""
    metadata = os.environ.get("METADATA", METADATA)
    remedy = "run this on a machine of Google Cloud that has a service account"
    token = answer("the metadata server", metadata, {"Metadata-Flavor": "Google"}, remedy)["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    place = f"{os.environ.get('SECRETS', SECRETS)}/projects/{project}/secrets"
    found = {name: answer(name, f"{place}/{name}/versions/latest:access", headers, MAY_READ) for name in names}
    return {name: base64.b64decode(one["payload"]["data"]).decode() for name, one in found.items()}


def main(*arguments: str) -> None:
    """Print NAME=value for every secret, or nothing where one cannot be read."""
    if len(arguments) < 3:
        raise SystemExit(f"fetch_secrets.py: what to fetch is missing; {USAGE}")
    cloud, place, *names = arguments
    clouds = {"aws": from_aws, "gcp": from_gcp}
    if cloud not in clouds:
        raise SystemExit(f"{cloud}: no cloud that is known here; {USAGE}")
    for name in names:
        if not name.partition("-")[2]:
            raise SystemExit(f"{name}: has no hyphen before the variable's name; such as pneumonia-POSTGRES_PASSWORD")
    values = clouds[cloud](place, names)
    for name, value in values.items():
        if not value or "\n" in value:
            raise SystemExit(f"{name}: is empty or has several lines; put one line in, .env takes no more")
    print("".join(f"{name.partition('-')[2]}={value}\n" for name, value in values.items()), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
