"""Keep what is posted to 127.0.0.1:9201, a file each: its path and who sends it in the name, its body inside."""

import itertools
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

FOLDER = "/run/received"
NUMBERS = itertools.count()


class Handler(BaseHTTPRequestHandler):
    """Whatever is posted."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = f"{self.path.lstrip('/')} {self.headers.get('Authorization', '')}"
        number = next(NUMBERS)  # several come at the same time
        with open(f"{FOLDER}/.{number}", "wb") as file:
            file.write(body)
        os.rename(f"{FOLDER}/.{number}", f"{FOLDER}/{number:05d} {quote(name, safe=' ')}")
        self.send_response(204)
        self.end_headers()


os.makedirs(FOLDER, exist_ok=True)
ThreadingHTTPServer(("127.0.0.1", 9201), Handler).serve_forever()
