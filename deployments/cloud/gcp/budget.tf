# A mail to the billing account's administrators: when 80 % of the month's budget are spent, and when all is forecast.
resource "google_billing_budget" "month" {
  depends_on      = [google_project_service.used]
  billing_account = var.billing_account
  display_name    = "${local.project}-month"

  budget_filter {
    projects = ["projects/${var.project_id}"]
  }

  amount {
    specified_amount {
      currency_code = "USD"
      units         = "400"
    }
  }

  threshold_rules {
    threshold_percent = 0.8
  }

  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }
}

output "mlflow" {
  description = "MLflow, within the network"
  value       = "http://${google_compute_instance.machine.network_interface[0].network_ip}:5000"
}

output "service" {
  description = "The service's address"
  value       = one(google_cloud_run_v2_service.serving[*].uri)
}
