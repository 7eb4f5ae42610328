# The machine that runs the Compose stack, booted by the file that a person would paste.
resource "google_compute_instance" "machine" {
  #checkov:skip=CKV_GCP_38:Google encrypts the disk with its own key; what outlives the machine has a key of its own
  name         = "${local.project}-machine"
  zone         = "${var.region}-b"
  machine_type = "n4-standard-2"

  boot_disk {
    initialize_params {
      image = "ubuntu-os-cloud/ubuntu-2404-lts-amd64"
      size  = 100
      type  = "hyperdisk-balanced"
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.stack.id
  }

  service_account {
    email  = google_service_account.role["machine"].email
    scopes = ["cloud-platform"] # the account's roles are what limits it
  }

  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }

  metadata = {
    block-project-ssh-keys = true
    enable-oslogin         = true
    user-data = replace(replace(replace(replace(
      file("${path.module}/../cloud-init.yaml"),
      "'https://github.com/EXAMPLE/pneumonia.git'", "'${var.repository}'"),
      "/RELEASE='[^']*'/", "RELEASE='${local.release}'"),
      "SECRETS_FROM=''", "SECRETS_FROM='gcp ${var.project_id} ${join(" ", [for name in local.roles.machine.secrets : "${local.project}-${name}"])}'"),
      "      # settings of this machine", join("\n", [
        "      # settings of this machine",
        "      COMPOSE_FILE=docker-compose.yml:deployments/compose.published.yml",
        "      ARTIFACTS_DESTINATION=gs://${google_storage_bucket.kept["artifacts"].name}",
        "      DVC_REMOTE_URL=gs://${google_storage_bucket.kept["data"].name}",
    ]))
  }
}
