"""A web server that says what it is asked for: `told_server.py PORT TEXT`; `/again` leads to `/` of the same name."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6


class Server(ThreadingHTTPServer):
    """IPv6 and IPv4."""

    address_family = AF_INET6


class Handler(BaseHTTPRequestHandler):
    """Answers GET with one text."""

    text = b""

    def do_GET(self) -> None:
        print(f"asked for {self.path}", flush=True)
        again = self.path == "/again"
        self.send_response(302 if again else 200)
        if again:
            self.send_header("Location", f"http://{self.headers['Host']}/")
        self.send_header("Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing more."""


def main(port: str, text: str) -> None:
    """Serve until killed."""
    Handler.text = text.encode()
    with Server(("::", int(port)), Handler) as server:
        print("serving", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
