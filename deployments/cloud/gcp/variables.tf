variable "project_id" {
  type        = string
  description = "The Google Cloud project; its name becomes part of the buckets' names"
}

variable "region" {
  type        = string
  description = "Where everything lies"
  default     = "europe-west3"
}

variable "repository" {
  type        = string
  description = "The repository that the machine clones"
}

variable "image" {
  type        = string
  description = "The service's image in Artifact Registry, by digest; empty: no service yet, before the first champion"
  default     = ""
}

variable "billing_account" {
  type        = string
  description = "The account whose budget is watched"
}
