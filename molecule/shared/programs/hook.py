"""A webhook: each JSON document that is sent to it becomes a line of a file. usage: hook.py PORT FILE."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Takes one document at a time."""

    def do_POST(self):
        """Keep it."""
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open(sys.argv[2], "a") as stream:
            stream.write(json.dumps(content) + "\n")
        self.send_response(200)
        self.end_headers()


HTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
