"""A guestbook: GET / shows it, POST / signs it, GET /up says that it is there."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Guestbook:
    """The names of those who signed, newest first."""

    def __init__(self):
        self.names = []
        self.lock = threading.Lock()

    def sign(self, name):
        name = name.strip()
        if not name:
            raise ValueError("a name has at least one letter")
        with self.lock:
            self.names = [name, *self.names][:100]


GUESTBOOK = Guestbook()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/up":
            self.answer(200, {"up": True})
        elif self.path == "/":
            self.answer(200, {"guests": GUESTBOOK.names})
        else:
            self.answer(404, {"error": "nothing here"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            GUESTBOOK.sign(json.loads(body)["name"])
        except (ValueError, KeyError, TypeError) as error:
            self.answer(400, {"error": str(error)})
        else:
            self.answer(201, {"guests": GUESTBOOK.names})

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8000"))
    print(f"guestbook listens on {port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
