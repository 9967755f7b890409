"""What each role wants on a machine: one flat list of things, from the role's inputs. Runs where Ansible runs."""
