"""What the race computes from what it has seen: the log, medians, arrivals, the report. Needs no mount and no plotting library.

    PYTHONPATH=benches python3 -m unittest race.test_race
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import unittest
from pathlib import Path

from . import access_log, measuring, processes, report
from .access_log import Arrival, Line, Span, attribute
from .measuring import Cell, Summary, summarize
from .promises import Promise


def line(op: str, key: str, began: float = 0.0, bytes_in: int = 0, status: int = 200) -> Line:
    return Line(began, began + 0.5, op, "b", key, status, bytes_in, 0)


class Logs(unittest.TestCase):
    def test_a_line_is_read_with_its_times(self) -> None:
        said = {"time": "1970-01-01T00:00:02.500Z", "op": "PutObject", "bucket": "b", "key": "a|b", "status": 200, "bytes_in": 7,
                "bytes_out": 0, "ms": 250.0}
        read = access_log.parse(json.dumps(said))
        self.assertEqual((read.began, read.ended, read.op, read.key, read.bytes_in), (2.5, 2.75, "PutObject", "a|b", 7))
        with self.assertRaises(ValueError):
            access_log.parse("{")

    def test_a_log_is_read_as_it_grows_and_lines_that_are_not_whole_wait(self) -> None:
        said = {"time": "1970-01-01T00:00:00.000Z", "op": "GetObject", "bucket": "b", "key": "k", "status": 200, "bytes_in": 0,
                "bytes_out": 3, "ms": 1.0}
        text = json.dumps(said).encode() + b"\n"
        with tempfile.TemporaryDirectory() as home:
            path = Path(home) / "log"
            log = access_log.AccessLog(path)
            self.assertEqual(log.read_new(), [])
            path.write_bytes(text + text[:10])
            self.assertEqual(len(log.read_new()), 1)
            self.assertEqual(log.read_new(), [])
            with open(path, "ab") as file:
                file.write(text[10:])
            self.assertEqual(log.read_new()[0].bytes_out, 3)


class Arrivals(unittest.TestCase):
    def test_an_empty_put_and_the_copies_after_it_are_not_the_content(self) -> None:
        arrival = Arrival({"s/f": 10}, by_bytes=False)
        arrival.add([line("PutObject", "s/f", 0, 0), line("CopyObject", "s/f", 1), line("PutObject", "s/f", 2, 10, status=500)])
        self.assertFalse(arrival.is_complete)
        arrival.add([line("PutObject", "s/f", 3, 10), line("CopyObject", "s/f", 9)])
        self.assertTrue(arrival.is_complete)
        self.assertEqual(arrival.completed_at, 3.5)

    def test_what_is_renamed_arrives_with_its_copy_and_what_is_large_with_its_complete(self) -> None:
        arrival = Arrival({"s/f": 10, "s/d/g": 5}, by_bytes=False)
        arrival.add([line("PutObject", "prefix/s/.f.tmp", 0, 10), line("UploadPart", "s/d/g", 0, 5)])
        self.assertEqual(arrival.missing, 2)
        arrival.add([line("CopyObject", "prefix/s/f", 1), line("CompleteMultipartUpload", "s/d/g", 2)])
        self.assertTrue(arrival.is_complete)

    def test_a_format_of_its_own_arrives_by_bytes(self) -> None:
        arrival = Arrival({"s/f": 10, "s/g": 5}, by_bytes=True)
        arrival.add([line("PutObject", "chunks/1", 0, 10), line("GetObject", "chunks/1", 0, 9)])
        self.assertEqual(arrival.missing, 5)
        arrival.add([line("UploadPart", "chunks/2", 1, 5)])
        self.assertTrue(arrival.is_complete)


class Attribution(unittest.TestCase):
    def test_requests_belong_to_the_time_but_late_writes_to_whose_name_they_have(self) -> None:
        spans = [Span("copy", "s-0/copied", 10), Span("mounting", "", 20), Span("list", "", 30)]
        before, own = line("GetObject", "s-0/copied/a", 5), line("PutObject", "s-0/copied/a", 12)
        late, nobody = line("CopyObject", "p/s-0/copied/a", 31), line("ListObjects", "", 21)
        read = line("HeadObject", "s-0/copied/a", 32)
        given = attribute([before, own, nobody, late, read], spans)
        self.assertEqual(given, {"copy": [own, late], "mounting": [nobody], "list": [read]})

    def test_who_works_on_a_name_that_another_has_made_has_its_own_requests(self) -> None:
        spans = [Span("make", "s/x", 1), Span("remove", "s", 5)]
        removed = line("DeleteObject", "s/x/a", 6)
        self.assertEqual(attribute([removed], spans)["remove"], [removed])


def cell(contender: str, requests: int, server: str = "fast", workload: str = "cp-in", **more: object) -> Cell:
    made = Cell(server, workload, contender, 0, requests={"PutObject": requests}, wall_s=1.0, mount_cpu_s=1.0)
    for name, value in more.items():
        setattr(made, name, value)
    return made


class Rounds(unittest.TestCase):
    def test_the_median_counts_and_one_failure_is_one(self) -> None:
        good = Summary([cell("a", requests) for requests in (9, 1, 5)])
        self.assertEqual((good.median(lambda one: one.total_requests), good.requests), (5, {"PutObject": 5}))
        bad = Summary([cell("a", 1), cell("a", 1, outcome=measuring.FAILED, note="why")])
        self.assertEqual((bad.is_ok, bad.note), (False, "why"))

    def test_the_latest_arrival_counts(self) -> None:
        self.assertEqual(Summary([cell("a", 1, late_s=0.0), cell("a", 1, late_s=2.0)]).late_s, 2.0)
        self.assertTrue(Summary([cell("a", 1, late_s=0.0)]).is_durable_at_close)
        self.assertFalse(Summary([cell("a", 1, late_s=None)]).is_durable_at_close)


def results(cells: list[Cell]) -> report.Results:
    names = list(dict.fromkeys(one.contender for one in cells))
    facts = report.Facts("today", ["a machine"], "small", 60.0, [(name, "1", "") for name in names], {"own"})
    titles = {(one.server, one.workload): f"title of {one.workload}" for one in cells}
    servers = list(dict.fromkeys(one.server for one in cells))
    return report.Results(facts, servers, titles, summarize(cells), {("fast", "cp-in"): 0.5}, [Promise("p", "2", "at most 1", False)])


class Reports(unittest.TestCase):
    def test_near_the_best_is_first_and_own_formats_are_told_apart(self) -> None:
        found = report.standings(results([cell("cosmount-cos", 104), cell("plain", 100), cell("own", 1)]))
        of_requests = next(one for one in found if one.what == "requests")
        self.assertEqual((of_requests.is_first, of_requests.is_first_of_plain, of_requests.best_name), (False, True, "own"))

    def test_who_is_not_durable_at_close_does_not_win_with_latency(self) -> None:
        both = [cell("cosmount-cos", 1, "fast"), cell("cosmount-cos", 1, "slow", "rsync", late_s=0.0, wall_s=3.0),
                cell("quick", 1, "slow", "rsync", late_s=5.0, wall_s=1.0)]
        wall = next(one for one in report.standings(results(both)) if one.what == "wall s")
        self.assertTrue(wall.is_first)

    def test_a_failure_is_a_cell_with_its_reason(self) -> None:
        text = report.render(results([cell("cosmount-cos", 1), cell("plain", 1, outcome=measuring.FAILED, note="no | way")]), [])
        self.assertIn("failed: no \\| way", text)
        self.assertIn("| cosmount-cos | 1.00 | 2.00 |", text)
        self.assertIn("| p | 2 | at most 1 | **no** |", text)

    def test_tables_have_as_many_columns_as_their_heads(self) -> None:
        text = report.render(results([cell("cosmount-cos", 1), cell("own", 1, outcome=measuring.TIMED_OUT)]), [])
        for table in text.split("\n\n"):
            widths = {row.replace("\\|", "").count("|") for row in table.splitlines() if row.startswith("|")}
            self.assertLessEqual(len(widths), 1, table)


class Processes(unittest.TestCase):
    def _lives(self, pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    def test_a_program_that_does_not_end_is_killed_at_its_deadline_with_what_it_has_begun(self) -> None:
        with tempfile.TemporaryDirectory() as home:
            began = time.monotonic()
            ran = processes.run(["sh", "-c", "sleep 60 & echo $! >&2; wait"], 0.2, Path(home) / "told")
            self.assertIsNone(ran.status)
            self.assertLess(time.monotonic() - began, 10)
            until = time.monotonic() + 10
            while self._lives(ran.told) and time.monotonic() < until:
                time.sleep(0.01)
            self.assertFalse(self._lives(ran.told))

    def test_time_and_end_of_a_program_are_its_own(self) -> None:
        with tempfile.TemporaryDirectory() as home:
            ran = processes.run([sys.executable, "-c", "sum(range(3000000)); raise SystemExit('why')"], 30, Path(home) / "told")
        self.assertEqual((ran.status, ran.told, ran.is_ok), (1, "why", False))
        self.assertGreater(ran.cpu_s, 0.01)


if __name__ == "__main__":
    unittest.main()
