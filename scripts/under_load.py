"""What tests of running servers share: free ports, a load balancer, and clients that ask without a pause."""

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request

CLIENTS = 8
PATIENCE_SECONDS = 60
TEXTS = ["Write a Python function to reverse a string", "Translate this sentence into French: where is the station?",
         "my kettle trips the fuse every morning, any idea?", "Summarize the following article in three sentences"]

HAPROXY = """
global
    maxconn 256
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 10s
    # A connection that was refused never reached a server, so sending the request to the next one is safe.
    retries 3
    option redispatch 1
    retry-on conn-failure
frontend public
    bind 127.0.0.1:{port}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /health/ready
    http-check expect status 200
    default-server inter 100ms fall 1 rise 1
{servers}
"""


def balance(folder, port, ports):
    """Starts HAProxy on `port` before the servers on `ports`, and waits until one of them answers through it."""
    servers = "\n".join(f"    server s{at} 127.0.0.1:{server} check" for at, server in enumerate(ports))
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, servers=servers))
    balancer = subprocess.Popen(["haproxy", "-f", config, "-db"], stderr=subprocess.DEVNULL)
    until(lambda: is_ready(port), "HAProxy does not answer")
    return balancer


def expect(holds, message):
    if not holds:
        sys.exit(f"{message}\n0 passed, 1 failed")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_ready(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def until(holds, message, patience=PATIENCE_SECONDS):
    deadline = time.monotonic() + patience
    while not holds():
        expect(time.monotonic() < deadline, message)
        time.sleep(0.05)


class Load:
    """Clients that ask without a pause until the block ends; each counts what was answered and notes what failed."""

    def __init__(self, port, headers=None):
        self.port, self.ending = port, threading.Event()
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self.lock, self.answered, self.failures = threading.Lock(), 0, []
        self.threads = [threading.Thread(target=self.ask, args=(index,)) for index in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def ask(self, index):
        connection, asked = None, 0
        while not self.ending.is_set():
            began = time.monotonic()
            asked += 1
            body = json.dumps({"text": f"{TEXTS[(index + asked) % len(TEXTS)]} ({index} {asked})"})
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
                connection.request("POST", "/api/v1/intents/classify", body, self.headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status == 200 and json.loads(content)["intent"]:
                    with self.lock:
                        self.answered += 1
                    continue
                failure = f"status {answer.status}: {content[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection = None
            with self.lock:
                self.failures.append((failure, began))

    def wait_for(self, answered):
        until(lambda: self.answered >= answered, f"only {self.answered} of {answered} requests were answered")
