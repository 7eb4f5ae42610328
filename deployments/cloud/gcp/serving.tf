# The service on Cloud Run: by TLS, with the key that it asks every caller for; it follows the champion that MLflow names.
# Without a champion no replica becomes ready, and Cloud Run gives the service up: it is made once an image is named.
resource "google_cloud_run_v2_service" "serving" {
  count      = var.image == "" ? 0 : 1
  depends_on = [google_project_service.used, google_secret_manager_secret_iam_member.role]

  name     = "${local.project}-serving"
  location = var.region
  ingress  = "INGRESS_TRAFFIC_ALL"

  template {
    service_account                  = google_service_account.role["serving"].email
    max_instance_request_concurrency = 8

    scaling {
      min_instance_count = 2
      max_instance_count = 20
    }

    vpc_access {
      egress = "PRIVATE_RANGES_ONLY"
      network_interfaces {
        subnetwork = google_compute_subnetwork.stack.id
      }
    }

    containers {
      image = var.image

      ports {
        container_port = 8000
      }

      resources {
        limits            = { cpu = "1", memory = "2048Mi" }
        cpu_idle          = false # between requests it looks for a new champion
        startup_cpu_boost = true
      }

      startup_probe {
        http_get {
          path = "/readyz"
        }
        period_seconds    = 5
        failure_threshold = 24
      }

      liveness_probe {
        http_get {
          path = "/healthz"
        }
      }

      env {
        name  = "MLFLOW_TRACKING_URI"
        value = "http://${google_compute_instance.machine.network_interface[0].network_ip}:5000"
      }
      env {
        name  = "MLFLOW_TRACKING_USERNAME"
        value = "serving"
      }
      env {
        name  = "MONITORING_DATABASE_URI"
        value = "postgresql+psycopg2://monitoring@${google_compute_instance.machine.network_interface[0].network_ip}:5432/monitoring"
      }

      dynamic "env" {
        for_each = {
          PNEUMONIA_API_KEY        = "PNEUMONIA_API_KEY"
          PNEUMONIA_METRICS_KEY    = "PNEUMONIA_METRICS_KEY"
          MLFLOW_TRACKING_PASSWORD = "MLFLOW_SERVING_PASSWORD"
          PGPASSWORD               = "MONITORING_DB_PASSWORD"
          PNEUMONIA_PATIENT_KEY    = "PNEUMONIA_PATIENT_KEY"
        }
        content {
          name = env.key
          value_source {
            secret_key_ref {
              secret  = google_secret_manager_secret.setting[env.value].secret_id
              version = "latest"
            }
          }
        }
      }
    }
  }
}

# Cloud Run answers nobody else than its members. Who calls has one of the service's own keys, and none of Google's.
resource "google_cloud_run_v2_service_iam_member" "everybody" {
  count    = length(google_cloud_run_v2_service.serving)
  name     = google_cloud_run_v2_service.serving[count.index].name
  location = var.region
  role     = "roles/run.invoker"
  member   = "allUsers"
}
