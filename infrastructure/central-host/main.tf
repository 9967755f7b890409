# An example: a small machine that the role speedtest_archive, and what goes with it, can be given. It was parsed and never applied.
#   terraform init && terraform apply -var region=eu-central-1 -var ssh_public_key="$(cat ~/.ssh/id_ed25519.pub)" -var 'ssh_from=["203.0.113.7/32"]'
terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "region" {
  description = "Where the machine is"
  type        = string
}

variable "instance_type" {
  description = "2 GB of memory are enough for an archive of some hundred nodes with its dashboard"
  type        = string
  default     = "t4g.small"
}

variable "ssh_public_key" {
  description = "Of whoever runs Ansible"
  type        = string
}

variable "ssh_from" {
  description = "Networks that may reach ssh: the control machine's, and the nodes' unless they deliver over https"
  type        = list(string)

  validation {
    condition     = length(var.ssh_from) > 0 && !contains(var.ssh_from, "0.0.0.0/0") && !contains(var.ssh_from, "::/0")
    error_message = "Name the networks that may reach ssh; nodes at addresses that change deliver over https instead."
  }
}

variable "disk_gigabytes" {
  description = "40 bytes a record: 20 GB hold a hundred nodes' decades, and their dumps and backups"
  type        = number
  default     = 20
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = "speedtest-telemetry" }
  }
}

data "aws_ami" "debian" {
  owners      = ["136693071363"] # Debian's own account
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-13-arm64-*"]
  }
}

resource "aws_key_pair" "control" {
  key_name_prefix = "speedtest-"
  public_key      = var.ssh_public_key
}

resource "aws_security_group" "archive" {
  name_prefix = "speedtest-archive-"
  description = "ssh from named networks, https from everywhere"
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  for_each          = toset(var.ssh_from)
  security_group_id = aws_security_group.archive.id
  description       = "Ansible, and nodes that deliver over ssh"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

# 80: the proof that Let's Encrypt asks for
resource "aws_vpc_security_group_ingress_rule" "web" {
  for_each          = toset(["80", "443"])
  security_group_id = aws_security_group.archive.id
  description       = "the front: dashboard, and nodes that deliver over https"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.value)
  to_port           = tonumber(each.value)
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.archive.id
  description       = "Debian's packages, alerts, the object store"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_instance" "archive" {
  ami                    = data.aws_ami.debian.id
  instance_type          = var.instance_type
  key_name               = aws_key_pair.control.key_name
  vpc_security_group_ids = [aws_security_group.archive.id]

  # no credentials of the account by a request that somebody talks the machine into
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_size           = var.disk_gigabytes
    volume_type           = "gp3"
    encrypted             = true
    delete_on_termination = false # the archive is on it
  }

  lifecycle {
    ignore_changes = [ami] # a newer image must not replace the machine that has the archive
  }
}

resource "aws_eip" "archive" {
  instance = aws_instance.archive.id
}

output "inventory" {
  description = "Of inventory/mine/hosts.yml"
  value = yamlencode({
    speedtest_archive = { hosts = { hub = { ansible_host = aws_eip.archive.public_ip, ansible_user = "admin" } } }
  })
}
