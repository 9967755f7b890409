"""What people install who have no Ansible: the node as .deb, .rpm and .apk, a wheel, an sdist; releases."""
