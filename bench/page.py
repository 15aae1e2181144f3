"""What the web page costs with a year's catalog: its questions, its first view, its memory.

`python -m bench.page [--folder DIR] [--rounds 40] [--slower 6]`. The catalog holds 525,600 minutes up to a quarter of
an hour ago, with the level of each second, quieter by night than by day, 100 sounds a day, and all of it archived; the
sound of the ten minutes after that is in the spool (48 kHz, stereo, 24 bit). The query service is a process of its own
on it, with a broker that sends a level each second. The questions are those of the page, over HTTP. Times are of the
clock, and of the service's processor, since the clock also counts what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

from bench import worst_catalog
from bench.worst_catalog import DAY, SECOND, Part, Plan
from edge.catalog import Catalog
from edge.configuration.settings import Mqtt
from edge.core.instant import FIRST, Instant
from edge.messaging.bus import Bus
from edge.messaging.events import LevelMeasured
from tests.support.browser import running_browser
from tests.support.messaging.broker import BrokerAddress, running_broker
from tests.support.nodes.query_process import QueryProcess, running_query_process

MINUTES = 525_600
SOUNDS = 36_500
DAYS_SHOWN = 371
STEP = 300  # seconds, of the curves of a day
LOUDEST = 50
LOADS = 8
PAGES = 5
PLAYED = 300  # seconds
# never asked for anything: links to it are made without it
BUCKET = (
    "s3.s3_bucket_name=garden", "s3.endpoint_url=http://127.0.0.1:9",
    "s3.access_key_id=key", "s3.secret_access_key=secret",
)  # fmt: skip

# when the calendar and the day are there and painted, in milliseconds since the navigation began
USEFUL = """
window.useful = 0;
const check = () => {
  const isThere = document.querySelector("#calendar button") && document.querySelector("#legend li");
  if (!isThere) requestAnimationFrame(check);
  else requestAnimationFrame(() => setTimeout(() => { window.useful = performance.now(); }));
};
requestAnimationFrame(check);
"""


class Spent(NamedTuple):
    """Milliseconds of the clock and of the service's processor."""

    clock: float
    processor: float


class Visitor:
    """Asks as the page does: one question after the other on a connection that is kept."""

    def __init__(self, service: QueryProcess) -> None:
        self._service = service
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        self.each: list[Spent] = []
        self.bytes = 0

    def pages(self, kind: str, fields: dict[str, object], most: int = 1_000) -> None:
        """All pages of an answer, or the first `most` of them."""
        cursor: dict[str, object] = {}
        for _ in range(most):
            answer = self._ask(f"/{kind}?{urlencode({**fields, **cursor})}")
            if answer.get("next") is None:
                return
            cursor = {"cursor": answer["next"]}

    def _ask(self, path: str) -> dict[str, Any]:
        while True:
            worked, began = self._service.processor, time.perf_counter()
            self._connection.request("GET", path)
            response = self._connection.getresponse()
            body = response.read()
            took = time.perf_counter() - began
            self.each.append(Spent(took * 1000, (self._service.processor - worked) * 1000))
            self.bytes += len(body)
            answer: dict[str, Any] = json.loads(body)
            if response.status == 200:
                return answer
            assert answer["error"]["code"] == "busy", answer
            time.sleep(answer["error"]["retry_after"])


def year(folder: Path) -> Plan:
    """Makes the catalog and the spool in `folder`, unless they are there from a run on the same day."""
    made = folder / "until"
    if made.exists() and time.time() - (until := float(made.read_text())) < 86_400:
        return plan(until)
    until = time.time()
    wanted = plan(until)
    catalog = folder / "catalog.db"
    for old in (catalog, made):
        old.unlink(missing_ok=True)
    began = time.monotonic()
    worst_catalog.make(catalog, wanted)
    with contextlib.closing(Catalog(catalog)) as opened:
        opened.open()  # fills the roll-up
    worst_catalog.make_spool(folder / "spool", wanted)
    made.write_text(str(until))
    print(f"{catalog.stat().st_size / 1e6:.0f} MB, made in {time.monotonic() - began:.0f} s\n", flush=True)
    return wanted


def plan(until: float) -> Plan:
    end = Instant.from_seconds(until // 60 * 60 - 900)
    minutes = Part(Instant(end - MINUTES * 60 * SECOND), MINUTES, 60, 0)
    hours, seconds, crowd = (Part(end, 0, each, 10_000) for each in (3_600, 1, 60))
    return Plan(minutes, hours, seconds, crowd, 0, SOUNDS, has_nights=True)


def ask(service: QueryProcess, wanted: Plan, rounds: int) -> None:
    """The page's questions, and what each takes."""
    chance = random.Random(3)
    now = Instant(wanted.end + DAY)

    def calendar(visitor: Visitor) -> None:
        visitor.pages("days", {"from": Instant(now - DAYS_SHOWN * DAY), "to": now, "zone": "Europe/Berlin"})
        visitor.pages("coverage", {"from": FIRST, "to": now, "limit": 1, "urls": "false"}, 1)

    def day(visitor: Visitor) -> None:
        start = Instant(wanted.minutes.start // DAY * DAY + chance.randrange(1, 364) * DAY)
        span: dict[str, object] = {"from": start, "to": Instant(start + DAY)}
        visitor.pages("states", span | {"urls": "false"})
        visitor.pages("levels", span | {"step": STEP})
        visitor.pages("levels", span | {"order": "loudest", "step": 60, "limit": LOUDEST}, 1)
        visitor.pages("sounds", span | {"order": "loudest", "urls": "false"}, 1)

    print("| | questions | kB | one of them: median, p95, ms | of the processor | all of them | of the processor |")
    print("|---|---|---|---|---|---|---|")
    for name, question in (("calendar", calendar), ("day", day)):
        report(name, [_visit(service, question) for _ in range(rounds)])


def _visit(service: QueryProcess, question: Callable[[Visitor], None]) -> Visitor:
    visitor = Visitor(service)
    question(visitor)
    return visitor


def report(name: str, visits: list[Visitor]) -> None:
    sums = [sum(each.clock for each in visit.each) for visit in visits]
    worked = [sum(each.processor for each in visit.each) for visit in visits]
    ones = [each for visit in visits for each in visit.each]
    found = [[each.clock for each in ones], [each.processor for each in ones], sums, worked]
    figures = " | ".join(f"{statistics.median(values):.1f}, {p95(values):.1f}" for values in found)
    print(f"| {name} | {len(visits[-1].each)} | {visits[-1].bytes / 1000:.0f} | {figures} |", flush=True)


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95)]


def first_view(browser: Browser, service: QueryProcess, slower: float) -> None:
    """Until the calendar and today are painted, with a slow processor and nothing kept from before."""
    times, sizes = [], {"files": 0, "answers": 0}
    for _ in range(LOADS):
        context = browser.new_context(viewport={"width": 375, "height": 800})
        page = context.new_page()
        page.add_init_script(USEFUL)
        protocol = context.new_cdp_session(page)
        protocol.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.goto(service.url)
        page.wait_for_function("() => window.useful > 0", timeout=60_000)
        times.append(page.evaluate("window.useful"))
        received = page.evaluate(
            "performance.getEntries().map(({ name, encodedBodySize }) => [name, encodedBodySize ?? 0])"
        )
        files = [size for name, size in received if "/assets/" in name or name.endswith("/")]
        sizes = {"files": sum(files), "answers": sum(size for _, size in received) - sum(files)}
        context.close()
    print(
        f"\nfirst useful paint, processor {slower:g} times slower: median {statistics.median(times):.0f} ms,"
        f" best {min(times):.0f}, worst {max(times):.0f} ({LOADS} loads; load {os.getloadavg()[0]:.1f})"
    )
    print(f"received for it: {sizes['files'] / 1000:.0f} kB of files, {sizes['answers'] / 1000:.0f} kB of answers")


class Memory:
    """The most that the service and its helpers hold, watched twenty times a second."""

    def __init__(self, service: QueryProcess) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = 0.0

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.most = max(self.most, self._service.memory)


def memory(browser: Browser, service: QueryProcess, wanted: Plan) -> None:
    """Five pages are open, and one of them plays."""
    start = Instant(wanted.end + 60 * SECOND)
    shown = {
        "from": start,
        "to": Instant(start + 480 * SECOND),
        "play": start,
        "until": Instant(start + PLAYED * SECOND),
    }
    print(f"\nthe service with its helpers: {service.memory:.1f} MB at rest", end="", flush=True)
    context = browser.new_context()
    with Memory(service) as watched:
        page = context.new_page()
        page.goto(service.owner_url(urlencode(shown)))
        page.wait_for_function("() => document.querySelector('#legend li') !== null")
        for _ in range(PAGES - 1):
            context.new_page().goto(service.url)
        for each in context.pages:
            each.wait_for_function("() => !document.querySelector('#live').hidden")
        print(f", {watched.most:.1f} MB with {PAGES} pages open", end="", flush=True)
        play(page)
        print(f", {watched.most:.1f} MB while one plays {PLAYED} s", flush=True)
        for each in context.pages:
            assert each.evaluate("!document.querySelector('#live').hidden"), "a page has lost its events"
    context.close()


def play(page: Page) -> None:
    page.bring_to_front()
    page.click("#play")
    page.wait_for_function("() => document.querySelector('#play').textContent === 'Pause'", timeout=120_000)
    time.sleep(3)  # of playing


@contextlib.contextmanager
def levels_sent(broker: BrokerAddress) -> Iterator[None]:
    """One a second, as the recorder does."""
    bus = Bus(Mqtt(host=broker.host, port=broker.port), "porch", "recorder")
    bus.start()
    bus.wait_connected(10)
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(1):
            at = Instant.from_seconds(time.time())
            bus.publish(
                LevelMeasured(
                    at=at, node="porch", laeq=-50.0, lafmax=-45.0, lcpeak=-30.0, unit="dBFS", calibrated=False
                )
            )

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        bus.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="the catalog (600 MB) is kept there for the next time")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--slower", type=float, default=6, help="how many times, the browser's processor (6)")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="imhearing-bench-"))
        folder = Path(args.folder or temporary)
        folder.mkdir(mode=0o700, exist_ok=True)
        wanted = year(folder)
        broker = stack.enter_context(running_broker())
        stack.enter_context(levels_sent(broker))
        address = (f"mqtt.host={broker.host}", f"mqtt.port={broker.port}")
        service = stack.enter_context(running_query_process(folder, *address, *BUCKET))
        ask(service, wanted, args.rounds)
        browser = stack.enter_context(running_browser())
        first_view(browser, service, args.slower)
        memory(browser, service, wanted)


if __name__ == "__main__":
    main()
