# An example: the dashboards in Grafana Cloud, fed by speedtest_monitoring_remote_write_url. It was parsed and never applied.
#   terraform init && terraform apply -var grafana_url=https://me.grafana.net -var grafana_token=…
terraform {
  required_version = ">= 1.5"
  required_providers {
    grafana = {
      source  = "grafana/grafana"
      version = "~> 3.0"
    }
  }
}

variable "grafana_url" {
  description = "Your stack's address"
  type        = string
}

variable "grafana_token" {
  description = "A service account's token that may write dashboards"
  type        = string
  sensitive   = true
}

provider "grafana" {
  url  = var.grafana_url
  auth = var.grafana_token
}

resource "grafana_folder" "speedtest" {
  title = "Speedtest"
}

# They take the stack's own Prometheus, which remote_write fills: it is chosen by their variable `datasource`.
resource "grafana_dashboard" "speedtest" {
  for_each    = fileset("${path.module}/../../dashboards", "*.json")
  folder      = grafana_folder.speedtest.id
  config_json = file("${path.module}/../../dashboards/${each.value}")
}
