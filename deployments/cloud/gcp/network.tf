# A network of its own: nothing reaches the machine from outside but Identity-Aware Proxy's SSH.
resource "google_compute_network" "stack" {
  depends_on              = [google_project_service.used]
  name                    = local.project
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "stack" {
  name                     = local.project
  network                  = google_compute_network.stack.id
  region                   = var.region
  ip_cidr_range            = "10.20.0.0/22"
  private_ip_google_access = true

  log_config {
    aggregation_interval = "INTERVAL_10_MIN"
    flow_sampling        = 0.1
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

resource "google_compute_router" "stack" {
  name    = local.project
  network = google_compute_network.stack.id
  region  = var.region
}

resource "google_compute_router_nat" "stack" {
  name                               = local.project
  router                             = google_compute_router.stack.name
  region                             = var.region
  nat_ip_allocate_option             = "AUTO_ONLY"
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
}

resource "google_compute_firewall" "ssh" {
  name          = "${local.project}-ssh"
  network       = google_compute_network.stack.id
  source_ranges = ["35.235.240.0/20"] # Identity-Aware Proxy

  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "stack" {
  name                    = "${local.project}-stack"
  network                 = google_compute_network.stack.id
  source_ranges           = [google_compute_subnetwork.stack.ip_cidr_range] # Cloud Run reaches the network from it
  target_service_accounts = [google_service_account.role["machine"].email]

  allow {
    protocol = "tcp"
    ports    = ["5000", "5432"] # MLflow, PostgreSQL
  }
}
