"""Ask the front on this host under its name, and fail where no answer comes. Its certificate is not looked at."""

import http.client
import socket
import ssl
import sys

name, port = sys.argv[1], int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
try:
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname=name) as secured:
        front = http.client.HTTPSConnection(name, port)
        front.sock = secured
        front.request("GET", "/health")
        front.getresponse()
except OSError as error:
    sys.exit(f"{type(error).__name__}: {error}")
