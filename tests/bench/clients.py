"""Many clients that ask one URL again and again: each as soon as it was answered, by wrk where it is installed, or all
together at a steady rate."""

import asyncio
import dataclasses
import re
import shutil
import subprocess
import time
import urllib.parse

# Seconds within which an answer must be there.
TIMEOUT = 10
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclasses.dataclass
class Found:
    """Times in seconds."""

    client: str
    seconds: float
    requests: int
    errors: int
    p50: float
    p99: float


def load(url, connections, seconds):
    """Asks for so many seconds, at least one, over so many connections, as fast as they are answered."""
    seconds = max(round(seconds), 1)
    return by_wrk(url, connections, seconds) if shutil.which("wrk") else by_hand(url, connections, seconds)


def steady(url, connections, seconds, rate):
    """Asks so many times a second. Each request counts from when it is due: one that waits because the connection's
    last was answered late has waited, too."""
    return by_hand(url, connections, seconds, rate)


def by_wrk(url, connections, seconds):
    command = ["wrk", "--latency", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", url]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def percentile(name):
        value, unit = re.search(rf"^ +{name}% +([\d.]+)([a-z]+)$", text, re.MULTILINE).groups()
        return float(value) * UNITS[unit]

    errors = sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", text)))
    errors += sum(map(int, re.findall(r"Non-2xx or 3xx responses: (\d+)", text)))
    requests = int(re.search(r"(\d+) requests in", text)[1])
    return Found("wrk", seconds, requests, errors, percentile(50), percentile(99))


def by_hand(url, connections, seconds, rate=None):
    parts = urllib.parse.urlsplit(url)
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
    gap = connections / rate if rate else 0
    times, errors = [], []

    async def client(connection, due, end):
        reader, writer = connection
        try:
            while due < end:
                asked = due
                if due > time.monotonic():
                    await asyncio.sleep(due - time.monotonic())
                    asked = time.monotonic()  # what this process is late by is not the server's
                writer.write(request)
                async with asyncio.timeout(TIMEOUT):
                    head = await reader.readuntil(b"\r\n\r\n")
                    await reader.readexactly(int(re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)[1]))
                now = time.monotonic()
                times.append(now - asked)
                if not head.startswith(b"HTTP/1.1 200 "):
                    errors.append(head)
                due = due + gap if rate else now
        except (OSError, EOFError) as error:
            errors.append(error)
        finally:
            writer.close()

    async def clients():
        all_of_them = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(connections)]
        begun = time.monotonic()
        places = [begun + gap * place / connections for place in range(connections)]
        await asyncio.gather(*(client(one, due, begun + seconds) for one, due in zip(all_of_them, places)))
        return time.monotonic() - begun

    took = asyncio.run(clients())
    times.sort()
    if not times:
        raise SystemExit(f"wrong result: nobody answers {url}")
    return Found("own", took, len(times), len(errors), times[len(times) // 2], times[len(times) * 99 // 100])
