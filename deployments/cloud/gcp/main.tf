# Not tried on the real cloud, and not validated against the provider's schema: formatted, parsed and checked without it.
# The smallest useful shape on Google Cloud: buckets for DVC and MLflow, one machine that boots the Compose stack from
# ../cloud-init.yaml, the service on Cloud Run, a role for each, secrets by reference, a budget. Names, regions and roles
# are those of ../shape.toml; a test holds them together. terraform init && terraform apply -var project_id=… -var …
terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.0"
    }
  }
}

provider "google" {
  project = var.project_id
  region  = var.region
}

locals {
  project = "pneumonia"
  release = "v0.1.0"

  secrets = toset([
    "POSTGRES_PASSWORD",
    "AIRFLOW_DB_PASSWORD",
    "MLFLOW_DB_PASSWORD",
    "MONITORING_DB_PASSWORD",
    "PNEUMONIA_API_KEY",
    "PNEUMONIA_METRICS_KEY",
    "MLFLOW_PIPELINE_PASSWORD",
    "MLFLOW_SERVING_PASSWORD",
    "PNEUMONIA_PATIENT_KEY",
  ])

  # What a role gets, and nothing else: "read" of a bucket lists and gets, "write" puts and deletes besides.
  roles = {
    machine = {
      buckets = { data = "read", artifacts = "write" }
      secrets = [
        "POSTGRES_PASSWORD",
        "AIRFLOW_DB_PASSWORD",
        "MLFLOW_DB_PASSWORD",
        "MONITORING_DB_PASSWORD",
        "PNEUMONIA_API_KEY",
        "PNEUMONIA_METRICS_KEY",
        "MLFLOW_PIPELINE_PASSWORD",
        "MLFLOW_SERVING_PASSWORD",
        "PNEUMONIA_PATIENT_KEY",
      ]
    }
    serving = {
      buckets = {}
      secrets = [
        "PNEUMONIA_API_KEY",
        "PNEUMONIA_METRICS_KEY",
        "MLFLOW_SERVING_PASSWORD",
        "MONITORING_DB_PASSWORD",
        "PNEUMONIA_PATIENT_KEY",
      ]
    }
    training = {
      buckets = { data = "read" }
      secrets = ["MLFLOW_PIPELINE_PASSWORD", "PNEUMONIA_PATIENT_KEY"]
    }
  }

  access = {
    read  = "roles/storage.objectViewer"
    write = "roles/storage.objectUser"
  }

  # one entry for each arrow from a role to a bucket or a secret
  uses = merge([for role, gets in local.roles : {
    for bucket, kind in gets.buckets : "${role}-${bucket}" => { role = role, bucket = bucket, kind = kind }
  }]...)
  reads = merge([for role, gets in local.roles : {
    for secret in gets.secrets : "${role}-${secret}" => { role = role, secret = secret }
  }]...)
}

# What is off in a new project. Cloud Resource Manager and Service Usage have to be on before (docs/cloud.md).
resource "google_project_service" "used" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudkms.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "storage.googleapis.com",
  ])
  project            = var.project_id
  service            = each.key
  disable_on_destroy = false
}

resource "google_service_account" "role" {
  depends_on   = [google_project_service.used]
  for_each     = local.roles
  account_id   = "${local.project}-${each.key}"
  display_name = "${local.project} ${each.key}"
}
