"""cloud-init itself boots the file, in a container of Debian's: everything but the engine is real."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployments.cloud.cloud_init import render
from tests.deployments.stack import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.nightly]
IMAGE, RELEASE = "debian:bookworm-slim", "v9.9.9"
# Debian 12 has no Compose plugin under Ubuntu's names; a stand-in takes the engine's place, and systemd's.
PACKAGES = (
    "packages: [docker.io, docker-buildx, docker-compose-v2, git, make, python3]",
    "packages: [git, make, python3]",
)
STAND_IN = '#!/bin/sh\necho "$(basename "$0") $*" >>/asked\n'
BOOT = """set -e
apt-get update -qq
apt-get install -qq -y --no-install-recommends cloud-init >/dev/null
for name in docker systemctl; do cp /seed/stand-in /usr/local/bin/$name; done
git_free=$(command -v git || true)
mkdir -p /var/lib/cloud/seed/nocloud
cp /seed/user-data /seed/meta-data /var/lib/cloud/seed/nocloud/
cloud-init schema --config-file /seed/user-data
printf 'datasource_list: [NoCloud]\\n' >/etc/cloud/cloud.cfg.d/99-seed.cfg
# the stages before the last one complain of a container's disks and keys
for stage in "init --local" "init" "modules --mode=config"; do cloud-init $stage >/dev/null || echo "$stage: $?"; done
cloud-init modules --mode=final
echo "git before: ${git_free:-none}"
stat -c 'env %a %U' /opt/pneumonia/.env
stat -c 'settings %a %U' /etc/pneumonia/settings
echo "keys $(grep -c _KEY= /opt/pneumonia/.env)"
sed 's/^/asked /' /asked
"""


def test_a_booted_machine_has_cloned_the_tag_and_started_the_stack(engine: None, tmp_path: Path) -> None:
    seed = tmp_path / "seed"
    seed.mkdir()
    subprocess.run(["git", "clone", "--quiet", "--bare", ROOT, seed / "repository"], check=True, timeout=120)
    subprocess.run(["git", "tag", "--force", RELEASE], cwd=seed / "repository", check=True, timeout=60)
    text = render("file:///seed/repository", RELEASE, "", {"SERVING_PORT": "8123"})
    assert PACKAGES[0] in text
    (seed / "user-data").write_text(text.replace(*PACKAGES))
    (seed / "meta-data").write_text("instance-id: one\nlocal-hostname: machine\n")
    (seed / "stand-in").write_text(STAND_IN)
    (seed / "stand-in").chmod(0o755)
    done = subprocess.run(
        ["docker", "run", "--rm", "--volume", f"{seed}:/seed:ro", IMAGE, "sh", "-c", BOOT],
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 0, f"{said[-3000:]}\n{done.stderr[-3000:]}"
    assert "Valid cloud-config" in said
    assert "git before: none" in said, "cloud-init installed it"
    assert "env 600 root" in said
    assert "settings 600 root" in said
    assert "keys 4" in said or "keys 5" in said
    assert "asked systemctl enable --now docker" in said
    assert "up --detach --wait" in said
    assert "Service     http://127.0.0.1:8123" in said
