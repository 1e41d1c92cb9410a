"""A small shop: GET / is its front page, GET /cart/NUMBER a cart, GET /up says that it is there."""

import html
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TITLE = "The Rope Locker"
COLOUR = "#1f5f8b"
PRICES = {"marline": 350, "hemp": 520, "twine": 120}


def price(cart):
    """Returns what a cart costs, in cents."""
    names = sorted(PRICES)
    return PRICES[names[cart % len(names)]] * (1 + cart % 3)


def page():
    rows = "".join(f"<li>{html.escape(n)}: {c / 100:.2f}</li>" for n, c in PRICES.items())
    return f'<h1 style="color:{COLOUR}">{html.escape(TITLE)}</h1><ul>{rows}</ul>'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        try:
            if self.path == "/":
                self.answer(200, "text/html", page())
            elif self.path == "/up":
                self.answer(200, "text/plain", "up\n")
            elif self.path.startswith("/cart/"):
                cents = price(int(self.path[len("/cart/"):]))
                self.answer(200, "application/json", json.dumps({"cents": cents}))
            else:
                self.answer(404, "text/plain", "nothing here\n")
        except Exception as error:
            print(f"{type(error).__name__}: {error} while answering {self.path}", file=sys.stderr)
            self.answer(500, "text/plain", "the shop is out of order\n")

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    print(f"the shop listens on {port}", flush=True)
    Server(("127.0.0.1", port), Handler).serve_forever()
