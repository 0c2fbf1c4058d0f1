"""How gunicorn runs each service: on a free port of loopback, which is told on standard output as soon as it answers."""
import os

accesslog = os.path.join(os.environ["INSTANCE"], "access.log")
errorlog = os.path.join(os.environ["INSTANCE"], "error.log")
chdir = os.environ["INSTANCE"]
worker_class = "gthread"
workers = 1
threads = 8
timeout = 120
graceful_timeout = 1
keepalive = 5
bind = ["127.0.0.1:0"]
if "TLS" in os.environ:
    certfile = os.path.join(os.environ["TLS"], "server.pem")
    keyfile = os.path.join(os.environ["TLS"], "server.key")
    bind += ["127.0.0.2:0"]  # not in the certificate


def post_worker_init(worker):
    scheme = "https" if worker.cfg.is_ssl else "http"
    urls = ["{}://{}:{}".format(scheme, *listener.getsockname()) for listener in worker.sockets]
    os.write(1, "".join(f"URL={url}\n" for url in urls).encode())
