# What is kept: buckets, secrets, and the key that both are encrypted with.
resource "google_kms_key_ring" "kept" {
  depends_on = [google_project_service.used]
  name       = local.project
  location   = var.region
}

resource "google_kms_crypto_key" "kept" {
  name            = "${local.project}-kept"
  key_ring        = google_kms_key_ring.kept.id
  rotation_period = "7776000s" # 90 days

  lifecycle {
    prevent_destroy = true
  }
}

data "google_storage_project_service_account" "storage" {
  depends_on = [google_project_service.used]
}

resource "google_kms_crypto_key_iam_member" "storage" {
  crypto_key_id = google_kms_crypto_key.kept.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = "serviceAccount:${data.google_storage_project_service_account.storage.email_address}"
}

resource "google_storage_bucket" "logs" {
  #checkov:skip=CKV_GCP_62:The bucket of access logs; logs of who reads logs would fill it themselves
  name                        = "${local.project}-logs-${var.project_id}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  encryption {
    default_kms_key_name = google_kms_crypto_key.kept.id
  }

  lifecycle_rule {
    condition {
      age = 90
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.storage]
}

resource "google_storage_bucket" "kept" {
  for_each                    = toset(["data", "artifacts"])
  name                        = "${local.project}-${each.key}-${var.project_id}"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  versioning {
    enabled = true
  }

  encryption {
    default_kms_key_name = google_kms_crypto_key.kept.id
  }

  logging {
    log_bucket        = google_storage_bucket.logs.name
    log_object_prefix = each.key
  }

  lifecycle_rule {
    condition {
      days_since_noncurrent_time = 90
    }
    action {
      type = "Delete"
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.storage]
}

resource "google_storage_bucket_iam_member" "role" {
  for_each = local.uses
  bucket   = google_storage_bucket.kept[each.value.bucket].name
  role     = local.access[each.value.kind]
  member   = "serviceAccount:${google_service_account.role[each.value.role].email}"
}

# Their values are put in by a person, once: gcloud secrets versions add pneumonia-PNEUMONIA_API_KEY --data-file=-
resource "google_secret_manager_secret" "setting" {
  depends_on = [google_project_service.used]
  for_each   = local.secrets
  secret_id  = "${local.project}-${each.key}"

  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
}

resource "google_secret_manager_secret_iam_member" "role" {
  for_each  = local.reads
  secret_id = google_secret_manager_secret.setting[each.value.secret].id
  role      = "roles/secretmanager.secretAccessor"
  member    = "serviceAccount:${google_service_account.role[each.value.role].email}"
}
