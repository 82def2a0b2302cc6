import csv
import io

from netserv.bench import report
from netserv.bench.configurations import CONFIGURATIONS, GOALS, goal
from netserv.bench.results import Found
from tests.netserv.bench.rows import FOUND


def line_of(lines: list[str], begin: str) -> str:
    return next(line for line in lines if line.startswith(begin))


def test_a_table_of_rates_has_the_median_its_spread_the_thesis_and_whether_the_goal_was_reached() -> None:
    lines = report.rates_table(FOUND.rates)
    keep_alive = line_of(lines, "6 KeepAlive")
    assert all(text in keep_alive for text in ("1,200,000", "0.600", "0.500 .. 0.700", "0.21", "400 + 600 + 1,000"))
    assert keep_alive.endswith(">= 0.58 met")
    assert line_of(lines, "4 container").endswith(">= 0.24 MISSED")


def test_a_table_of_delays_has_what_was_added_and_both_goals() -> None:
    container = line_of(report.delays_table(FOUND.delays), "4 container")
    assert all(text in container for text in ("40.0", "190.0", "30.0", "20.0 .. 40.0"))
    assert container.endswith("<= 45 met, <= 200 met")


def test_a_table_of_containers_judges_the_hundred_only() -> None:
    lines = report.crowds_table(FOUND.crowds)
    assert line_of(lines, "100").endswith(">= 0.3 met, <= 5 met, <= 60 met")
    assert "met" not in line_of(lines, "1  ")


def test_a_table_of_throughput_says_where_the_sender_could_do_no_more() -> None:
    lines = report.throughputs_table(FOUND.throughputs)
    container = line_of(lines, "4 container")
    assert all(text in container for text in (" 250,000", "0.250", "0.34"))
    assert ">= 2,000,000" in line_of(lines, "- flow accepted")


def test_all_tables_have_a_title_and_what_was_not_measured_has_none() -> None:
    assert [line for line in report.tables(FOUND) if "figure" in line or "RFC" in line] == [
        "Rates (figure 6.7), packets in a second of processor time",
        "Delay of single packets (figure 6.8)",
        "Throughput (RFC 2544), sender by the clock on another processor, loss below 0.1 %",
        "Many containers, each with KeepAlive and busy (figure 6.9)",
    ]
    assert report.tables(Found(delays=FOUND.delays))[0] == "Delay of single packets (figure 6.8)"
    assert report.tables(Found()) == []


def test_csv_has_a_row_for_each_round_and_a_column_for_each_number() -> None:
    files = report.csv_files(FOUND)
    assert list(files) == ["rates.csv", "delays.csv", "containers.csv", "throughput.csv"]
    rows = list(csv.DictReader(io.StringIO(files["rates.csv"])))
    assert len(rows) == len(FOUND.rates)
    assert rows[3] == {
        "plane": "xdp",
        "configuration": "KeepAlive",
        "bytes": "340",
        "round": "1",
        "packets_per_s": "1.2e+06",
        "ratio": "0.6",
        "sender_ns": "400",
        "broker_ns": "600",
        "container_ns": "1000",
        "untreated": "0",
        "lost": "0",
    }
    assert list(report.csv_files(Found(crowds=FOUND.crowds))) == ["containers.csv"]


def test_configurations_are_those_of_the_thesis_in_its_order_and_goals_are_of_what_is_measured() -> None:
    assert [each.number for each in CONFIGURATIONS if each.number] == [1, 2, 3, 4, 5, 6]
    assert {each.what for each in GOALS} <= {each.name for each in CONFIGURATIONS} | {"crowd"}
    assert goal("plain router", "none", "ratio") is None
